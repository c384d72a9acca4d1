"""Announcements between processes: what travels through the backend, and who reads it.

Each node marks its own, so that it does not look twice at what it has announced itself. A lost
announcement costs time, not truth: ``recheck`` finds what it would have said.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable

from .backends.port import Backend, Listener
from .errors import BackendError
from .http.invalidation import Change, decode, encode

log = logging.getLogger("restive.announcements")

NODE = secrets.token_hex(8).encode()
"""This process. A forked child has its own backend connections, and hears its sisters all the same."""


def pack(changes: Iterable[Change], node: bytes = NODE) -> bytes:
    """The payload that announces ``changes``."""
    return node + b" " + encode(changes)


def unpack(payload: bytes) -> tuple[bytes, tuple[Change, ...]]:
    """(node, changes) of a payload. Raises ``ValueError`` for what is none."""
    node, found, rest = payload.partition(b" ")
    if not found:
        raise ValueError("an announcement names its node")
    return node, decode(rest)


LINGER = 0.05
"""Seconds for which the courier's thread waits for more; a process may end so much later."""

MOST = 100
"""Changes in one payload: each is of 8 KiB at most."""


class Courier:
    """Does one thing after another on a thread that lives only while there is something to do."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._busy = 0  # process id of the thread's owner: a forked child has no such thread

    def __call__(self, work: Callable[[], None]) -> None:
        """Do ``work`` soon, behind what was given before. Returns at once."""
        with self._lock:
            self._work.append(work)
            if self._busy == os.getpid():
                self._lock.notify()
                return
            self._busy = os.getpid()
        threading.Thread(target=self._run, name="restive-courier").start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._work and not self._lock.wait_for(lambda: self._work, LINGER):
                    self._busy = 0
                    return
                work = self._work.popleft()
            try:
                work()
            except Exception:
                log.exception("An announcement failed")


soon = Courier()


class Outbox:
    """What is to be announced to other processes: what comes while a payload is on its way goes together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Change, None] = {}

    def put(self, backend: Backend, changes: Iterable[Change]) -> None:
        """Announce ``changes`` soon. A failure is logged."""
        with self._lock:
            first = not self._waiting
            self._waiting.update(dict.fromkeys(changes))
        if first:
            soon(lambda: self._send(backend))

    def _send(self, backend: Backend) -> None:
        with self._lock:
            changes, self._waiting = list(self._waiting), {}
        try:
            for start in range(0, len(changes), MOST):
                backend.announce(pack(changes[start : start + MOST]))
        except BackendError as error:
            log.error("An announcement did not reach other processes: %s", error)


class Subscription:
    """Hears what other processes announce, from ``start`` to ``stop``; both return at once."""

    def __init__(self, backend: Backend, heard: Callable[[tuple[Change, ...] | None], None]) -> None:
        self._backend = backend
        self._heard = heard
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._wanted = False

    def start(self) -> None:
        """Begin to listen."""
        self._wanted = True
        soon(self._listen)

    def stop(self) -> None:
        """Stop listening."""
        self._wanted = False
        soon(self._unlisten)

    def _listen(self) -> None:
        with self._lock:
            if not self._wanted or self._stop is not None:
                return
            try:
                listener: Listener = self._hear
                self._stop = self._backend.listen(listener)
            except BackendError as error:
                log.error("Announcements of other processes are not heard: %s", error)
                return
        # What was announced before this moment was missed.
        self._heard(None)

    def _unlisten(self) -> None:
        with self._lock:
            if self._wanted or self._stop is None:
                return
            stop, self._stop = self._stop, None
        stop()

    def _hear(self, payload: bytes | None) -> None:
        if payload is None:
            self._heard(None)
            return
        try:
            node, changes = unpack(payload)
        except ValueError as error:
            log.warning("An announcement was not understood: %s", error)
            return
        if node != NODE:
            self._heard(changes)
