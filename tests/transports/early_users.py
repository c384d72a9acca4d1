"""An app that knows its users, sockets that shake hands in given bytes, and which of them were ASGI calls."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from restive import Restive
from scenarios.servers import ThreadServer
from transports.bare_client import Frame, Head, Raw, request
from wire.websocket_client import TEXT

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HELLO = {
    "Host": "shop.test",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Origin": "http://shop.test",
}
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
SUBPROTOCOL = {"Sec-WebSocket-Protocol": "restive.v1"}
WATCH = {"watch": "/me"}


class Users:
    """Everybody sees a page of their own, and one that is the same for all."""

    def __init__(self, **settings: Any) -> None:
        self.n = 0
        self.padding = ""
        self.app = Starlette(
            routes=[
                Route("/me", self.me),
                Route("/me", self.write, methods=["PUT"]),
                Route("/login", self.login, methods=["POST"]),
                WebSocketRoute("/echo", self.echo),
            ]
        )
        settings = {"backend": "memory:", "settle": 600, "min_interval": 0.0, **settings}
        self.live = Restive(self.app, **settings)

    async def me(self, request: Request) -> Response:
        user, scheme = request.cookies.get("user", ""), request.url.scheme
        return JSONResponse({"user": user, "n": self.n, "scheme": scheme, "padding": self.padding})

    async def write(self, request: Request) -> Response:
        self.n += 1
        return Response(status_code=204)

    async def login(self, request: Request) -> Response:
        response = Response(status_code=204)
        response.set_cookie("user", request.query_params["user"])
        return response

    async def echo(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    def set(self, n: int) -> None:
        """Another state, announced from this thread."""
        self.n = n
        self.live.changed("/me")


def new_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


def proof(key: str) -> str:
    """RFC 6455, section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def handshake(key: str, fields: dict[str, str] | None = None, target: str = "/-/live") -> bytes:
    return request(target, {**HELLO, "Sec-WebSocket-Key": key, **(fields or {})})


def cookie(user: str) -> dict[str, str]:
    return {"Cookie": f"user={user}"} if user else {}


class Socket(Raw):
    """A client of the socket."""

    async def shake(self, fields: dict[str, str] | None = None, target: str = "/-/live") -> Head:
        """Shake hands with a key of its own; where it is accepted, the proof is right."""
        key = new_key()
        self.send(handshake(key, fields, target))
        return await self.agreed(key)

    async def agreed(self, key: str) -> Head:
        """The answer to a handshake with this key."""
        head = await self.head()
        if head.status == 101:
            assert head.fields["sec-websocket-accept"] == proof(key)
        return head

    async def state(self) -> Any:
        """The data of the next state, whatever pings come before."""
        while (got := await self.frame()).opcode != TEXT:
            pass
        return unpacked(got)["data"]


def unpacked(got: Frame) -> Any:
    import json
    import zlib

    data = zlib.decompressobj(-15).decompress(got.data) if got.packed else got.data
    return json.loads(data)


@contextlib.asynccontextmanager
async def joined(
    server: ThreadServer, fields: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Socket]:
    """A socket that was accepted."""
    async with Socket(server.port, **options) as socket:
        head = await socket.shake(fields)
        assert head.status == 101, head
        yield socket


async def known(server: ThreadServer, fields: dict[str, str] | None = None, **options: Any) -> None:
    """Have the server know the handshake with these fields from now on."""
    async with joined(server, fields, **options):
        pass
