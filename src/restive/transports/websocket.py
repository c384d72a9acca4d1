"""The socket of design 4.3 over plain ASGI: a thin shell round ``wire.session``.

The call's own task writes, a second one reads.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from ..hub.hub import Hub
from ..hub.watch import LAST
from ..telemetry.metrics import WEBSOCKET
from ..wire import messages
from ..wire.session import Close, Session
from .conversation import SUBPROTOCOL, Answer, Conversation, Desk, Outgoing
from .forms import frame
from .outlet import Outlet, Receive, Send, Stalled, send_in_time

__all__ = ["SUBPROTOCOL", "Socket"]

MAX_OUTBOX = 1000
"""Answers that wait for a client which does not read."""


class Socket(Conversation, Outlet):
    """One socket."""

    __slots__ = ("_desk", "_outbox", "_session")

    keeps = False  # servers close WebSockets as soon as they stop, without a word of when to come back

    def __init__(
        self,
        hub: Hub,
        peer: str,
        limits: messages.Limits,
        desk: Desk,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        Outlet.__init__(self, hub, peer, WEBSOCKET)
        self._desk = desk
        self._session = Session(limits, hub.now(), jitter())
        # A client that reads nothing and goes on asking is disconnected at `MAX_OUTBOX`.
        self._outbox: deque[Outgoing] = deque()

    ready = Outlet.ready
    forget = Outlet.forget

    def say(self, items: list[Outgoing]) -> None:
        """Let the writer send these."""
        self._outbox.extend(items)
        if len(self._outbox) > MAX_OUTBOX:
            self.leave()
        else:
            self.wake()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Run an accepted socket until it is closed."""
        reader = asyncio.create_task(self._read(receive))
        try:
            await self._write(send)
        except Stalled:
            return
        finally:
            reader.cancel()
            self.lost()
            self.close()

    async def _read(self, receive: Receive) -> None:
        while not self.gone:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.leave()
                return
            text, now = message.get("text"), self._hub.now()
            session = self._session
            self.carry_out(session.receive_binary(now) if text is None else self.hear(text, now))
            self.wake()  # the session's deadline may have moved

    async def _write(self, send: Send) -> None:
        while not self.gone:
            await self.wait(self._timeout())
            now = self._hub.now()
            self.carry_out(self._session.drain() if self.draining else self._session.tick(now))
            await self._write_events(send)
            if await self._write_outbox(send):
                return

    def _timeout(self) -> float:
        """Seconds until the session wants to be asked; it always does, until it is closed."""
        deadline = self._session.next_deadline()
        return 0.0 if deadline is None else max(0.0, deadline - self._hub.now())

    async def _write_events(self, send: Send) -> None:
        for watch, event in self.events():
            if isinstance(event, LAST):
                self.ended(watch)
            data = frame(watch, event)
            WEBSOCKET.pushed(1, len(data))
            await self._send_text(send, data)
            if self.gone:
                return

    async def _write_outbox(self, send: Send) -> bool:
        """Send what is not of a watch. True: the socket was closed."""
        while self._outbox and not self.gone:
            item = self._outbox.popleft()
            if isinstance(item, Close):
                message = {"type": "websocket.close", "code": item.code, "reason": item.reason}
                await send_in_time(send, message, self._hub.settings.stall)
                return True
            await self._send_text(send, item.data)
            if isinstance(item, Answer):
                self._session.request_done(self._hub.now())
        return False

    async def _send_text(self, send: Send, data: bytes) -> None:
        await send_in_time(send, {"type": "websocket.send", "text": data.decode()}, self._hub.settings.stall)
