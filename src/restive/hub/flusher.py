"""Writes to connections in slices of one turn of the loop, so that a push to thousands holds up nobody.

What several changes owe a connection until its turn comes is written in one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

__all__ = ["Flushed", "Flusher"]

log = logging.getLogger("restive.hub")

SLICE = 256
"""Connections that are written to in one turn of the loop."""


class Flushed(Protocol):
    """A connection that has something to write."""

    def flush(self) -> None:
        """Write it. Must not raise."""
        ...


class Flusher:
    """The connections of one loop that wait for their turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Flushed] = deque()
        self._called = False

    def add(self, connection: Flushed) -> None:
        """Let ``connection`` write soon. It is not to be added twice before it has."""
        self._waiting.append(connection)
        if not self._called:
            self._called = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        waiting = self._waiting
        for _ in range(min(SLICE, len(waiting))):
            try:
                waiting.popleft().flush()
            except Exception:  # one connection's fault holds up no other
                log.exception("A connection could not be written to.")
        if waiting:
            self._loop.call_soon(self._flush)
        else:
            self._called = False
