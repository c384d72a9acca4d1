"""uvicorn's HTTP protocol with limits on what a client may cost: time, header fields, memory.

What is owed, and what is too much, ``limits`` decides; when it is overdue, the ``reaper`` says. A refused
client gets its answer, and the connection ends without a reset that would take the answer away again.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr
from uvicorn.server import ServerState

from ...http.targets import MAX_TARGET
from ..refusals import refused
from .addresses import Addressed
from .limits import SLOW_BODY, SLOW_HEAD, UNREADABLE, Due, Part, Refusal, owed
from .reaper import Reaper
from .unsent import unsent

__all__ = ["Limited"]

SLICE = 16_384
"""Bytes that are parsed at once, since a field of six becomes objects of hundreds."""

ENDING = frozenset({Due.GOING, Due.LINGERING})


class _Excess(Exception):
    """Stops the parser."""


class Limited(Addressed):
    """A connection, as far as it is limited."""

    # Beside the instance's dictionary, which is slower and larger with more than thirty attributes.
    __slots__ = (
        "_excess",
        "_fields",
        "_first",
        "_limits",
        "_read",
        "_reaper",
        "_segment",
        "_unsent",
        "_used",
        "_wanting",
        "due",
        "due_at",
        "part",
        "refusal",
    )

    def __init__(self, config: Config, server_state: ServerState, *rest: Any, **named: Any) -> None:
        super().__init__(config, server_state, *rest, **named)
        self._reaper = Reaper.of(config, server_state, self.loop)
        self._limits = self._reaper.limits
        self.due: Due | None = None
        self.due_at = math.inf
        self.part = Part.NONE
        """What of a request is being read."""
        self.refusal: Refusal | None = None
        """Why this connection is at its end; nothing that still comes is read."""
        self._excess: Refusal | None = None
        self._used = self._wanting = False
        self._segment = self._first = self._read = 0
        """Bytes of this segment; of the one with which the reading of a head, of a piece of body or of what
        comes between them began; and of all since then. So its length is bounded without counting."""
        self._fields = 0
        """Header fields of the request, without trailers."""
        self._unsent = 0

    # The transport's

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._reaper.add(self)
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self.release()

    def release(self) -> None:
        """The connection is over, or another protocol's from now on."""
        self._reaper.discard(self)
        flow: FlowControl | None = self.flow
        if isinstance(flow, _Flow):
            flow.connection = None

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        super().pause_writing()
        self._settle()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._settle()

    def feed(self, data: bytes | memoryview) -> None:
        """Have the parser read ``data``. Raises ``HttpParserUpgrade`` with how much it has taken."""
        size = len(data)
        if size > SLICE:
            self._feed_slices(memoryview(data))
            return
        self._segment = size
        self._read += size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._excess or UNREADABLE)
            return
        if self.part is not Part.NONE:
            if self._read > self._first:
                self._judge_unfinished()
            self._settle()

    def _feed_slices(self, data: memoryview) -> None:
        for at in range(0, len(data), SLICE):
            try:
                self.feed(data[at : at + SLICE])
            except httptools.HttpParserUpgrade as upgrade:
                raise httptools.HttpParserUpgrade(at + upgrade.args[0]) from None
            if self.refusal is not None:
                return

    def handle_websocket_upgrade(self) -> None:
        """The transport goes to another protocol."""
        self.release()
        super().handle_websocket_upgrade()

    # The parser's

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.part, self._used = Part.HEAD, True
        self._first = self._read = self._segment
        if self.due is not None:
            self._delivered()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        headers, limits = self.headers, self._limits
        self._fields = count = len(headers)
        if self._read > limits.head_bytes or count > limits.fields or len(self.url) > MAX_TARGET:
            self._judge()
        self.part = Part.BODY
        self._first = self._read = self._segment
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of its body has come."""
        self._first = self._read = self._segment
        if self.due is not None:
            self._delivered()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole. Its trailers are not its header fields (RFC 9110, section 6.5.1)."""
        if len(self.headers) > self._fields:
            self._judge()
            del self.headers[self._fields :]
        self.part = Part.NONE
        if self.due is not None:
            self._delivered()
        super().on_message_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._settle()

    def _delivered(self) -> None:
        """What the client was waited for has come, unless it was to take something."""
        self._wanting = False
        if self.due is not Due.TAKING:
            self.due, self.due_at = None, math.inf

    def _judge(self) -> None:
        self._excess = self._limits.judge(self.url, self.headers, self._read)
        if self._excess is not None:
            raise _Excess

    def _judge_unfinished(self) -> None:
        """Of what began in an earlier segment, at least what has come since then is known to belong to it."""
        excess = self._limits.judge_unfinished(self.url, self.headers, self._read - self._first)
        if excess is not None:
            self._refuse(excess)

    # The app's

    def wanted(self) -> None:
        """The app waits for more of a body."""
        cycle = self.cycle
        if not (cycle.response_complete or cycle.body or self.pipeline):
            self._wanting = True
            self._settle()

    def on_response_complete(self) -> None:
        """A response was written; as uvicorn does, but without a timer of its own."""
        self.server_state.total_requests += 1
        self._used = True
        if self.due is not None:
            self._delivered()
        if self.transport.is_closing():
            return
        flow = self.flow
        if flow.read_paused:
            flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.refusal is not None:
            self._say_why(self.refusal)
        elif self.part is Part.NONE and not flow.write_paused:
            self._expect(Due.NEXT)  # as would be found below
            return
        self._settle()

    # Time

    def _settle(self) -> None:
        """Note what the client owes now, and until when, unless it owed the same before."""
        if self.due in ENDING:
            return
        cycle: RequestResponseCycle | None = self.cycle
        due = owed(
            self.part,
            paused=self.flow.write_paused,
            responding=cycle is not None and not cycle.response_complete,
            wanting=self._wanting,
            used=self._used,
        )
        if due is None:
            self.due, self.due_at = None, math.inf
        elif due is not self.due:
            self._expect(due)

    def _expect(self, due: Due) -> None:
        self.due, self.due_at = due, self.loop.time() + self._limits.seconds[due]
        if due is Due.TAKING or due is Due.GOING:
            self._unsent = unsent(self.transport)

    def overdue(self, now: float) -> None:
        """The time is up, or the transport is closing."""
        if self.transport.is_closing() and self.due not in ENDING:
            self._expect(Due.GOING)
        if now < self.due_at:
            return
        match self.due:
            case Due.HEAD:
                self._refuse(SLOW_HEAD)
            case Due.BODY:
                self._refuse(SLOW_BODY)
            case Due.TAKING | Due.GOING:
                self._stalled()
            case Due.LINGERING:
                self.transport.abort()
            case Due.REQUEST:
                self._tell("first-byte", "It asked for nothing.")
                self.transport.close()
            case Due.NEXT:
                self.transport.close()

    def _stalled(self) -> None:
        """Let go of a client that has taken nothing since the last time."""
        left = unsent(self.transport)
        if left != self._unsent:
            self._expect(cast("Due", self.due))
            return
        if left:
            self._tell("stall", "It took nothing of what was sent to it.")
        self.transport.abort()

    # Refusing

    def _tell(self, reason: str, detail: str) -> None:
        refused(reason, get_client_addr({"client": self.client}), detail)  # type: ignore[arg-type]

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with ``refusal``, behind what was asked before."""
        self.refusal = refusal
        self._tell(refusal.reason, refusal.detail)
        self.due, self.due_at = None, math.inf
        cycle: RequestResponseCycle | None = self.cycle
        if self.part is Part.BODY:
            self._refuse_rest(refusal)
        elif cycle is None or cycle.response_complete:
            self._say_why(refusal)
        # Else on_response_complete does.

    def _refuse_rest(self, refusal: Refusal) -> None:
        """Refuse the rest of a request that the app has got; for the app, its client has gone."""
        cycle = self.cycle
        if cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            self._say_why(refusal)
        cycle.disconnected = True
        cycle.message_event.set()

    def _say_why(self, refusal: Refusal) -> None:
        """Say so, and wait a moment for the client to go: if it sends more into a closed connection, the
        kernel resets that, and the answer may be lost (RFC 9112, section 9.6)."""
        self.transport.write(refusal.answer(self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect(Due.LINGERING)


class _Flow(FlowControl):
    """uvicorn's flow control, which is asked to go on reading whenever the app waits for something."""

    connection: Limited | None

    def __init__(self, transport: asyncio.Transport, connection: Limited) -> None:
        super().__init__(transport)
        self.connection = connection

    def resume_reading(self) -> None:
        """Go on."""
        if self.read_paused:
            super().resume_reading()
        connection = self.connection
        if connection is not None and connection.part is Part.BODY:
            connection.wanted()
