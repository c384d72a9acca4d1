"""Who is sent away when, once a server stops: evenly over a time, lest all clients come back at once.

A few go without delay. ``Departure`` decides by the time it is told; ``Usher`` has the timer.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import Protocol

from ..telemetry.metrics import Traffic

__all__ = ["PACE", "Departure", "Draining", "Usher"]

log = logging.getLogger("restive.hub")

PACE = 200
"""Connections per second that may always be sent away; more where the time would not suffice."""

TURN = 0.1
"""Seconds between two groups that are sent away."""


class Draining(Protocol):
    """A connection that is asked to end when the server stops."""

    keeps: bool
    """Whether its server leaves it open until it ends by itself: then it may wait for its turn."""

    traffic: Traffic
    """What is counted of its transport."""

    def drain(self) -> None:
        """Say when to come back, and end."""
        ...


class Departure:
    """The connections that wait for their turn to be sent away."""

    def __init__(self, within: float) -> None:
        self.within = within
        """Seconds after the first was added in which all are due."""
        self._waiting: dict[Draining, None] = {}
        self._added = 0
        self._begun = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection: Draining, now: float) -> None:
        """``connection`` is to go."""
        if not self._waiting:
            self._begun, self._added = now, 0
        if connection not in self._waiting:
            self._waiting[connection] = None
            self._added += 1

    def discard(self, connection: Draining) -> None:
        """``connection`` has gone by itself."""
        self._waiting.pop(connection, None)

    def due(self, now: float) -> list[Draining]:
        """Those whose turn has come until ``now`` (seconds); they wait no more."""
        if not self._waiting:
            return []
        elapsed, span = now - self._begun, min(self.within, self._added / PACE)
        reached = self._added if elapsed >= span else int(self._added * elapsed / span) + 1
        count = reached - (self._added - len(self._waiting))
        due = list(islice(self._waiting, max(0, count)))
        for connection in due:
            del self._waiting[connection]
        return due


class Usher:
    """Sends the connections of one loop away; its timer runs only while somebody waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, within: float) -> None:
        self._loop = loop
        self._departure = Departure(within)
        self._timer: asyncio.Handle | None = None

    def add(self, connection: Draining) -> None:
        """Let ``connection`` go when its turn comes; at once where its server would not wait."""
        if not connection.keeps:
            connection.drain()
            return
        self._departure.add(connection, self._loop.time())
        if self._timer is None:
            self._timer = self._loop.call_soon(self._turn)

    def discard(self, connection: Draining) -> None:
        """``connection`` has gone by itself."""
        self._departure.discard(connection)

    def close(self) -> None:
        """Send nobody away any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        for connection in self._departure.due(self._loop.time()):
            try:
                connection.drain()
            except Exception:  # one connection's fault holds up no other
                log.exception("A connection could not be sent away.")
        if len(self._departure) and self._timer is None:
            self._timer = self._loop.call_later(TURN, self._turn)
