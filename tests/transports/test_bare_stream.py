"""Streams on a bare transport: what is taken over, what steps aside to plain ASGI, and how they end."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from apps import kinds
from apps import shop as shop_app
from apps.shop import TEA
from restive import Restive
from restive.transports.bare_stream import BareStream
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Raw, request
from transports.conftest import Carriage

SSE = "/orders/3?live=sse"


def taken(server: ThreadServer) -> int:
    return sum(isinstance(each, BareStream) for each in server._server.server_state.connections)


@pytest.mark.parametrize(
    ("query", "prefix"),
    [("live=sse", b"id:"), ("live=ndjson", b'{"on"')],
)
async def test_a_stream(query: str, prefix: bytes, carriage: Carriage) -> None:
    """A chunk for each change, the end of the resource as the last event and the end of the body."""
    app, live, shop = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.request(f"/orders/3?{query}")
        head = await raw.head()
        assert head.status == 200
        assert head.fields["transfer-encoding"] == "chunked"
        assert head.fields["connection"] == "close"
        assert head.fields["cache-control"] == "no-store"
        assert "date" in head.fields
        first = await raw.chunk()
        assert json.dumps(TEA, separators=(",", ":")).encode() in first
        await until(lambda: not server._server.server_state.tasks)
        assert taken(server) == 1
        for count in range(3):
            shop.orders[3] = {"count": count}
            live.changed("/orders/3")
            chunk = await raw.chunk()
            assert chunk.startswith(prefix)
            assert b'{"count":%d}' % count in chunk
        del shop.orders[3]
        live.changed("/orders/3")
        assert b"404" in await raw.chunk()
        assert await raw.rest() == b"0\r\n\r\n"


async def test_many_resources(carriage: Carriage) -> None:
    """The body ends with the last of them."""
    app, live, shop = shop_app.make(**CALM)
    server = carriage.start(app)
    shop.orders[4] = {"count": 4}
    async with carriage.raw(server) as raw:
        raw.request("/-/live?live=ndjson&watch=/orders/3&watch=/orders/4")
        assert (await raw.head()).status == 200
        told = b""
        while told.count(b'"data"') < 2:
            told += await raw.chunk()
        assert taken(server) == 1
        del shop.orders[3]
        live.changed("/orders/3")
        assert b'"end"' in await raw.chunk()
        shop.orders[4] = {"count": 5}
        live.changed("/orders/4")
        assert b'"count":5' in await raw.chunk()
        del shop.orders[4]
        live.changed("/orders/4")
        assert b'"end"' in await raw.chunk()
        assert await raw.rest() == b"0\r\n\r\n"


async def test_behind_other_requests_on_one_connection(carriage: Carriage) -> None:
    server = carriage.start(shop_app.make(**CALM)[0])
    async with carriage.raw(server) as raw:
        for _ in range(3):
            raw.request("/orders/3")
            assert (await raw.head()).status == 200
            assert json.loads(await raw.until(b"}")) == TEA
        raw.request(SSE)
        assert (await raw.head()).status == 200
        assert b"tea" in await raw.chunk()
        await until(lambda: taken(server) == 1)


async def test_a_client_that_goes_on_talking(carriage: Carriage) -> None:
    """What comes behind the request has no answer, since the connection is to be closed; nor does it hurt."""
    app, live, shop = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.request(SSE)
        await raw.head()
        await raw.chunk()
        await until(lambda: taken(server) == 1)
        for _ in range(20):
            raw.send(b"GET /orders/3 HTTP/1.1\r\n\r\n" * 1000)
        shop.orders[3] = {"count": 2}
        live.changed("/orders/3")
        assert b'{"count":2}' in await raw.chunk()


async def test_half_closed(carriage: Carriage) -> None:
    app, live, _ = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.request(SSE)
        await raw.head()
        await raw.chunk()
        if raw.writer.can_write_eof():
            raw.writer.write_eof()
        else:
            raw.writer.close()
        await until(lambda: not server._server.server_state.connections)
        await until(lambda: "hubs=[]" in repr(live))


# Stepping aside


async def test_http_1_0(carriage: Carriage) -> None:
    """No chunks: its body ends with the connection."""
    app, live, shop = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.request(SSE, version="1.0")
        await raw.until(b"tea")
        assert not taken(server)
        shop.orders[3] = {"count": 2}
        live.changed("/orders/3")
        await raw.until(b'{"count":2}')


@pytest.mark.parametrize("late", [False, True])
async def test_pipelined(late: bool, carriage: Carriage) -> None:
    """A request that is there already, or comes during the first look, would be lost: the stream runs on
    plain ASGI, and the request waits its turn."""
    app, live, shop = shop_app.make(**CALM)
    shop.slow["/orders/3"] = 0.5
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        host = {"Host": server.host}
        if late:
            raw.request(SSE)
            await until(lambda: bool(shop.running["/orders/3"]))
            raw.request("/orders")
        else:
            raw.send(request(SSE, host) + request("/orders", host))
        assert (await raw.head()).status == 200
        while b"tea" not in await raw.chunk():
            pass
        assert not taken(server)
        del shop.orders[3]
        live.changed("/orders/3")
        while await raw.chunk():
            pass
        head = await raw.head()
        assert head.status == 200
        assert json.loads(await raw.exactly(int(head.fields["content-length"]))) == []


async def test_head(carriage: Carriage) -> None:
    """A HEAD begins nothing."""
    server = carriage.start(shop_app.make(**CALM)[0])
    async with carriage.raw(server) as raw:
        raw.request(SSE, {"Connection": "close"}, method="HEAD")
        await raw.head()
        assert await raw.rest() == b""
        assert not taken(server)


async def test_a_post_of_watch_frames(carriage: Carriage) -> None:
    """Taken over only when its body was read to the end."""
    server = carriage.start(shop_app.make(**CALM)[0])
    body = b'{"watch": "/orders/3"}\n{"watch": "/orders"}\n'
    async with carriage.raw(server) as raw:
        target, size = "/-/live?live=ndjson", {"Content-Length": str(len(body))}
        raw.request(target, {**size, "Content-Type": "application/x-ndjson"}, method="POST")
        for octet in body:
            raw.send(bytes((octet,)))
            await asyncio.sleep(0)
        assert (await raw.head()).status == 200
        told = b""
        while told.count(b'"data"') < 2:
            told += await raw.chunk()


async def test_a_get_with_a_body_that_does_not_come(carriage: Carriage) -> None:
    server = carriage.start(shop_app.make(**CALM)[0])
    async with carriage.raw(server) as raw:
        raw.request(SSE, {"Content-Length": "10"})
        assert (await raw.head()).status == 200
        while b"tea" not in await raw.chunk():
            pass
        assert not taken(server)


class Marked:
    """A middleware of bare ASGI that says something about every response."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-marked", b"yes")]}
            await send(message)

        await self._app(scope, receive, marked)


async def mark(request: Any, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-marked"] = "yes"
    return response


@pytest.mark.parametrize("kind", ["asgi", "base", "gzip", "mounted"])
async def test_inside_of_a_middleware(kind: str, serve: Serve) -> None:
    """What has something to say about responses is not passed over."""
    app, live, shop = shop_app.make(**CALM)
    outer: Any = app
    if kind == "asgi":
        outer = Marked(app)
    elif kind == "base":
        outer = BaseHTTPMiddleware(app, mark)
    elif kind == "gzip":
        outer = Marked(GZipMiddleware(app))
    else:
        outer = FastAPI()
        outer.add_middleware(BaseHTTPMiddleware, dispatch=mark)
        outer.mount("", app)
    server = serve(outer)
    async with Raw(server.port) as raw:
        raw.request(SSE)
        head = await raw.head()
        assert head.fields["x-marked"] == "yes"
        while b"tea" not in await raw.chunk():
            pass
        shop.orders[3] = {"count": 2}
        live.changed("/orders/3")
        while b'{"count":2}' not in await raw.chunk():
            pass
        assert not taken(server)


async def test_fields_that_would_break_the_response(serve: Serve) -> None:
    """What uvicorn does not let an app send goes out on no path."""
    app = FastAPI()
    Restive(app, **CALM)

    @app.get("/odd")
    async def odd() -> Response:
        response = Response("{}", media_type="application/json")
        response.raw_headers.append((b"x-odd", b"a\r\nx-injected: b"))
        return response

    server = serve(app)
    async with Raw(server.port) as raw:
        raw.request("/odd?live=sse")
        assert b"injected: b" not in await raw.rest()
        assert not taken(server)


async def test_it_is_logged_as_uvicorn_does(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """One line for the access, as for any request; and requests are counted."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    logging.getLogger("uvicorn.access").addHandler(caplog.handler)
    try:
        server = serve(shop_app.make(**CALM)[0], log_config=None, log_level="info")
        async with Raw(server.port) as raw:
            raw.request("/orders/3?live=sse&n=1")
            await raw.head()
            await raw.chunk()
    finally:
        logging.getLogger("uvicorn.access").removeHandler(caplog.handler)
    lines = {record.getMessage().partition(" - ")[2] for record in caplog.records}
    assert '"GET /orders/3?live=sse&n=1 HTTP/1.1" 200' in lines
    assert server._server.server_state.total_requests == 1


# Slow clients

BULK = 100_000


@pytest.mark.parametrize("kind", ["socket", "live=sse", "live=ndjson"])
async def test_paused_and_resumed(kind: str, carriage: Carriage) -> None:
    """A client that reads again gets what is current, behind the little that was on its way."""
    app, live, shelf = kinds.make(**CALM)
    server = carriage.start(app)
    shelf.results["x"] = {"n": 0, "bulk": "x" * BULK}
    async with carriage.raw(server, room=4096) as raw:
        if kind == "socket":
            await raw.open()
            raw.say({"watch": "/results/x"})
        else:
            raw.request(f"/results/x?{kind}")
        await until(lambda: any(isinstance(c, BareStream) or kind == "socket" for c in connections(server)))
        raw.stop_reading()
        for n in range(1, 60):
            shelf.results["x"] = {"n": n, "bulk": "x" * BULK}
            live.changed("/results/x")
            await asyncio.sleep(0.01)
        (bare,) = connections(server)
        await until(lambda: bare._late_at is not None)
        assert bare._transport.get_write_buffer_size() < 3 * BULK
        shelf.results["x"] = {"n": 100}
        live.changed("/results/x")
        await asyncio.sleep(0.2)  # nothing tells from outside that it was looked at
        raw.go_on_reading()
        received = b""
        while b'"n":100' not in received:
            received += await asyncio.wait_for(raw.reader.read(2**16), 10)
        # What lies in the buffers of both kernels is some megabytes.
        assert received.count(b'"n":') < 55
        shelf.results["x"] = {"n": 101}
        live.changed("/results/x")
        await raw.until(b'"n":101')


def connections(server: ThreadServer) -> list[Any]:
    return list(server._server.server_state.connections)


@pytest.mark.parametrize("kind", ["socket", "live=sse"])
async def test_never_read(kind: str, carriage: Carriage) -> None:
    """``stall`` seconds, and the client is let go of; a reader beside it notices nothing."""
    app, live, shelf = kinds.make(**CALM, stall=0.5)
    server = carriage.start(app)
    shelf.results["x"] = {"n": 0, "bulk": "x" * BULK}
    async with carriage.raw(server, room=4096) as raw, carriage.raw(server) as reader:
        await reader.open()
        reader.say({"watch": "/results/x"})
        await reader.told()
        if kind == "socket":
            await raw.open()
            raw.say({"watch": "/results/x"})
        else:
            raw.request(f"/results/x?{kind}")
        raw.stop_reading()
        n = 0
        async with asyncio.timeout(20):
            while n < 60 or len(connections(server)) == 2:
                n += 1
                shelf.results["x"] = {"n": n, "bulk": "x" * BULK}
                live.changed("/results/x")
                while (await reader.told())["data"]["n"] != n:
                    pass


@pytest.mark.parametrize("kind", ["end", "drain"])
async def test_the_end_is_never_read(kind: str, serve: Serve) -> None:
    """A body that was ended, of which the client takes nothing, does not stay for ever either."""
    app, live, shelf = kinds.make(**CALM, stall=1.0)
    server = serve(app)
    shelf.results["x"] = {"n": 0, "bulk": "x" * 50_000}
    async with Raw(server.port, room=4096) as raw:
        raw.request("/results/x?live=sse")
        raw.stop_reading()
        await until(lambda: taken(server) == 1)
        (bare,) = connections(server)
        loop = bare._hub.loop
        raw_socket = bare._transport.get_extra_info("socket")
        await until(lambda: raw_socket.fileno() >= 0)
        n = 0
        while not bare._transport.get_write_buffer_size():  # until the kernel takes no more
            n += 1
            shelf.results["x"] = {"n": n, "bulk": "x" * 50_000}
            live.changed("/results/x")
            await asyncio.sleep(0.01)
        if kind == "end":
            del shelf.results["x"]
            live.changed("/results/x")
        else:
            loop.call_soon_threadsafe(bare.drain)
        await until(lambda: not connections(server))
