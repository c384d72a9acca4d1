"""Announcements between processes: what travels through the backend, and who reads it.

Each node marks its own, so that it does not look twice at what it has announced itself. A lost
announcement costs time, not truth: ``recheck`` finds what it would have said.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from .backends.port import Backend, Listener
from .errors import BackendError
from .http.invalidation import Change, decode, encode
from .telemetry.lag import lag
from .telemetry.tracing import carried, carrier, checked

log = logging.getLogger("restive.announcements")

_MARK = 16
"""Bytes of a node's mark."""

NODE = secrets.token_hex(_MARK // 2).encode()
"""This process. A forked child has its own backend connections, and hears its sisters all the same."""


@dataclass(frozen=True, slots=True)
class Grown:
    """Streams that have more items than before, or none any more, by their paths."""

    paths: tuple[str, ...]


News = tuple[Change, ...] | Grown
"""What one announcement says."""

_paths = msgspec.json.Decoder(list[str])


def pack(news: Iterable[Change] | Grown, node: bytes = NODE, trace: str = "") -> bytes:
    """The payload that announces ``news``; ``trace`` is the ``traceparent`` of what has caused it."""
    if isinstance(news, Grown):
        return node + b"+" + msgspec.json.encode(news.paths)
    mark = b"~%b " % trace.encode("ascii") if trace else b" "
    return node + mark + encode(news)


def trace_of(payload: bytes) -> dict[str, str] | None:
    """The trace that a payload names, if it does."""
    if payload[_MARK : _MARK + 1] != b"~":
        return None
    return checked({"traceparent": payload[_MARK + 1 :].partition(b" ")[0].decode("latin-1")})


def unpack(payload: bytes) -> tuple[bytes, News]:
    """(node, news) of a payload. Raises ``ValueError`` for what is none."""
    node, kind, rest = payload[:_MARK], payload[_MARK : _MARK + 1], payload[_MARK + 1 :]
    if kind == b"~":
        _, kind, rest = rest.partition(b" ")
    if kind == b" ":
        return node, decode(rest)
    if kind != b"+":
        raise ValueError("an announcement names its node")
    try:
        return node, Grown(tuple(_paths.decode(rest)))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError("The announcement is no list of streams.") from error


LINGER = 0.05
"""Seconds for which the courier's thread waits for more."""

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

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before what a backend refused is tried again: the first time, and at most."""


def again(work: Callable[[], None], failures: int) -> None:
    """Do ``work`` after a pause that grows with the failures in a row, on a thread of its own."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
    timer = threading.Timer(pause * (0.5 + random.random() / 2), work)  # noqa: S311 - it only spreads load
    timer.daemon = True  # a process may end while its backend is away
    timer.name = "restive-courier-again"
    timer.start()


LAST = 5.0
"""Seconds for which a process that ends waits for its last announcements to leave it."""

KEPT, PATIENCE = 1000, 5
"""Changes that wait for a backend which is away, and failures in a row; with more, everything has changed."""

EVERYTHING = Change("/", below=True)


class Outbox:
    """What is to be announced to other processes: what comes while a payload is on its way goes together.

    Other processes cannot know that an announcement did not leave this one, so it is repeated until it does.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._waiting: dict[Change, None] = {}
        self._sending = 0
        self._failures = 0
        self._trace = ""
        """Of the last of them that has one."""

    def put(self, backend: Backend, changes: Iterable[Change]) -> None:
        """Announce ``changes`` soon. A failure is logged, and tried again."""
        trace = (carrier() or {}).get("traceparent", "")
        with self._lock:
            self._trace = trace or self._trace
            first = not self._waiting
            self._waiting.update(dict.fromkeys(changes))
        if first:
            soon(lambda: self._send(backend))

    def flush(self, seconds: float) -> None:
        """Wait until all has left this process, or so long: it is about to end."""
        with self._lock:
            if not self._lock.wait_for(lambda: not (self._waiting or self._sending), seconds):
                log.error(
                    "The last announcements did not leave this process in %g s: other processes see what "
                    "they announce when they look again, after recheck= at most.",
                    seconds,
                )

    def _send(self, backend: Backend) -> None:
        with self._lock:
            changes, self._waiting = list(self._waiting), {}
            trace, self._trace = self._trace, ""
            self._sending += 1
        try:
            for start in range(0, len(changes), MOST):
                _announce(backend, pack(changes[start : start + MOST], trace=trace))
        except BackendError as error:
            self._keep(backend, changes, error)
        else:
            self._failures = 0
        finally:
            with self._lock:
                self._sending -= 1
                self._lock.notify_all()

    def _keep(self, backend: Backend, changes: Iterable[Change], error: BackendError) -> None:
        if not self._failures:
            log.error("An announcement did not reach other processes yet: %s", error)
        with self._lock:
            self._failures += 1
            self._waiting = dict.fromkeys(changes) | self._waiting
            if len(self._waiting) > KEPT or self._failures > PATIENCE:
                self._waiting = {EVERYTHING: None}
        again(lambda: self._send(backend), self._failures)


def _announce(backend: Backend, payload: bytes) -> None:
    lag.sending(payload)
    try:
        backend.announce(payload)
    except BaseException:
        lag.failed(payload)
        raise


class Subscription:
    """Hears what other processes announce, from ``start`` to ``stop``; both return at once."""

    def __init__(self, backend: Backend, heard: Callable[[News | None], None]) -> None:
        self._backend = backend
        self._heard = heard
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._wanted = False
        self._failures = 0

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
                lag.listening(+1)
            except BackendError as error:
                if not self._failures:
                    log.error("Announcements of other processes are not heard yet: %s", error)
                self._failures += 1
                again(self._listen, self._failures)
                return
            self._failures = 0
        # What was announced before this moment was missed.
        self._heard(None)

    def _unlisten(self) -> None:
        with self._lock:
            if self._wanted or self._stop is None:
                return
            stop, self._stop = self._stop, None
        lag.listening(-1)
        stop()

    def _hear(self, payload: bytes | None) -> None:
        if payload is None:
            lag.lost()
            self._heard(None)
            return
        lag.heard(payload)
        try:
            node, news = unpack(payload)
        except ValueError as error:
            log.warning("An announcement was not understood: %s", error)
            return
        if node != NODE:
            with carried(trace_of(payload)):
                self._heard(news)
