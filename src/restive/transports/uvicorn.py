"""The fast path under uvicorn: protocol classes that let the app take the bare transport over (design 6).

``restive serve`` uses them. So does ``uvicorn --ws restive.transports.uvicorn:WebSocket --http
restive.transports.uvicorn:Http shop:app``. What the app does not take over goes to uvicorn's own classes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import (
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from ..http.fields import Fields
from .bare import Bare
from .takeover import NAME

__all__ = ["Http", "WebSocket"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFLATE = (
    b"Sec-WebSocket-Extensions: permessage-deflate; "
    b"server_no_context_takeover; client_no_context_takeover\r\n"
)

log = logging.getLogger("uvicorn.error")
access = logging.getLogger("uvicorn.access")


class Http(HttpToolsProtocol):
    """uvicorn's HTTP protocol, whose responses can be taken over: an ``HttpTakeover``."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {NAME: self}  # type: ignore[dict-item]

    def respond(self, protocol: Bare, status: int, fields: Fields) -> bool:
        """Write the head of a chunked response and hand the transport to ``protocol``."""
        cycle, transport = self.cycle, self.transport
        if not self._is_free():
            return False
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b\r\n" % line for line in (*self.server_state.default_headers, *fields)]
        lines.append(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        transport.write(b"".join(lines))
        if self.access_log:
            self.access_logger.info(
                '%s - "%s %s HTTP/%s" %d',
                get_client_addr(cycle.scope),
                cycle.scope["method"],
                get_path_with_query_string(cycle.scope),
                cycle.scope["http_version"],
                status,
            )
        cycle.response_started = cycle.response_complete = True  # the ASGI call ends without a response
        self.server_state.total_requests += 1
        self._let_go()
        protocol.begin(transport, self.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)
        return True

    def _is_free(self) -> bool:
        cycle = self.cycle
        return not (
            self.transport.is_closing()
            or cycle.disconnected
            or cycle.response_started
            or cycle.more_body
            or cycle.scope["http_version"] != "1.1"
            or self.pipeline
        )

    def _let_go(self) -> None:
        """Free what a connection holds that is no longer HTTP's: the parser refers back to this."""
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.parser = self.scope = self.headers = None  # type: ignore[assignment]


class WebSocket(asyncio.Protocol):
    """A handshake that waits for whether the app takes it over: a ``SocketTakeover``.

    uvicorn's own protocol is made only when the app receives or sends by itself.
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
        self.deflate = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        if self._request:
            self._early += data
            return
        self._request = data
        # In a task, since uvicorn sets this protocol on the transport after it has given the request.
        task = self._loop.create_task(self._run(self._scope(data)))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def eof_received(self) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._state.connections.discard(self)

    def shutdown(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # The call

    def _scope(self, data: bytes) -> dict[str, Any]:
        head, *lines = data.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        target = head.split(b" ")[1].decode("latin-1")
        self._headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        protocols = self._values(b"sec-websocket-protocol")
        self.deflate = self._config.ws_per_message_deflate and _offers_deflate(
            self._values(b"sec-websocket-extensions")
        )
        raw_path, _, query = target.partition("?")
        root, transport = self._config.root_path, self._transport
        assert transport is not None
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(transport) else "ws",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "root_path": root,
            "path": root + unquote(raw_path),
            "raw_path": (root + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": self._headers,
            "subprotocols": protocols,
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, NAME: self},
        }

    def _values(self, name: bytes) -> list[str]:
        lines = [value.decode("latin-1") for given, value in self._headers if given == name]
        return [part.strip() for line in lines for part in line.split(",") if part.strip()]

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except BaseException as error:
            if self._stock is None and self._transport is None:
                log.exception("Exception in ASGI application")
                raise
            (await self._as_stock()).ended.set_exception(error)
        else:
            if self._stock is not None or self._transport is not None:
                (await self._as_stock()).ended.set_result(None)

    async def _receive(self) -> Any:
        if self._stock is None and self._transport is None:
            return {"type": "websocket.disconnect", "code": 1006}
        return await (await self._as_stock()).receive()

    async def _send(self, message: Any) -> None:
        if self._stock is None and self._transport is None:
            raise OSError("The client is gone.")
        await (await self._as_stock()).send(message)

    async def _as_stock(self) -> _Stock:
        """The protocol of uvicorn, which does the rest."""
        if self._stock is None:
            assert self._transport is not None
            stock = self._stock = _Stock(self._config, self._state, self._app_state, self._loop)
            self._state.connections.discard(self)
            stock.protocol.connection_made(self._transport)
            self._transport.set_protocol(stock.protocol)
            stock.protocol.data_received(self._request + self._early)
        await self._stock.called.wait()
        return self._stock

    # Taking over

    def accept(self, protocol: Bare, subprotocol: str | None, *, deflate: bool) -> bool:
        """Answer 101 and hand the transport to ``protocol``; false where it is not to be had."""
        transport, key = self._transport, _key(self._headers)
        if transport is None or transport.is_closing() or key is None or self._stock is not None:
            return False
        proof = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        lines = [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"]
        lines.append(b"Sec-WebSocket-Accept: %b\r\n" % proof)
        if subprotocol is not None:
            lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode())
        if deflate:
            lines.append(DEFLATE)
        lines += [b"%b: %b\r\n" % line for line in self._state.default_headers]
        transport.write(b"".join(lines) + b"\r\n")
        if access.hasHandlers() and self._config.access_log:
            log.info('%s - "WebSocket %s" [accepted]', *self._client_and_path())
        self._transport, early = None, self._early
        self._state.connections.discard(self)
        protocol.begin(transport, self._state.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)
        if early:
            self._loop.call_soon(protocol.data_received, early)
        return True

    def _client_and_path(self) -> tuple[str, str]:
        assert self._transport is not None
        client = get_remote_addr(self._transport)
        target = self._request.split(b" ", 2)[1].decode("latin-1")
        return (f"{client[0]}:{client[1]}" if client else "", target)


class _Stock:
    """The protocol of uvicorn, run with a call that is under way already."""

    def __init__(
        self, config: Config, state: ServerState, app_state: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.called = asyncio.Event()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.receive: Any = None
        self.send: Any = None
        self.protocol = WebSocketsSansIOProtocol(config, state, app_state, loop)
        self.protocol.app = self._app

    async def _app(self, _scope: Any, receive: Any, send: Any) -> None:
        self.receive, self.send = receive, send
        self.called.set()
        await self.ended


def _key(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The key of a handshake that is right in every way (RFC 6455, section 4.2.1), else None."""
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if len(keys) != 1 or versions != [b"13"]:
        return None
    try:
        return keys[0] if len(base64.b64decode(keys[0], validate=True)) == 16 else None
    except binascii.Error:
        return None


def _offers_deflate(offers: list[str]) -> bool:
    """Whether one of the offers can be met without context takeover and with a window of any size."""
    for offer in offers:
        name, *parameters = [part.strip().partition("=")[0].lower() for part in offer.split(";")]
        if name == "permessage-deflate" and "server_max_window_bits" not in parameters:
            return True
    return False
