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

__all__ = ["FAREWELL", "Bare", "Caller"]

MOST_UNSENT = 65_536
"""Bytes that may wait in a transport before its client gets nothing more; TLS would keep eight times that."""

FAREWELL = 2.0
"""Seconds that a client has to take the end of what it is told, and to go."""


class Caller(Protocol):
    """Who is at the other end, for the books of the front door; equal callers may share one."""

    def gone(self, connection: Bare) -> None:
        """The connection is over."""
        ...


class Bare(asyncio.Protocol):
    """A ``Sink`` and a ``Draining`` of the hub, and the protocol of a transport."""

    __slots__ = (
        "_caller",
        "_due",
        "_hub",
        "_late_at",
        "_over",
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
        self._due = 0.0
        """When the wheel comes by next, at the latest."""
        self._late_at: float | None = None
        """When a client that has taken nothing until then is let go of; None while it takes everything."""
        self._over = False
        """Everything was said: nothing but the end of the connection is awaited."""

    # The server's side

    def begin(self, transport: asyncio.Transport, registry: set[object]) -> None:
        """Go on with ``transport``; ``registry`` is the server's set of what it asks to ``shutdown``."""
        self._transport, self._registry = transport, registry
        registry.add(self)
        transport.resume_reading()
        if transport.get_write_buffer_limits()[1] > MOST_UNSENT:
            transport.set_write_buffer_limits(MOST_UNSENT)
        # A transport that is over its mark already never says so again.
        if transport.get_write_buffer_size() > MOST_UNSENT:
            self.pause_writing()
        self._hub.connections.add(self)
        self._due = self._hub.now() + self._hub.settings.heartbeat
        self._hub.wheel.at(self._due, self)
        self._arm()
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

    def eof_received(self) -> None:
        """The client says nothing more, so its server closes; what it is owed already it may still take."""
        self.finish(self._hub.settings.stall)

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        if not self._over:
            self._late_at = self._hub.now() + self._hub.settings.stall
            self._arm()

    def resume_writing(self) -> None:
        """It does again, and gets what is current."""
        if not self._over:
            self._late_at = None
            self._wake()

    def finish(self, within: float = FAREWELL) -> None:
        """Nothing more is said; the client has so many seconds to take the rest of it, and to go."""
        if self._transport is None:
            return
        end = self._hub.now() + within
        self._late_at = min(self._late_at, end) if self._over and self._late_at is not None else end
        self._arm()
        if not self._over:
            self._over, self._pending = True, None
            self.lost()

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
        if not self._queued and self._late_at is None:
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
        if transport is None or self._late_at is not None:
            return
        data = self.collect()
        if data:
            self._wrote = True
            transport.write(data)

    def tick(self, now: float) -> float | None:
        """A beat has passed: keep the connection from seeming dead."""
        if not self.check(now):
            return None
        self._due = after = now + self._hub.settings.heartbeat
        if self._wrote:
            self._wrote = False
        elif self._late_at is None:
            self.beat()
        self._arm()
        return after

    def check(self, now: float) -> bool:
        """Let go of a client that is late. False: the connection is at its end."""
        if self._transport is None:
            return False
        if self._late_at is not None and now >= self._late_at:
            self._transport.abort()
            return False
        return True

    def deadline(self) -> float | None:
        """When ``check`` has something to do, however the beats fall."""
        return self._late_at

    def checked(self, now: float) -> None:
        """The wheel came by beside the beats."""
        if self.check(now):
            self._due = now + self._hub.settings.heartbeat
            self._arm()

    def _arm(self) -> None:
        """Have ``check`` called when something is due before the next beat."""
        when = self.deadline()
        if when is not None and when < self._due:
            self._due = when
            self._hub.wheel.at(when, _Between(self))

    def _wake(self) -> None:
        """Have ``flush`` called soon, where something waits."""
        if not self._queued and self._late_at is None and self.waits():
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
        """Let go of the watches; may be called twice."""
        raise NotImplementedError


class _Between:
    """Has the wheel ask a connection once, beside its beats."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Bare) -> None:
        self._connection = connection

    def tick(self, now: float) -> None:
        """Ask it."""
        self._connection.checked(now)
