"""A server that stops: every client is told to come back, and none that reads nothing holds it up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from apps import shop as shop_app
from scenarios.servers import CALM, Spawn
from scenarios.waiting import until
from scenarios.watches import Client
from transports.bare_client import Raw
from transports.conftest import Carriage
from wire.websocket_client import CLOSE, close

BULK = {"bulk": "x" * 100_000}
MANY, UNREAD = 500, 40
STOPS_WITHIN = 20.0


async def open_socket(raw: Raw, target: str) -> None:
    await raw.open()
    raw.say({"watch": target})


async def open_stream(raw: Raw, target: str) -> None:
    raw.request(f"{target}?live=sse")
    await raw.head()


async def drained_socket(raw: Raw) -> int:
    """The milliseconds after which it may come back; all in good order."""
    while "retry" not in (told := await raw.told()):
        pass
    got = await raw.frame()
    assert (got.opcode, got.code) == (CLOSE, 1012)
    raw.send(close(1012))
    assert await raw.rest() == b""
    return int(told["retry"])


async def drained_stream(raw: Raw) -> int:
    """The same; the body has its proper end."""
    chunks: list[bytes] = []
    while chunk := await raw.chunk():
        chunks.append(chunk)
    assert await raw.rest() == b""
    _, _, retry = chunks[-1].rpartition(b"retry: ")
    return int(retry)


Opening = Callable[[Raw, str], Awaitable[None]]


@asynccontextmanager
async def crowd(
    port: int, opening: object, count: int, target: str, **options: int
) -> AsyncIterator[list[Raw]]:
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            clients.append(await stack.enter_async_context(Raw(port, **options)))
            await opening(clients[-1], target)
        yield clients


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_sigterm_with_many_clients(loop: str, spawn: Spawn, http: Client) -> None:
    """Half of them sockets, half streams, and some of each that never read what they have been sent."""
    settings = {**CALM, "max_connections": 2 * MANY}
    env = {
        "UVICORN_LOOP": loop,
        "SHOP_SETTINGS": json.dumps(settings),
        "SHOP_ORDERS": json.dumps({"3": {"item": "tea"}, "4": {"n": 0}}),
    }
    server = spawn("apps.shop:app", env=env)
    half, unread = (MANY - UNREAD) // 2, UNREAD // 2
    async with (
        crowd(server.port, open_socket, half, "/orders/3") as sockets,
        crowd(server.port, open_stream, half, "/orders/3") as streams,
        crowd(server.port, open_socket, unread, "/orders/4", room=4096) as deaf_sockets,
        crowd(server.port, open_stream, unread, "/orders/4", room=4096) as deaf_streams,
    ):
        for raw in (*deaf_sockets, *deaf_streams):
            raw.stop_reading()
        for n in range(30):
            await http.put(server.url + "/orders/4", json={"n": n, **BULK})
        begun = time.monotonic()
        server.signal()
        retries = await asyncio.gather(*map(drained_socket, sockets), *map(drained_stream, streams))
        status = await asyncio.to_thread(server.wait, STOPS_WITHIN)
        took = time.monotonic() - begun
    assert all(0 < retry < 10_000 for retry in retries)
    assert len(set(retries)) > MANY // 10, "they would all come back at once"
    assert status in {0, -15}
    assert took < STOPS_WITHIN
    assert "Application shutdown complete" in server.log
    assert "Traceback" not in server.log
    assert "force quit" not in server.log.partition("Waiting for background tasks")[2]


async def test_a_server_that_is_stopped_by_its_process(carriage: Carriage) -> None:
    """Without a signal: uvicorn asks each connection, whatever it has become."""
    app, live, _ = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as socket, carriage.raw(server) as stream:
        await open_socket(socket, "/orders/3")
        await socket.told()
        await open_stream(stream, "/orders/3")
        await stream.chunk()
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert await drained_socket(socket) > 0
        assert await drained_stream(stream) > 0
        await stopping
    assert "hubs=[]" in repr(live)


async def test_clients_that_read_nothing_do_not_hold_it_up(carriage: Carriage) -> None:
    """They are paused, or have little enough left that they are not: both end."""
    app, live, shop = shop_app.make(**CALM)
    server = carriage.start(app)
    shop.orders[4] = {"n": 0}
    async with (
        carriage.raw(server, room=4096) as paused,
        carriage.raw(server, room=4096) as quiet,
        carriage.raw(server, room=4096) as stream,
    ):
        await open_socket(paused, "/orders/4")
        await open_stream(stream, "/orders/4")
        await open_socket(quiet, "/orders/3")
        for raw in (paused, quiet, stream):
            raw.stop_reading()
        for n in range(60):
            shop.orders[4] = {"n": n, **BULK}
            live.changed("/orders/4")
            await asyncio.sleep(0.01)
        connections = server._server.server_state.connections
        await until(lambda: sum(each._late_at is not None for each in list(connections)) == 2)  # type: ignore[union-attr]
        await asyncio.to_thread(server.stop)


async def test_a_watch_that_begins_as_the_server_stops(carriage: Carriage) -> None:
    """A stream whose first look was under way is ended like the others, not left behind."""
    app, _, shop = shop_app.make(**CALM)
    shop.slow["/orders/3"] = 0.5
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.request("/orders/3?live=sse")
        await until(lambda: bool(shop.running["/orders/3"]))
        await asyncio.to_thread(server.stop)
        await raw.lost()


async def test_who_has_just_come_is_heard_out(carriage: Carriage) -> None:
    """Its request may be on its way: cut off now, it would be lost without an answer."""
    app, _, _ = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as early, carriage.raw(server) as silent:
        connections = server._server.server_state.connections
        await until(lambda: len(connections) == 2)
        server.stopping()
        await until(lambda: all(each._stopping for each in list(connections)))  # type: ignore[union-attr]
        early.request("/orders/3")
        head = await early.head()
        assert (head.status, head.fields["connection"]) == (200, "close")
        await early.rest()
        await silent.lost()
    await asyncio.to_thread(server.stop)
