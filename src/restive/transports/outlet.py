"""The outlet of one connection: which of its watches have something to tell, and waiting for that.

No events are queued: an outlet remembers which watches are ready, and asks each for what is
current at the moment when the connection can take it (design 1.4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from ..hub.hub import Hub
from ..hub.watch import Event, Watch

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stalled(Exception):
    """The client has taken nothing for ``stall`` seconds."""


class Outlet:
    """One connection as the hub sees it (a ``Sink``), and as its writing task sees the hub."""

    __slots__ = ("_event", "_hub", "_ready", "draining", "gone", "peer")

    def __init__(self, hub: Hub, peer: str) -> None:
        self.peer = peer
        self.gone = False
        self.draining = hub.draining
        self._hub = hub
        self._ready: dict[Watch, None] = {}
        self._event = asyncio.Event()
        hub.connections.add(self)

    def ready(self, watch: Watch) -> None:
        """``watch`` has something to tell."""
        self._ready[watch] = None
        self._event.set()

    def drain(self) -> None:
        """The server stops."""
        self.draining = True
        self._event.set()

    def leave(self) -> None:
        """The client is gone."""
        self.gone = True
        self._event.set()

    def wake(self) -> None:
        """Something else than a watch wants the writer."""
        self._event.set()

    def forget(self, watch: Watch) -> None:
        """``watch`` is closed: what it had to tell does not count any more."""
        self._ready.pop(watch, None)

    def close(self) -> None:
        """The connection is over."""
        self._hub.disconnected(self)

    async def wait(self, timeout: float) -> bool:
        """Until something is to be done. False: ``timeout`` seconds went by without."""
        if self._event.is_set():
            self._event.clear()
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def events(self) -> Iterator[tuple[Watch, Event]]:
        """What is to be told now; what is yielded counts as told."""
        while self._ready:
            ready, self._ready = self._ready, {}
            for watch in ready:
                for event in watch.take():
                    yield watch, event


async def until_gone(receive: Receive, outlet: Outlet) -> None:
    """Reads what a client of a live answer sends (nothing) until it has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    outlet.leave()


async def send_in_time(send: Send, message: Message, stall: float) -> None:
    """Send, or raise ``Stalled`` where the client takes nothing for ``stall`` seconds."""
    try:
        async with asyncio.timeout(stall):
            await send(message)
    except TimeoutError:
        raise Stalled from None
