"""One client on a bare transport: what is the same for sockets and streams on the fast path (design 6).

No task, no queue and no ASGI state: one small protocol, which the hub asks to write when there is something
to tell, and the hub's wheel when time has passed. A cursor, not a queue: while the client takes nothing,
nothing is written; when it does, it gets what is current.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Protocol

from ..hub.hub import Hub
from ..hub.rendering import Form
from ..hub.watch import Event, Watch
from ..telemetry import metrics
from .refusals import refused

__all__ = ["FAREWELL", "Bare", "Caller"]

MOST_UNSENT = 65_536
"""Bytes that a transport of TLS keeps until its client gets nothing more; its own choice is 8 times that."""

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
        "_beat_at",
        "_caller",
        "_descriptor",
        "_due",
        "_hub",
        "_late_at",
        "_over",
        "_pending",
        "_registry",
        "_silent",
        "_transport",
        "fd",
        "form",
        "peer",
        "queued",
        "wrote",
    )

    keeps = True
    traffic = metrics.WEBSOCKET

    def __init__(
        self, hub: Hub, peer: str, caller: Caller, form: Form, jitter: Callable[[], float] = random.random
    ) -> None:
        self.peer = peer
        self.form = form
        self.fd = -1
        """What a push writes to; -1 while this client is to get nothing, or not by itself."""
        self._descriptor = -1
        self._hub = hub
        self._caller = caller
        self._transport: asyncio.Transport | None = None
        self._registry: set[object] | None = None
        self._pending: Watch | dict[Watch, None] | None = None
        self.queued = self.wrote = False
        self._silent = 0
        """Beats since the client last said anything, where it was asked to."""
        self._beat_at = hub.now() + hub.settings.heartbeat * (1 - 0.5 * jitter())
        """When a client that was told nothing since is told that there is nothing."""
        self._due = self._beat_at
        """When the wheel comes by next; where it does before, that time was put off."""
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
        self._descriptor = self.fd = _descriptor(transport)
        # A plain one that has anything unsent says so, since a push writes past it.
        most = MOST_UNSENT if self.fd < 0 else 0
        if transport.get_write_buffer_limits()[1] > most:
            transport.set_write_buffer_limits(most)
        # A transport that is over its mark already never says so again.
        if transport.get_write_buffer_size() > most:
            self.pause_writing()
        self._hub.connections.add(self)
        self._hub.wheel.at(self._due, self)
        self._arm()
        self._wake()

    def dismiss(self) -> None:
        """It is not to begin after all."""
        self.lost()
        self._caller.gone(self)

    def shutdown(self) -> None:
        """The server stops."""
        self._hub.usher.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone, or was sent away."""
        if self._transport is None:
            return
        self._transport = None  # only then is its socket closed, and its number another's
        self.fd = self._descriptor = -1
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
        self.fd = -1
        if not self._over:
            self._late_at = self._hub.now() + self._hub.settings.stall
            self._arm()

    def resume_writing(self) -> None:
        """It does again, and gets what is current."""
        if not self._over:
            self._late_at = None
            self.fd = self._descriptor
            self._wake()

    def drain(self) -> None:
        """Say when to come back, and end. Who takes nothing now would not hear it."""
        if self._transport is None:
            return
        if self._over:
            self.finish()
        elif self._late_at is not None:
            self._transport.abort()
        else:
            self.farewell()

    def finish(self, within: float = FAREWELL) -> None:
        """Nothing more is said; the client has so many seconds to take the rest of it, and to go."""
        if self._transport is None:
            return
        self.fd = -1
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
            if watch in pending:
                self._skips(watch)
            pending[watch] = None
        elif pending is not watch:
            self._pending = {pending: None, watch: None}
        else:
            self._skips(watch)
        if not self.queued and self._late_at is None:
            self.queued = True
            self._hub.flusher.add(self)

    def _skips(self, watch: Watch) -> None:
        """Something newer is to be told before the last was: of a resource a state, of a stream only more."""
        if watch.variant is not None and watch.end is None:
            self.traffic.skipped.value += 1

    def forget(self, watch: Watch) -> None:
        """What ``watch`` had to tell does not count any more."""
        if self._pending is watch:
            self._pending = None
        elif isinstance(self._pending, dict):
            self._pending.pop(watch, None)

    def flush(self) -> None:
        """Write what there is to tell, in one call."""
        self.queued = False
        transport = self._transport
        if transport is None or self._late_at is not None:
            return
        data = self.collect()
        if data:
            self.wrote = True
            self.traffic.pushed_bytes.value += len(data)
            transport.write(data)

    def unsent(self, data: bytes) -> None:
        """Write what a push could not."""
        if self._transport is not None:
            self._transport.write(data)

    def tick(self, now: float) -> float | None:
        """Do what is due; a beat keeps the connection from seeming dead."""
        if now < self._due or not self.check(now):
            return None
        if now >= self._beat_at:
            self._beat_at = now + self._hub.settings.heartbeat
            if self.wrote:
                self.wrote = False
            elif self._late_at is None:
                self.beat()
        deadline = self.deadline()
        self._due = self._beat_at if deadline is None else min(self._beat_at, deadline)
        return self._due

    def check(self, now: float) -> bool:
        """Let go of a client that is late. False: the connection is at its end."""
        if self._transport is None:
            return False
        if self._late_at is not None and now >= self._late_at:
            if not self._over:
                refused("stall", self.peer, "It took nothing of what was sent to it.")
            self._transport.abort()
            return False
        return True

    def deadline(self) -> float | None:
        """When ``check`` has something to do, however the beats fall."""
        return self._late_at

    def _arm(self) -> None:
        """Have ``check`` called when something is due before the next beat."""
        when = self.deadline()
        if when is not None and when < self._due:
            self._due = when
            self._hub.wheel.at(when, self)

    def _wake(self) -> None:
        """Have ``flush`` called soon, where something waits."""
        if not self.queued and self._late_at is None and self.waits():
            self.queued = True
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
        parts: list[bytes] = []
        for watch in self.watches_ready():
            rendering = watch.whole()
            if rendering is not None:
                parts.append(rendering.wire(self.form, watch.on))
            else:
                parts += [self.event(watch, event) for event in watch.take()]
        self.traffic.pushes.value += len(parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def event(self, watch: Watch, event: Event) -> bytes:
        """The bytes of one event."""
        raise NotImplementedError

    def beat(self) -> None:
        """Say something, since nothing was said for a while."""
        raise NotImplementedError

    def farewell(self) -> None:
        """Say when to come back, and end."""
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of the watches; may be called twice."""
        raise NotImplementedError


def _descriptor(transport: asyncio.BaseTransport) -> int:
    """The descriptor of a plain socket, which can be written to past its transport; else -1."""
    socket = transport.get_extra_info("socket")
    if socket is None or os.name != "posix" or transport.get_extra_info("sslcontext") is not None:
        return -1
    return int(socket.fileno())
