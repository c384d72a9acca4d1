"""A socket on a bare transport: RFC 6455 by ``wire.websocket``, all else by ``wire.session``."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from ..hub.hub import Hub
from ..hub.rendering import Rendering
from ..hub.watch import End, Event, State, Watch
from ..wire.frames import Limits
from ..wire.session import Close, Session
from ..wire.websocket import Failure, Message, Opcode, Reader, close_frame, deflated
from ..wire.websocket import frame as framed
from .bare import Bare
from .conversation import Answer, Conversation, Desk, Outgoing
from .forms import frame

__all__ = ["BareDesk", "BareSocket"]

MAX_OUTBOX = 1000
"""Answers that wait for a client which does not read."""

FAREWELL = 2.0
"""Seconds that a client has to answer a close."""

MOST_SILENT = 3
"""Beats without a sign of life after which a client counts as gone."""

NORMAL, GOING_AWAY = 1000, 1001
PING = framed(Opcode.PING, b"")
SMALLEST_PACKED = 256
"""Bytes below which compressing gains less than it costs."""


class BareDesk(Desk, Protocol):
    """A ``Desk`` that is told when a connection is over."""

    def gone(self, connection: Bare) -> None:
        """The connection is over."""


class BareSocket(Conversation, Bare):
    """One socket."""

    __slots__ = ("_closing", "_desk", "_outbox", "_reader", "_session", "_watches")

    def __init__(
        self,
        hub: Hub,
        peer: str,
        limits: Limits,
        desk: BareDesk,
        *,
        deflate: bool,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        Bare.__init__(self, hub, peer, desk)
        self._desk = desk
        self._session = Session(limits, hub.now(), jitter(), desk.resolve)
        self._watches: dict[str, Watch] = {}
        self._reader = Reader(limits.max_message, hub.settings.max_fragments, deflate=deflate)
        self._outbox: list[Outgoing] | None = None
        self._closing = False

    ready = Bare.ready
    forget = Bare.forget

    # From the client

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._silent = 0
        ping: Message | None = None
        try:
            for message in self._reader.feed(data):
                if message.opcode is Opcode.PING:
                    ping = message  # of several the last is answered (RFC 6455, section 5.5.3)
                else:
                    self._received(message)
                if self._transport is None:
                    return
        except Failure as failure:
            self._end(failure.code, failure.reason)
        if ping is not None and self._paused_at is None:
            self._write(framed(Opcode.PONG, ping.data))

    def eof_received(self) -> None:
        """The client has closed without a word."""

    def _received(self, message: Message) -> None:
        session, now = self._session, self._hub.now()
        if message.opcode is Opcode.CLOSE:
            self._close_received(message)
        elif self._closing:
            return
        elif message.opcode is Opcode.TEXT:
            self.carry_out(session.receive_text(message.data, now))
            self._look_at_deadline(now)
        elif message.opcode is Opcode.BINARY:
            self.carry_out(session.receive_binary(now))

    def _look_at_deadline(self, now: float) -> None:
        """The wheel comes by every beat; what is due before is told to it."""
        deadline = self._session.next_deadline()
        if deadline is not None and deadline < now + self._hub.settings.heartbeat:
            self._hub.wheel.at(deadline, _Once(self))

    def _close_received(self, message: Message) -> None:
        transport = self._transport
        if transport is None:
            return
        if not self._closing:
            self._closing = True
            transport.write(close_frame(NORMAL if message.code is None else message.code))
        transport.close()

    # To the client

    def say(self, items: list[Outgoing]) -> None:
        """Send these with the next flush."""
        if self._outbox is None:
            self._outbox = []
        self._outbox += items
        if len(self._outbox) > MAX_OUTBOX and self._transport is not None:
            self._transport.abort()
        self._wake()

    def waits(self) -> bool:
        """Whether something waits to be written."""
        return self._pending is not None or self._outbox is not None

    def collect(self) -> bytes:
        """The frames of what there is to tell."""
        pending = self._pending
        if self._outbox is None and not isinstance(pending, dict) and pending is not None:
            self._pending = None
            return b"".join([self._frame(pending, event) for event in pending.take()])
        parts = [self._frame(watch, event) for watch in self.watches_ready() for event in watch.take()]
        outbox, self._outbox = self._outbox or [], None
        for item in outbox:
            if isinstance(item, Close):
                self._farewell()
                parts.append(close_frame(item.code, item.reason))
                break
            parts.append(self._text(item.data))
            if isinstance(item, Answer):
                self._session.request_done(self._hub.now())
        return b"".join(parts)

    def _frame(self, watch: Watch, event: Event) -> bytes:
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(_packed_state if self._reader.deflate else _plain_state, watch.on)
        if isinstance(event, End):
            self.ended(watch)
        return self._text(frame(watch, event))

    def _text(self, data: bytes) -> bytes:
        return _packed(data) if self._reader.deflate else framed(Opcode.TEXT, data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._closing:
            self._transport.write(data)

    # Time

    def tick(self, now: float) -> float | None:
        """Time has passed."""
        if self._closing and self._transport is not None:
            self._transport.abort()
            return None
        self.carry_out(self._session.tick(now))
        self._look_at_deadline(now)
        return Bare.tick(self, now)

    def beat(self) -> None:
        """Ask for a sign of life."""
        self._silent += 1
        if self._silent > MOST_SILENT and self._transport is not None:
            self._transport.abort()
        self._write(PING)

    # The end

    def drain(self) -> None:
        """Say when to come back, and close. Who takes nothing now would not hear it."""
        if self._transport is None:
            return
        if self._paused_at is not None or self._closing:
            self._transport.abort()
            return
        self.carry_out(self._session.drain())

    def lost(self) -> None:
        """Let go of the watches."""
        Conversation.lost(self)

    def _end(self, code: int, reason: str) -> None:
        self._session.lost()
        if not self._closing:
            self.say([Close(code, reason)])

    def _farewell(self) -> None:
        """A close is being sent: nothing else will be, and the client is to answer it."""
        self._closing = True
        Conversation.lost(self)
        self._hub.wheel.at(self._hub.now() + FAREWELL, self)


class _Once:
    """Asks a socket once, beside its beats."""

    __slots__ = ("_socket",)

    def __init__(self, socket: BareSocket) -> None:
        self._socket = socket

    def tick(self, now: float) -> None:
        self._socket.carry_out(self._socket._session.tick(now))  # noqa: SLF001 - a part of it


def _plain_state(rendering: Rendering, on: str) -> bytes:
    return framed(Opcode.TEXT, rendering.wire(Rendering.frame, on))


def _packed_state(rendering: Rendering, on: str) -> bytes:
    return _packed(rendering.wire(Rendering.frame, on))


def _packed(data: bytes) -> bytes:
    return deflated(Opcode.TEXT, data) if len(data) >= SMALLEST_PACKED else framed(Opcode.TEXT, data)
