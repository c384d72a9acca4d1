"""WebSocket handshakes under uvicorn: taken over by the app, or left to uvicorn's own protocol."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_path_with_query_string, is_ssl
from uvicorn.server import ServerState

from ..bare import Bare
from ..takeover import NAME, Open
from .addresses import addresses
from .app_socket import AppSocket
from .handshakes import Introduction, access, announce, switching

__all__ = ["WebSocket"]

UNREADABLE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MOST_EARLY = 65_536
"""Bytes that a client may send before its handshake is answered; then it has to wait."""

log = logging.getLogger("uvicorn.error")


class WebSocket(asyncio.Protocol):
    """A handshake that waits for whether the app takes it over: a ``SocketTakeover``.

    uvicorn's own protocol is made only when the app receives or sends by itself, and for a handshake that
    is not right.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config, self._state, self._app_state = config, server_state, app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request = self._early = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._stock: _Stock | None = None
        self._told = self._taken = False
        self._client: tuple[str, int] | None = None
        self._asgi: dict[str, Any] | None = None
        """The scope of the call, while it runs: a proxy that is believed names another client in it."""
        self.deflate = False
        self.introduction: Introduction | None = None
        """Of this handshake, where it can be known again."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A request to upgrade has come."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """The request, and then what its client sends although it was not answered yet."""
        if self._request:
            self._early += data
            if len(self._early) > MOST_EARLY and self._transport is not None:
                self._transport.pause_reading()
            return
        self._request = data
        self._headers = _headers(data)
        # Later, since uvicorn sets this protocol on the transport after it has given the request.
        if not _is_handshake(data, self._headers):
            self._loop.call_soon(self._step_aside)
            return
        task = self._loop.create_task(self._run(self._scope()))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def eof_received(self) -> None:
        """The client has gone."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client is gone before it was answered."""
        self._transport = None
        self._state.connections.discard(self)

    def shutdown(self) -> None:
        """The server stops."""
        if self._transport is not None:
            self._transport.close()

    # The call

    def _scope(self) -> dict[str, Any]:
        target = self._target()
        protocols = self._values(b"sec-websocket-protocol")
        self.deflate = self._config.ws_per_message_deflate and _offers_deflate(
            self._values(b"sec-websocket-extensions")
        )
        raw_path, _, query = target.partition("?")
        root, transport = self._config.root_path, self._transport
        assert transport is not None
        server, self._client = addresses(transport)
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(transport) else "ws",
            "server": server,
            "client": self._client,
            "root_path": root,
            "path": root + unquote(raw_path),
            "raw_path": (root + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": self._headers,
            "subprotocols": protocols,
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, NAME: self},
        }

    def _target(self) -> str:
        return self._request.split(b" ", 2)[1].decode("ascii")

    def _values(self, name: bytes) -> list[str]:
        lines = [value.decode("latin-1") for given, value in self._headers if given == name]
        return [part.strip() for line in lines for part in line.split(",") if part.strip()]

    async def _run(self, scope: dict[str, Any]) -> None:
        ended: BaseException | None = None
        self._asgi = scope
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except BaseException as error:  # noqa: BLE001 - uvicorn's protocol reports it, and so ends
            ended = error
        self._asgi = None  # which refers back to this
        stock = None if self._taken else self._as_stock()
        if stock is not None:
            stock.end(ended)
        elif isinstance(ended, Exception) and not isinstance(ended, ClientDisconnected):
            log.error("Exception in ASGI application", exc_info=ended)
        elif ended is not None and not isinstance(ended, Exception):
            raise ended

    async def _receive(self) -> Any:
        stock = self._as_stock()
        if stock is not None and await stock.is_called():
            return await stock.receive()
        if self._told:
            return {"type": "websocket.disconnect", "code": 1006}
        self._told = True
        return {"type": "websocket.connect"}

    async def _send(self, message: Any) -> None:
        stock = self._as_stock()
        if stock is None or not await stock.is_called():
            raise ClientDisconnected
        await stock.send(message)
        if self._early and message["type"] == "websocket.accept":
            early, self._early = self._early, b""
            stock.go_on(early)

    def _as_stock(self) -> _Stock | None:
        """The protocol of uvicorn, which does the rest; None where the client is gone."""
        if self._stock is None and self._transport is not None:
            stock = self._stock = _Stock(self._config, self._state, self._app_state, self._loop)
            self._hand_over(stock.protocol)
        return self._stock

    def _step_aside(self) -> None:
        """Let uvicorn answer from the beginning."""
        if self._transport is not None:
            self._hand_over(AppSocket(self._config, self._state, self._app_state, self._loop))

    def _hand_over(self, protocol: AppSocket) -> None:
        transport, self._transport = self._transport, None
        assert transport is not None
        self._state.connections.discard(self)
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        with contextlib.suppress(AssertionError):  # of what its library cannot parse
            protocol.data_received(self._request)
        if getattr(protocol, "response", None) is None:
            transport.write(UNREADABLE)  # uvicorn would leave it without an answer
            transport.close()
        elif self._early:
            transport.pause_reading()  # its library takes no frame before the answer

    # Taking over

    def carries(self, send: Any) -> bool:
        """Whether ``send`` is this handshake's own."""
        return getattr(send, "__self__", None) is self

    @property
    def outermost(self) -> object:
        """The outermost application that is the user's; None where it is not known."""
        return None if self.introduction is None else self.introduction.outermost

    def again(self, scope: Any, opens: Open, subprotocol: str | None) -> None:
        """Answer the handshake of ``scope`` with ``opens()`` where it comes again."""
        # A proxy that was believed has named a client of its own.
        if self.introduction is not None and scope["client"] is self._client:
            target = get_path_with_query_string(scope)
            self.introduction.keep(opens, subprotocol, target, deflate=self.deflate)

    def accept(self, protocol: Bare, subprotocol: str | None, *, deflate: bool) -> bool:
        """Answer 101 and hand the transport to ``protocol``; false where it is not to be had."""
        transport = self._transport
        scope: Any = self._asgi
        if scope is None or transport is None or transport.is_closing():
            return False
        key = next(value for name, value in self._headers if name == b"sec-websocket-key")
        transport.write(switching(key, subprotocol, self._state.default_headers, deflate=deflate))
        if access.hasHandlers() and self._config.access_log:
            announce(scope["client"], get_path_with_query_string(scope))
        self._transport, self._taken = None, True
        self._state.connections.discard(self)
        protocol.begin(transport, self._state.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)
        if self._early:
            # Before anything else is read, which uvloop would do first.
            transport.pause_reading()
            self._loop.call_soon(_deliver, transport, protocol, self._early)
        return True


def _deliver(transport: asyncio.Transport, protocol: Bare, early: bytes) -> None:
    """Let ``protocol`` have what came before it was there."""
    if not transport.is_closing():
        transport.resume_reading()
        protocol.data_received(early)


class _Stock:
    """The protocol of uvicorn, run with a call that is under way already."""

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._called = asyncio.Event()
        self._ended: asyncio.Future[None] = loop.create_future()
        self.receive: Any = None
        self.send: Any = None
        self.protocol = AppSocket(config, state, app_state, loop)
        self.protocol.app = self._app

    async def is_called(self) -> bool:
        """Wait until there is ``receive`` and ``send``. False: the protocol refuses the request."""
        response = getattr(self.protocol, "response", None)
        if response is None or response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return False
        await self._called.wait()
        return True

    def go_on(self, early: bytes) -> None:
        """Read on, beginning with what the client could not wait to send."""
        transport = self.protocol.transport
        if not transport.is_closing():
            transport.resume_reading()
            self.protocol.data_received(early)

    def end(self, error: BaseException | None) -> None:
        """The app has returned, or raised ``error``."""
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
            self._ended.exception()  # where nobody waits, it was told already

    async def _app(self, _scope: Any, receive: Any, send: Any) -> None:
        self.receive, self.send = receive, send
        self._called.set()
        await self._ended


def _headers(request: bytes) -> list[tuple[bytes, bytes]]:
    _, *lines = request.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


def _is_handshake(request: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether this is right in every way that uvicorn has not judged (RFC 6455, section 4.2.1)."""
    method, target, _ = request.split(b" ", 2)
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if method != b"GET" or not target.isascii() or len(keys) != 1 or versions != [b"13"]:
        return False
    try:
        return len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        return False


DEFLATE_PARAMETERS = re.compile(
    r"\s*permessage-deflate\s*(;\s*((server|client)_no_context_takeover|"
    r"client_max_window_bits(\s*=\s*\"?(8|9|1[0-5])\"?)?)\s*)*",
    re.IGNORECASE,
)


def _offers_deflate(offers: list[str]) -> bool:
    """Whether one of the offers can be met without context takeover and with a window of any size.

    One with a parameter that is unknown, or twice there, is declined (RFC 7692, section 7.1).
    """
    for offer in offers:
        _, *parameters = [part.partition("=")[0].strip().lower() for part in offer.split(";")]
        if DEFLATE_PARAMETERS.fullmatch(offer) and len(parameters) == len(set(parameters)):
            return True
    return False
