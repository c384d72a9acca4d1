"""The app's own WebSockets: uvicorn's protocol, with bounds on what it leaves unbounded.

Those are the frames of one message, which cost more than the bytes in them, the rate of pings and pongs,
the answers to pings that the client does not read, and how long a client may take nothing.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import get_client_addr
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from ..refusals import CLOSED, Pace, refused
from .reaper import Reaper
from .unsent import unsent

__all__ = ["AppSocket"]

SLICE = 4096
"""Bytes that are read at once, since an empty frame of six becomes an object of hundreds."""

BURST = 5.0
"""Pings and pongs that may come at once, in seconds of their rate."""

VIOLATION, TOO_BIG = 1008, 1009


class AppSocket(WebSocketsSansIOProtocol):
    """One socket."""

    due_at = math.inf
    _unsent = 0
    _pongs = b""
    """What was not written while the client took nothing: the last suffice (RFC 6455, section 5.5.3)."""

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, app_state, loop)
        self._reaper = Reaper.of(config, state, loop)
        rate = self._reaper.settings.message_rate
        self._pace = Pace(BURST * rate, rate, loop.time())

    # The transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is this protocol's from now on."""
        super().connection_made(transport)
        self._reaper.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._reaper.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Frames have come; after the end nothing is read."""
        for at in range(0, len(data), SLICE):
            if self.transport.is_closing():
                return
            super().data_received(data[at : at + SLICE])

    def pause_writing(self) -> None:
        """The client takes nothing more for now."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """It does again."""
        self.due_at = math.inf
        pongs, self._pongs = self._pongs, b""
        if pongs and not self.close_sent:
            self.transport.write(pongs)
        super().resume_writing()

    # Frames

    def handle_cont(self, event: Frame) -> None:
        """One more frame of a message."""
        most = self._reaper.settings.max_fragments
        if len(self.frames) >= most:
            self._refuse(TOO_BIG, f"a message has at most {most} frames")
        elif not self.close_sent:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """The answer to a ping is ready to be sent."""
        if not self._pays():
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._pongs = b"".join(self.conn.data_to_send()) or self._pongs

    def handle_pong(self, event: Frame) -> None:
        """The client shows that it is there."""
        if self._pays():
            super().handle_pong(event)

    def _pays(self) -> bool:
        if self.close_sent:
            return False
        if self._pace.allows(self.loop.time()):
            return True
        rate = self._reaper.settings.message_rate
        self._refuse(VIOLATION, f"more than {rate:g} pings per second")
        return False

    def handle_parser_exception(self) -> None:
        """The library of uvicorn has closed for what the client sent."""
        close = self.conn.close_sent
        if close is not None and not self.close_sent:
            self._tell(CLOSED.get(close.code, "protocol"), f"{close.code} {close.reason}")
        super().handle_parser_exception()

    def _refuse(self, code: int, detail: str) -> None:
        if not self.close_sent:
            self.conn.fail(code, detail)
            self.handle_parser_exception()

    def _tell(self, reason: str, detail: str) -> None:
        refused(reason, get_client_addr({"client": self.client}), detail)  # type: ignore[arg-type]

    # Time

    def _wait(self) -> None:
        self._unsent = unsent(self.transport)
        self.due_at = self.loop.time() + self._reaper.settings.stall

    def overdue(self, now: float) -> None:
        """It has taken nothing for long, or the transport is closing."""
        if self.due_at == math.inf:
            self._wait()
        if now < self.due_at:
            return
        left = unsent(self.transport)
        if left != self._unsent:
            self._wait()
            return
        if left:
            self._tell("stall", "It took nothing of what was sent to it.")
        self.transport.abort()
