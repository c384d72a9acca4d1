"""The outlet of one connection: which of its watches have something to tell, and waiting for that.

No events are queued: an outlet remembers which watches are ready, and asks each for what is
current at the moment when the connection can take it (design 1.4).
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, MutableMapping
from functools import partial
from typing import Any

from ..hub.hub import Hub
from ..hub.watch import Event, Watch
from ..telemetry.metrics import Traffic

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stalled(Exception):
    """The client has taken nothing for ``stall`` seconds."""


class Outlet:
    """One connection as the hub sees it (a ``Sink``), and as its writing task sees the hub."""

    __slots__ = (
        "_due",
        "_event",
        "_expired",
        "_hub",
        "_ready",
        "_timer",
        "_until",
        "draining",
        "gone",
        "peer",
        "traffic",
    )

    keeps = True
    fd, queued = -1, False

    def __init__(self, hub: Hub, peer: str, traffic: Traffic) -> None:
        self.peer = peer
        self.traffic = traffic
        traffic.connections.value += 1
        self.gone = False
        self.draining = hub.draining
        self._hub = hub
        self._ready: dict[Watch, None] = {}
        self._event = asyncio.Event()
        # One timer for all waits: while events come it is only looked at when it fires.
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._until = 0.0
        self._expired = False
        hub.connections.add(self)

    def ready(self, watch: Watch) -> None:
        """``watch`` has something to tell."""
        if watch in self._ready and watch.variant is not None and watch.end is None:
            self.traffic.skipped.value += 1  # a state that it had to tell, and which is past now
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

    def rest(self) -> list[Watch]:
        """The watches that have something to tell, for who takes them over."""
        ready, self._ready = list(self._ready), {}
        return ready

    def close(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hub.disconnected(self)

    async def wait(self, timeout: float) -> bool:
        """Until something is to be done. False: ``timeout`` seconds went by without."""
        self._expired = False
        if not self._event.is_set():
            self._wake_at(self._hub.now() + timeout)
            await self._event.wait()
            self._until = 0.0
        self._event.clear()
        return not self._expired or bool(self._ready) or self.draining or self.gone

    def _wake_at(self, until: float) -> None:
        self._until = until
        if self._timer is not None:
            if self._due <= until:
                return
            self._timer.cancel()
        # Kept beside the handle: uvloop's has no `when` where the time has come already.
        self._due = until
        self._timer = self._hub.loop.call_at(until, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if not self._until:
            return  # nobody waits
        if self._hub.now() < self._until:
            self._wake_at(self._until)
        else:
            self._expired = True
            self._event.set()

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
    sending = send(message)
    if not isinstance(sending, Coroutine):
        sending = _awaited(sending)
    # Most clients take it at once: then there is no need of a timer.
    try:
        waits_for = sending.send(None)
    except StopIteration:
        return
    try:
        async with asyncio.timeout(stall):
            await _resumed(sending, waits_for)
    except TimeoutError:
        raise Stalled from None


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Await a coroutine whose first step was made by hand and waits for ``waits_for``."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to catch
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, value)
        try:
            waits_for = step()
        except StopIteration:
            return
