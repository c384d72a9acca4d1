"""A ping is answered whenever its client reads again; of many, the last (RFC 6455, section 5.5.3)."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from apps import desk
from apps import shop as shop_app
from scenarios.servers import CALM, FAST, Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Raw
from wire.websocket_client import BINARY, PING, PONG, frame

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def little_room(server: ThreadServer) -> None:
    """Else the kernel would take everything."""
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


async def pong(raw: Raw) -> bytes:
    while (got := await raw.frame()).opcode != PONG:
        pass
    return got.data


def only(server: ThreadServer) -> Any:
    (connection,) = server._server.server_state.connections
    return connection


@LOOPS
async def test_on_a_socket_of_the_apps(loop: str, serve: Serve) -> None:
    server = serve(desk.make(**FAST)[0], loop=loop)
    little_room(server)
    async with Raw(server.port, room=4096) as raw:
        await raw.open("/echo")
        raw.stop_reading()
        raw.send(frame(BINARY, bytes(4_000_000)))
        await until(lambda: not only(server).writable.is_set())
        for n in range(100):
            raw.send(frame(PING, b"%d" % n))
        await until(lambda: b"99" in only(server)._pongs)
        assert len(only(server)._pongs) < 1000
        raw.go_on_reading()
        while await pong(raw) != b"99":
            pass
        raw.send(frame(PING, b"next"))
        assert await pong(raw) == b"next"


@LOOPS
async def test_on_a_socket_of_restives(loop: str, serve: Serve) -> None:
    app, _, orders = shop_app.make(**CALM)
    server = serve(app, loop=loop)
    little_room(server)
    orders.orders[3] = {"bulk": "x" * 900_000}
    async with Raw(server.port, room=4096) as raw:
        await raw.open()
        raw.stop_reading()
        raw.say({"watch": "/orders/3"})
        await until(lambda: getattr(only(server), "_late_at", None) is not None)
        for n in range(100):
            raw.send(frame(PING, b"%d" % n))
        await until(lambda: b"99" in (only(server)._outbox or [(b"",)])[-1][0])
        assert len(only(server)._outbox) == 1
        raw.go_on_reading()
        assert await pong(raw) == b"99"
        raw.send(frame(PING, b"next"))
        assert await pong(raw) == b"next"
