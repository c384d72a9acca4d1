"""Echoes on a bare transport: Restive's endpoint of RFC 6455 itself, for clients that put it to the test.

``apps.echo:app`` takes every WebSocket over, where the server offers it, and refuses it elsewhere.
"""

from __future__ import annotations

from typing import Any

from restive.hub.hub import Hub
from restive.hub.watch import Sink, Watch
from restive.settings import Settings
from restive.transports.bare import Bare
from restive.transports.bare_socket import BareSocket
from restive.transports.takeover import offered
from restive.wire import messages
from restive.wire.frames import Limits
from restive.wire.websocket import Message, Opcode, deflated, frame

MOST = 16 * 2**20


class Nobody:
    """The desk of a socket on which nothing is asked."""

    def resolve(self, target: str) -> str:
        return target

    def watch(self, outlet: Sink, wanted: messages.Watch) -> Watch:
        raise NotImplementedError

    async def request(self, wanted: messages.Request) -> bytes:
        raise NotImplementedError

    def gone(self, connection: Bare) -> None:
        pass


class Echo(BareSocket):
    """Sends every message back as it came, packed where that was agreed on."""

    __slots__ = ()

    def _heard(self, message: Message) -> None:
        if message.opcode is Opcode.PING:
            self._write(frame(Opcode.PONG, message.data))
        elif message.opcode is not Opcode.PONG:
            form = deflated if self._reader.deflate else frame
            self._write(form(message.opcode, message.data))


class App:
    """One hub for all of its sockets."""

    def __init__(self, most: int = MOST, fragments: int = MOST) -> None:
        self._limits = Limits(max_message=most, hello=3600)
        self._settings = Settings(max_fragments=fragments)
        self._hub: Hub | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        takeover = offered(scope, send)
        if takeover is None or not takeover.accept(
            self._socket(takeover.deflate), None, deflate=takeover.deflate
        ):
            await receive()
            await send({"type": "websocket.close"})

    def _socket(self, deflate: bool) -> Echo:
        if self._hub is None:
            self._hub = Hub(self, self._settings, state=lambda: None)
        return Echo(self._hub, "", self._limits, Nobody(), deflate=deflate)


app = App()
