"""A socket on a bare transport: RFC 6455 by ``wire.websocket``, all else by ``wire.session``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ..hub.hub import Hub
from ..hub.rendering import Rendering
from ..hub.watch import LAST, Batch, Current, Event, Items, State, Watch
from ..wire import messages
from ..wire.frames import Limits
from ..wire.session import Close, Session
from ..wire.websocket import Failure, Message, Opcode, Reader, close_frame, deflated
from ..wire.websocket import frame as framed
from .bare import Bare
from .conversation import Answer, Conversation, Desk, Outgoing
from .forms import frame, items_frame
from .refusals import CLOSED, refused

__all__ = ["BareDesk", "BareSocket"]

MAX_OUTBOX = 1000
"""Answers that wait for a client which does not read."""

MOST_SILENT = 3
"""Beats without a sign of life after which a client counts as gone."""

PING = framed(Opcode.PING, b"")
SMALLEST_PACKED = 256
"""Bytes below which compressing gains less than it costs."""


class _Pong(NamedTuple):
    """The frame that answers a ping."""

    data: bytes


class BareDesk(Desk, Protocol):
    """A ``Desk`` that is told when a connection is over."""

    def gone(self, connection: Bare) -> None:
        """The connection is over."""


class BareSocket(Conversation, Bare):
    """One socket."""

    __slots__ = ("_desk", "_outbox", "_reader", "_session")

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
        Bare.__init__(self, hub, peer, desk, _packed_state if deflate else _plain_state)
        self._desk = desk
        self._session = Session(limits, hub.now(), jitter())
        self._reader: Reader | None = None
        """While a message is half read, and from the last one on."""
        self._outbox: list[Outgoing | _Pong] | None = None

    ready = Bare.ready
    forget = Bare.forget

    def begin(self, transport: asyncio.Transport, registry: set[object]) -> None:
        """Go on with ``transport``."""
        self.traffic.connections.value += 1
        Bare.begin(self, transport, registry)

    # From the client

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._silent = 0
        reader = self._reader
        if reader is None:
            limits, fragments = self._session.limits, self._hub.settings.max_fragments
            reader = self._reader = Reader(limits.max_message, fragments, deflate=self._deflates)
        try:
            for message in reader.feed(data):
                self._received(message)
        except Failure as failure:
            self._session.lost()
            self._hang_up(Close(failure.code, failure.reason))
        if reader.dispensable:
            self._reader = None

    @property
    def _deflates(self) -> bool:
        return self.form is _packed_state

    def _read_no_more(self) -> None:
        assert self._reader is not None  # only what is being read can say so
        self._reader.stop()

    def _received(self, message: Message) -> None:
        if message.opcode is Opcode.CLOSE:
            self._close_received(message)
        elif not self._over:
            self._heard(message)

    def _heard(self, message: Message) -> None:
        """Act on a message, or count a control frame."""
        session, now = self._session, self._hub.now()
        if message.opcode is Opcode.TEXT:
            effects = self.hear(message.data, now)
        elif message.opcode is Opcode.BINARY:
            effects = session.receive_binary(now)
        else:
            effects = session.receive_control(now)
            if message.opcode is Opcode.PING:
                self._pong(framed(Opcode.PONG, message.data))
        self.carry_out(effects)
        if effects and isinstance(effects[-1], Close):
            self._hang_up(effects[-1])
        else:
            self._arm()

    def _pong(self, pong: bytes) -> None:
        """Answer a ping; while the client takes nothing, only the last (RFC 6455, section 5.5.3)."""
        if self._late_at is None:
            self._write(pong)
        elif self._outbox and isinstance(self._outbox[-1], _Pong):
            self._outbox[-1] = _Pong(pong)
        else:
            self._outbox = [*(self._outbox or ()), _Pong(pong)]

    def _close_received(self, message: Message) -> None:
        self._read_no_more()
        if self._transport is not None:
            self._write(close_frame(message.code))
            self.finish()
            self._transport.close()

    def _hang_up(self, close: Close) -> None:
        """Close for what the client did: nothing more is read, but the TCP connection is not reset before
        the client has the close (RFC 6455, section 7.1.1)."""
        if close.code in CLOSED:
            refused(CLOSED[close.code], self.peer, f"{close.code} {close.reason}")
        self._read_no_more()
        self.flush()  # what was to be said before
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._write(close_frame(close.code, close.reason))
        self.finish()
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    # To the client

    def say(self, items: list[Outgoing]) -> None:
        """Send these with the next flush."""
        if self._over or self._transport is None:
            return
        if self._outbox is None:
            self._outbox = []
        self._outbox += items
        if len(self._outbox) > MAX_OUTBOX:
            refused("flood", self.peer, "It asked, and read none of the answers.")
            self._transport.abort()
        self._wake()

    def waits(self) -> bool:
        """Whether something waits to be written."""
        return self._pending is not None or self._outbox is not None

    def collect(self) -> bytes:
        """The frames of what there is to tell."""
        states = Bare.collect(self)
        if self._outbox is None:
            return states
        outbox, self._outbox = self._outbox, None
        return states + b"".join(self._said(outbox))

    def _said(self, outbox: list[Outgoing | _Pong]) -> Iterator[bytes]:
        for item in outbox:
            if isinstance(item, Close):
                self.finish()
                yield close_frame(item.code, item.reason)
                return
            yield item.data if isinstance(item, _Pong) else self._text(item.data)
            if isinstance(item, Answer):
                self._session.request_done(self._hub.now())
                self._arm()

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as a frame."""
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(self.form, watch.on)
        if isinstance(event, Current):
            return event.rendering.wire(_current, watch.on)
        if isinstance(event, Items):
            return event.wire(_packed_items if self._deflates else _plain_items, watch.on)
        if isinstance(event, LAST):
            self.ended(watch)
        return self._text(frame(watch, event))

    def _text(self, data: bytes) -> bytes:
        return _packed(data) if self._deflates else framed(Opcode.TEXT, data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._over:
            self._transport.write(data)

    def ended(self, watch: Watch) -> None:
        """The end of ``watch`` is being told; perhaps it was the last."""
        Conversation.ended(self, watch)
        self._arm()

    # Time

    def check(self, now: float) -> bool:
        """Close what has lived or idled long enough, let go of a client that is late."""
        if not self._over:
            self.carry_out(self._session.tick(now))
        return Bare.check(self, now)

    def deadline(self) -> float | None:
        """When ``check`` has something to do."""
        late, due = self._late_at, self._session.next_deadline()
        return due if late is None else late if due is None else min(late, due)

    def beat(self) -> None:
        """Ask for a sign of life."""
        self._silent += 1
        if self._silent > MOST_SILENT and self._transport is not None:
            self._transport.abort()
        self._write(PING)

    # The end

    def farewell(self) -> None:
        """Say when to come back, and close."""
        self.carry_out(self._session.drain())

    def lost(self) -> None:
        """Let go of the watches."""
        self._outbox = None
        Conversation.lost(self)


def _plain_state(rendering: Rendering, on: str) -> bytes:
    return framed(Opcode.TEXT, rendering.frame(on))


def _current(rendering: Rendering, on: str) -> bytes:
    return framed(Opcode.TEXT, messages.current(on, rendering.etag))


def _packed_state(rendering: Rendering, on: str) -> bytes:
    return _packed(rendering.frame(on))


def _plain_items(batch: Batch, on: str) -> bytes:
    return framed(Opcode.TEXT, items_frame(batch, on))


def _packed_items(batch: Batch, on: str) -> bytes:
    return _packed(items_frame(batch, on))


def _packed(data: bytes) -> bytes:
    return deflated(Opcode.TEXT, data) if len(data) >= SMALLEST_PACKED else framed(Opcode.TEXT, data)
