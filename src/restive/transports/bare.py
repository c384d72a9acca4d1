"""One client on a bare transport: what is the same for sockets and streams on the fast path (design 6).

No task, no queue and no ASGI state: one small protocol, which the hub asks to write when there is something
to tell, and the hub's wheel when time has passed. A cursor, not a queue: while the client takes nothing,
nothing is written; when it does, it gets what is current.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..hub.hub import Hub
from ..hub.watch import Watch

__all__ = ["Bare", "Caller"]


class Caller(Protocol):
    """Who is at the other end, for the books of the front door; equal callers may share one."""

    def gone(self, connection: Bare) -> None:
        """The connection is over."""
        ...


class Bare(asyncio.Protocol):
    """A ``Sink`` and a ``Draining`` of the hub, and the protocol of a transport."""

    __slots__ = (
        "_caller",
        "_hub",
        "_paused_at",
        "_pending",
        "_queued",
        "_registry",
        "_silent",
        "_transport",
        "_wrote",
        "peer",
    )

    def __init__(self, hub: Hub, peer: str, caller: Caller) -> None:
        self.peer = peer
        self._hub = hub
        self._caller = caller
        self._transport: asyncio.Transport | None = None
        self._registry: set[object] | None = None
        self._pending: Watch | dict[Watch, None] | None = None
        self._queued = self._wrote = False
        self._silent = 0
        """Beats since the client last said anything, where it was asked to."""
        self._paused_at: float | None = None

    # The server's side

    def begin(self, transport: asyncio.Transport, registry: set[object]) -> None:
        """Go on with ``transport``; ``registry`` is the server's set of what it asks to ``shutdown``."""
        self._transport, self._registry = transport, registry
        registry.add(self)
        transport.resume_reading()
        # A transport that is over its mark already never says so again.
        if transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]:
            self.pause_writing()
        self._hub.connections.add(self)
        self._hub.wheel.at(self._hub.now() + self._hub.settings.heartbeat, self)
        self._wake()

    def shutdown(self) -> None:
        """The server stops."""
        self.drain()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone, or was sent away."""
        if self._transport is None:
            return
        self._transport = None
        self._pending = None
        if self._registry is not None:
            self._registry.discard(self)
        self.lost()
        self._caller.gone(self)
        self._hub.disconnected(self)

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        self._paused_at = self._hub.now()

    def resume_writing(self) -> None:
        """It does again, and gets what is current."""
        self._paused_at = None
        self._wake()

    # The hub's side

    def ready(self, watch: Watch) -> None:
        """``watch`` has something to tell."""
        pending = self._pending
        if pending is None:
            self._pending = watch
        elif isinstance(pending, dict):
            pending[watch] = None
        elif pending is not watch:
            self._pending = {pending: None, watch: None}
        if not self._queued and self._paused_at is None:
            self._queued = True
            self._hub.flusher.add(self)

    def forget(self, watch: Watch) -> None:
        """What ``watch`` had to tell does not count any more."""
        if self._pending is watch:
            self._pending = None
        elif isinstance(self._pending, dict):
            self._pending.pop(watch, None)

    def flush(self) -> None:
        """Write what there is to tell, in one call."""
        self._queued = False
        transport = self._transport
        if transport is None or self._paused_at is not None:
            return
        data = self.collect()
        if data:
            self._wrote = True
            transport.write(data)

    def tick(self, now: float) -> float | None:
        """Time has passed: let go of who takes nothing, keep the connection from seeming dead."""
        transport, settings = self._transport, self._hub.settings
        if transport is None:
            return None
        if self._paused_at is not None:
            if now - self._paused_at >= settings.stall:
                transport.abort()
                return None
        elif self._wrote:
            self._wrote = False
        else:
            self.beat()
        return now + settings.heartbeat

    def _wake(self) -> None:
        """Have ``flush`` called soon, where something waits."""
        if not self._queued and self._paused_at is None and self.waits():
            self._queued = True
            self._hub.flusher.add(self)

    def watches_ready(self) -> list[Watch]:
        """The watches that have something to tell, from now on no more."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        return list(pending) if isinstance(pending, dict) else [pending]

    # What each kind of connection does

    def waits(self) -> bool:
        """Whether something waits to be written."""
        return self._pending is not None

    def collect(self) -> bytes:
        """The bytes of what there is to tell."""
        raise NotImplementedError

    def beat(self) -> None:
        """Say something, since nothing was said for a while."""
        raise NotImplementedError

    def drain(self) -> None:
        """Say when to come back, and end."""
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of the watches."""
        raise NotImplementedError
