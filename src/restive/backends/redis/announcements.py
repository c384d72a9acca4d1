"""What an app announces, read by one thread as it comes.

Every entry of the log names the one before it. So whatever is missing - pruned, wiped, rolled back by a
failover, lost with a connection - shows at the next entry, or at the next look at the log's end while
nothing comes, and becomes LOST.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis.exceptions import MovedError

from ..listening import Listening, Poll
from ..port import LOST
from .keys import Keys
from .server import FAILURES, Server, Unusable, pause
from .wire import Wire

__all__ = ["Announcements", "BlockingListening"]

BLOCK = 2.0
"""Seconds for which the server is asked to wait for the next announcement."""

TOGETHER = b"500"
NONE = b"0-0"
"""The end of a log in which nothing was ever announced."""

Entry = tuple[bytes, Sequence[bytes]]


class Announcements:
    """The announcements of one app from the current end on, as polls that wait for them.

    Raises BackendUnavailable where the server cannot be reached at first; later it tries again and again.
    """

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server, self._keys = server, keys
        self._woken = threading.Event()
        self._missed = False
        self._failures = 0
        self._wire: Wire | None = None
        self._last = self._begin()

    def _begin(self) -> bytes:
        """Where to begin. A server that is just away is waited for, as by every call."""
        deadline = time.monotonic() + self._server.url.timeout / 2
        while True:
            try:
                return self._end(self._connected())
            except FAILURES as error:
                self.close()
                if time.monotonic() > deadline:
                    raise self._server.unavailable(error, "Nothing is listened to.") from None
                self._retry(error)

    def poll(self) -> Sequence[bytes | None]:
        """Wait for what comes next, some seconds at most, and return it; LOST among it where some is gone."""
        try:
            found = self._next(self._connected())
        except (Unusable, *FAILURES) as error:
            self._leave(error)
            return ()
        self._failures = 0
        if self._missed:
            # Those who announced could not reach the server either, and do not try again.
            self._missed = False
            return (LOST, *found)
        return found

    def interrupt(self) -> None:
        """End a poll that waits, from another thread."""
        self._woken.set()
        wire = self._wire
        if wire is not None:
            wire.interrupt()

    def close(self) -> None:
        """Close the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _connected(self) -> Wire:
        if self._wire is None:
            self._wire = self._server.connect()
        return self._wire

    def _leave(self, error: Exception) -> None:
        """The connection is no good: close it and, unless somebody wants it closed, wait before the next."""
        self.close()
        if self._woken.is_set():
            self._woken.clear()
            return
        self._missed = True
        self._retry(error)

    def _retry(self, error: Exception) -> None:
        """Go to where the server sends us, or wait before the next connection."""
        if isinstance(error, MovedError):
            self._server.moved(error.host, error.port)
            return
        self._server.failed(error)
        self._failures += 1
        self._woken.wait(pause(self._failures))
        self._woken.clear()

    def _end(self, wire: Wire) -> bytes:
        """The id of the last announcement."""
        end: bytes | None = wire.ask(b"HGET", self._keys.store, b"announced")
        return end or NONE

    def _next(self, wire: Wire) -> Sequence[bytes | None]:
        """What comes next. After a loss nothing is waited for: the listeners have to hear of it."""
        blocking = () if self._missed else (b"BLOCK", b"%d" % (1000 * BLOCK))
        entries = self._entries(wire, *blocking)
        if not entries:
            end = self._end(wire)
            if end == self._last:
                return ()
            entries = self._entries(wire)
            if not entries:  # the log ends before where we are: it was wiped or rolled back
                self._last = end
                return (LOST,)
        return list(self._in_turn(entries))

    def _entries(self, wire: Wire, *blocking: bytes) -> list[Entry]:
        """What is behind the last; waits for it where ``blocking`` says so."""
        arguments = (b"COUNT", TOGETHER, *blocking, b"STREAMS", self._keys.announcements, self._last)
        reply: Any = wire.ask(b"XREAD", *arguments, within=BLOCK + self._server.url.timeout)
        return reply[0][1] if reply else []

    def _in_turn(self, entries: Sequence[Entry]) -> Iterator[bytes | None]:
        for identity, fields in entries:
            names = dict(zip(fields[::2], fields[1::2], strict=False))
            if names.get(b"p") != self._last:
                yield LOST
            self._last = identity
            payload = names.get(b"d")
            if payload is not None:
                yield payload


class BlockingListening(Listening):
    """Listeners whose thread waits in the server for the next announcement."""

    def __init__(self, server: Server, keys: Keys) -> None:
        super().__init__(self._follow, interval=0.001)
        self._server, self._keys = server, keys
        self._announcements: Announcements | None = None

    def _follow(self) -> Poll:
        if self._announcements is not None:
            self._announcements.close()
        self._announcements = Announcements(self._server, self._keys)
        return self._announcements.poll

    def _ended(self) -> bool:
        announcements = self._announcements
        ended = super()._ended()
        if ended and announcements is not None:
            announcements.close()
        return ended

    def close(self) -> None:
        """Forget all listeners and wait until none is being called any more."""
        with self._lock:
            self._listeners.clear()
            announcements = self._announcements
        if announcements is not None:
            announcements.interrupt()
        super().close()

    def forget(self) -> None:
        """Start empty: in a forked child the thread and the connection are the parent's."""
        super().forget()
        self._announcements = None
