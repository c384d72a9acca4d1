"""Clients of a server that stops are sent away over a time, and are served until their turn has come."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack

import pytest

from apps import shop as shop_app
from scenarios.servers import CALM, Spawn
from scenarios.watches import Client
from transports.bare_client import Raw
from transports.conftest import Carriage
from transports.test_bare_shutdown import (
    BULK,
    crowd,
    drained_socket,
    drained_stream,
    open_socket,
    open_stream,
)
from wire.websocket_client import CLOSE

MANY, DRAIN = 2000, 4.0
STOPS_WITHIN = 60.0


@pytest.mark.parametrize("grace", [None, 1])
async def test_many_clients_go_one_after_the_other(spawn: Spawn, http: Client, grace: int | None) -> None:
    """Also those that never read, and where the server gives it less time than it would take."""
    env = {
        "SHOP_SETTINGS": json.dumps({**CALM, "max_connections": 2 * MANY, "drain": DRAIN}),
        "SHOP_ORDERS": json.dumps({"3": {"item": "tea"}, "4": {"n": 0}}),
        **({"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": str(grace)} if grace is not None else {}),
    }
    server = spawn("apps.shop:app", env=env)
    half, unread = MANY // 2 - 20, 20
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
        going = [*map(drained_socket, sockets), *map(drained_stream, streams)]
        told = await asyncio.gather(*(_timed(each) for each in going))
        status = await asyncio.to_thread(server.wait, STOPS_WITHIN)
    times = sorted(when - begun for when, _ in told)
    assert all(0 < retry < 10_000 for _, retry in told)
    assert status in {0, -15}
    assert "Application shutdown complete" in server.log
    assert "Traceback" not in server.log
    if grace is None:
        # No client is sent away before its time, however slow the machine is.
        assert times[len(times) // 2] > 0.4 * DRAIN
        assert times[-1] > 0.9 * DRAIN


async def _timed(going: object) -> tuple[float, int]:
    retry = await going  # type: ignore[misc]
    return time.monotonic(), retry


async def test_who_waits_for_his_turn_is_told_of_changes(carriage: Carriage) -> None:
    """The first have gone when something changes: those that are left see it before they go."""
    app, live, shop = shop_app.make(**{**CALM, "drain": 60.0})
    server = carriage.start(app, timeout_graceful_shutdown=None)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(carriage.raw(server)) for _ in range(150)]
        for raw in sockets:
            await open_socket(raw, "/orders/3")
            await raw.told()
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        firsts = [asyncio.create_task(_last_seen(raw)) for raw in sockets]
        await asyncio.wait(firsts, return_when=asyncio.FIRST_COMPLETED)
        shop.orders[3] = {"item": "late"}
        live.changed("/orders/3")
        seen = await asyncio.gather(*firsts)
        await stopping
    assert {"item": "late"} in seen
    assert None in seen


async def _last_seen(raw: Raw) -> object:
    """The last state before the socket is closed with 1012."""
    last: object = None
    while (got := await raw.frame()).opcode != CLOSE:
        told = json.loads(got.data)
        last = told.get("data", last)
    assert got.code == 1012
    return last


async def test_a_few_clients_do_not_hold_it_up(spawn: Spawn) -> None:
    """Ctrl-C in development: nobody waits for the whole time."""
    server = spawn("apps.shop:app", env={"SHOP_SETTINGS": json.dumps({**CALM, "drain": 600.0})})
    async with crowd(server.port, open_socket, 5, "/orders/3") as sockets:
        server.signal()
        await asyncio.gather(*map(drained_socket, sockets))
        await asyncio.to_thread(server.wait, STOPS_WITHIN)


async def test_a_balancer_is_warned_first(spawn: Spawn, http: Client) -> None:
    """Only health changes at first: who is sent here still is served, and who is here stays."""
    server = spawn("apps.shop:app", env={"SHOP_SETTINGS": json.dumps({**CALM, "drain_delay": 600.0})})
    async with crowd(server.port, open_socket, 1, "/orders/3") as (before,):
        assert "data" in await before.told()
        assert (await http.get(server.url + "/-/health")).status_code == 200
        server.signal()
        while (health := await http.get(server.url + "/-/health")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (health.status_code, health.json()["ready"]) == (503, False)
        async with crowd(server.port, open_stream, 1, "/orders/3") as (late,):
            await late.chunk()
            await http.put(server.url + "/orders/3", json={"item": "late"})
            assert (await before.told())["data"] == {"item": "late"}
            assert b"late" in await late.chunk()
            server.signal()
            assert await drained_stream(late) > 0
        assert await drained_socket(before) > 0
    await asyncio.to_thread(server.wait, STOPS_WITHIN)


async def test_the_warning_has_its_time(spawn: Spawn) -> None:
    delay = 1.0
    server = spawn("apps.shop:app", env={"SHOP_SETTINGS": json.dumps({**CALM, "drain_delay": delay})})
    async with crowd(server.port, open_socket, 1, "/orders/3") as (one,):
        begun = time.monotonic()
        server.signal()
        await drained_socket(one)
        assert time.monotonic() - begun >= delay
    await asyncio.to_thread(server.wait, STOPS_WITHIN)
