"""One daemon thread that polls for announcements while somebody listens.

It starts with the first listener and ends after the last. An error never ends it: it tries again,
ever more slowly, and after recovery every listener gets LOST. A listener that raises goes on listening.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from restive.errors import BackendError

from .port import LOST, Listener

__all__ = ["Listening", "Poll"]

Poll = Callable[[], Sequence[bytes | None]]
"""Returns what came since the last call, LOST among it where some is missing."""

_log = logging.getLogger("restive.backends")
_SLOWEST = 1.0
_JOIN = 5.0


class Listening:
    """The listeners of one backend and their thread.

    ``start`` is called for the first listener, in its thread, and returns a ``Poll`` that begins at
    the current end; ``interval`` is the seconds between two polls.
    """

    def __init__(self, start: Callable[[], Poll], *, interval: float) -> None:
        self._start = start
        self._interval = interval
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._listeners: dict[object, Listener] = {}
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with all that is announced from now on, until the returned function is called."""
        key = object()
        with self._lock:
            if self._thread is None:
                poll = self._start()
                self._thread = threading.Thread(
                    target=self._run, args=(poll,), name="restive-listening", daemon=True
                )
                self._thread.start()
            self._listeners[key] = listener
        return lambda: self._remove(key)

    def wake(self) -> None:
        """Poll now: there is something."""
        self._wake.set()

    def close(self) -> None:
        """Forget all listeners and wait until none is being called any more."""
        with self._lock:
            self._listeners.clear()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._wake.set()
            thread.join(_JOIN)

    def forget(self) -> None:
        """Start empty: in a forked child the parent's thread does not exist."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._listeners = {}
        self._thread = None

    def _remove(self, key: object) -> None:
        with self._lock:
            self._listeners.pop(key, None)
            if not self._listeners:
                self._wake.set()

    def _ended(self) -> bool:
        with self._lock:
            if self._listeners:
                return False
            self._thread = None
            return True

    def _run(self, poll: Poll) -> None:
        pause, broken = self._interval, False
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._ended():
                return
            try:
                found = poll()
            except Exception as error:  # noqa: BLE001 - whatever it is, listeners must hear of the gap
                if not broken:
                    _report(error)
                pause, broken = min(2 * pause, _SLOWEST), True
                continue
            if broken:
                _log.info("Announcements arrive again.")
                found = [LOST, *found]
            pause, broken = self._interval, False
            if found:
                self._deliver(found)

    def _deliver(self, payloads: Sequence[bytes | None]) -> None:
        """Call everyone who listens now; who joined since the poll gets what he need not have got."""
        with self._lock:
            listeners = tuple(self._listeners.items())
        for payload in payloads:
            for key, listener in listeners:
                if key not in self._listeners:
                    continue
                try:
                    listener(payload)
                except Exception:  # noqa: BLE001 - the code is not ours
                    _log.exception("A listener to announcements raised; it goes on listening.")


def _report(error: Exception) -> None:
    trace = None if isinstance(error, BackendError) else error
    _log.warning("Announcements of other processes do not arrive: %s", error, exc_info=trace)
