"""One connection and one daemon thread that hear announcements, while somebody listens.

NOTIFY only wakes the thread: the rows of the table are what is heard, and their numbers have no gaps, so
what is missing is seen and becomes LOST. Every 2 s it looks without being woken, which
also shows that the server lives. After a connection was lost, every listener gets LOST.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence

import psycopg

from restive.errors import BackendError

from ..port import LOST, Listener
from .connection import LONGEST, SHORTEST, Opener, Server
from .feed import Feed, Waker

__all__ = ["Listening"]

_log = logging.getLogger("restive.backends")
_JOIN = 10.0


class Listening:
    """The listeners of one backend and their thread."""

    def __init__(self, server: Server, app: bytes, channel: str) -> None:
        self._server = server
        self._app = app
        self._channel = channel
        location = server.location
        self._opener = Opener(server, location.listening or location.parameters)
        self._waker: Waker | None = None
        self._feed: Feed | None = None
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[object, Listener] = {}
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with all that is announced from now on, until the returned function is called."""
        key = object()
        with self._lock:
            if self._thread is None:
                self._begin()
            self._listeners[key] = listener
        return lambda: self._remove(key)

    def close(self) -> None:
        """Forget all listeners and wait until none is being called any more."""
        with self._lock:
            self._listeners.clear()
            thread = self._thread
            self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN)

    def _remove(self, key: object) -> None:
        with self._lock:
            self._listeners.pop(key, None)
            if not self._listeners:
                self._wake()

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()

    # Starting and ending; whoever calls these holds the lock

    def _begin(self) -> None:
        """Start the thread at the current end."""
        waker = Waker()
        try:
            feed = self._follow(waker)
        except BaseException:
            waker.close()
            raise
        self._waker, self._feed = waker, feed
        self._thread = threading.Thread(
            target=self._run, args=(waker, feed), name="restive-listening", daemon=True
        )
        self._thread.start()

    def _ended(self, waker: Waker) -> bool:
        with self._lock:
            if self._listeners:
                return False
            self._thread = self._waker = self._feed = None
        waker.close()
        return True

    # In the thread

    def _follow(self, waker: Waker) -> Feed:
        """A feed from the current end on. Raises BackendUnavailable."""
        location = self._server.location
        connection = self._opener.open()
        try:
            notified = location.listening is not None
            return Feed(connection, self._app, location.schema, self._channel, waker, notified=notified)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise self._server.unavailable(error) from error
            raise

    def _run(self, waker: Waker, feed: Feed) -> None:
        while True:
            try:
                feed.wait()
                if self._ended(waker):
                    feed.close()
                    return
                found = feed.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, listeners must hear of the gap
                feed.close()
                self._report(error)
                again = self._follow_again(waker)
                if again is None:
                    return
                feed, found = again, [LOST]
            if found:
                self._deliver(found)

    def _follow_again(self, waker: Waker) -> Feed | None:
        """Another feed, as soon as there is one; None where nobody listens any more."""
        pause = SHORTEST
        while not self._ended(waker):
            try:
                feed = self._follow(waker)
            except Exception as error:  # noqa: BLE001 - it may pass
                self._report(error)
                waker.wait(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
                pause = min(2 * pause, LONGEST)
                continue
            self._feed = feed
            self._server.outage.over("calls", "listening")
            return feed
        return None

    def _report(self, error: Exception) -> None:
        if isinstance(error, psycopg.Error | OSError | BackendError):
            self._server.outage.begin("listening", str(self._server.unavailable(error)))
        else:
            _log.exception("Reading announcements failed; it is tried again.")

    def _deliver(self, payloads: Sequence[bytes | None]) -> None:
        """Call everyone who listens now; who joined since the read gets what he need not have got."""
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

    # Forks

    def hold(self) -> None:
        """Before a fork: nobody begins or ends."""
        self._lock.acquire()

    def resume(self) -> None:
        """After a fork: go on."""
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: the thread, its connection and its listeners are the parent's."""
        feed, waker = self._feed, self._waker
        self._feed = self._waker = None
        if feed is not None:
            feed.abandon()
        if waker is not None:
            waker.close()
        self._opener.forget()
        self._start_empty()
