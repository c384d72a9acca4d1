"""One timer for all connections of a server: it ends those whose clients owe something for too long.

A connection notes what is due when, which costs it two attributes and no timer; the reaper comes round
every half second and looks at each. One that is closed, but whose client does not take the rest, is asked
as well, however it came to be closed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from ...hub.wheel import Wheel
from ...settings import Settings
from .limits import Limits
from .served import served

__all__ = ["Reaped", "Reaper"]

log = logging.getLogger("restive.transports")


class Reaped(Protocol):
    """A connection that the reaper looks at."""

    transport: asyncio.Transport
    due_at: float
    """When ``overdue`` is to be called, on the loop's clock; infinite for never."""

    def overdue(self, now: float) -> None:
        """The time is up, or the transport is closing."""
        ...


class Reaper:
    """Of one server in one process. Its timer runs while there is a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, limits: Limits) -> None:
        self.settings, self.limits = settings, limits
        self._loop = loop
        self._wheel = Wheel(loop)
        self._connections: set[Reaped] = set()
        self._running = False

    def __len__(self) -> int:
        return len(self._connections)

    @classmethod
    def of(cls, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> Reaper:
        """The one of this server, made for its first connection."""
        reaper = _reapers.get(state)
        if reaper is None:
            live = served(config.loaded_app)
            settings = Settings() if live is None else live.settings
            reaper = _reapers[state] = cls(loop, settings, Limits.of(settings, config.timeout_keep_alive))
        return reaper

    def add(self, connection: Reaped) -> None:
        """Look at ``connection`` from now on."""
        self._connections.add(connection)
        if not self._running:
            self._running = True
            self._wheel.at(self._loop.time(), self)

    def discard(self, connection: Reaped) -> None:
        """It is over, or no longer the server's."""
        self._connections.discard(connection)

    def tick(self, now: float) -> float | None:
        """Come round."""
        late = [each for each in self._connections if each.due_at <= now or each.transport.is_closing()]
        for connection in late:
            try:
                connection.overdue(now)
            except Exception:  # one connection's fault holds up no other
                log.exception("A connection could not be ended.")
        self._running = bool(self._connections)
        return now if self._running else None


_reapers: WeakKeyDictionary[ServerState, Reaper] = WeakKeyDictionary()
