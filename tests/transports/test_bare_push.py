"""Pushes past the transport: whole messages only, to whom they are meant for, whoever comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from restive.hub import variant
from scenarios.servers import Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Raw
from transports.conftest import Carriage
from transports.early_shop import Shop
from transports.early_users import Socket, cookie, joined
from wire.websocket_client import TEXT

LARGE = 2**20
LAST = 16
"""Changes of that size: more than any kernel keeps."""
CROWD = 10


def page(n: int) -> bytes:
    """A megabyte, every part of which says which one it is."""
    part = b"%08d," % n
    return b'{"n":%d,"parts":"%b"}' % (n, part * (LARGE // len(part)))


class Reader:
    """A client that watches ``/a`` in either form, and checks that whatever comes is whole."""

    def __init__(self, raw: Raw, form: str) -> None:
        self.raw, self._form = raw, form
        self.seen: list[int] = []

    async def begin(self) -> None:
        if self._form == "socket":
            await self.raw.open()
            self.raw.say({"watch": "/a"})
        else:
            self.raw.request("/a?live=ndjson")
            assert (await self.raw.head()).status == 200
        await self.has(0)

    async def _next(self) -> Any:
        if self._form == "socket":
            return await self.raw.told()
        while not (line := await self.raw.chunk()).strip():
            pass
        return json.loads(line)

    async def has(self, n: int) -> None:
        """Read until the state is this one."""
        while not self.seen or self.seen[-1] != n:
            data = (await self._next())["data"]
            parts = data["parts"].split(",")[:-1]
            assert set(parts) == {f"{data['n']:08d}"}
            assert len(parts) == LARGE // 9
            self.seen.append(data["n"])


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few clients are written to as thousands are."""
    monkeypatch.setattr(variant, "FEW", 0)


@contextlib.asynccontextmanager
async def crowd(
    carriage: Carriage, server: ThreadServer, form: str, *, slow: int
) -> AsyncIterator[tuple[list[Reader], list[Reader]]]:
    """Readers who read, and ``slow`` who are to stop."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for n in range(CROWD):
            raw = await stack.enter_async_context(carriage.raw(server, room=8192 if n < slow else None))
            readers.append(Reader(raw, form))
            await readers[-1].begin()
        yield readers[slow:], readers[:slow]


@pytest.mark.parametrize("form", ["socket", "stream"])
async def test_large_states_for_slow_clients(form: str, carriage: Carriage) -> None:
    """The kernel takes a part of a state, and the rest has to follow it, whatever has changed since."""
    shop = Shop(max_representation=2 * LARGE, stall=60)
    shop.bodies["/a"] = page(0)
    server = carriage.start(shop.app)
    async with crowd(carriage, server, form, slow=4) as (quick, slow):
        for each in slow:
            each.raw.stop_reading()
        for n in range(1, LAST + 1):
            shop.bodies["/a"] = page(n)
            shop.live.changed("/a")
            await asyncio.gather(*(each.has(n) for each in quick))
        for each in slow:
            each.raw.go_on_reading()
            await each.has(LAST)
            # What the kernel had taken already, what it had begun to take, and then the last.
            assert len(each.seen) < LAST
            assert each.seen == [*range(len(each.seen) - 1), LAST]
        shop.bodies["/a"] = page(LAST + 1)
        shop.live.changed("/a")
        await asyncio.gather(*(each.has(LAST + 1) for each in (*quick, *slow)))
        for each in quick:
            assert each.seen == list(range(LAST + 2))


def reset(raw: Raw) -> None:
    """End the connection as a client that has crashed does."""
    held = raw.writer.get_extra_info("socket")
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.cut()


@pytest.mark.parametrize("form", ["socket", "stream"])
async def test_clients_that_reset_in_the_midst_of_a_push(
    form: str, carriage: Carriage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    shop = Shop(max_representation=2 * LARGE, stall=60)
    shop.bodies["/a"] = page(0)
    server = carriage.start(shop.app)
    async with crowd(carriage, server, form, slow=6) as (quick, slow):
        for each in slow:
            each.raw.stop_reading()
        for n in range(1, 3 * len(slow)):
            shop.bodies["/a"] = page(n)
            shop.live.changed("/a")
            await quick[0].has(n)  # others are being written to
            if n >= 2 * len(slow):
                reset(slow[n % len(slow)].raw)
            await asyncio.gather(*(each.has(n) for each in quick))
        await until(lambda: len(server._server.server_state.connections) == len(quick))
    await until(lambda: "hubs=[]" in repr(shop.live))
    assert [each.getMessage() for each in caplog.records if "socket.send()" not in each.getMessage()] == []


ROUNDS = 200
SLOTS = 10


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_descriptor_that_is_anothers_now(loop: str, serve: Serve) -> None:
    """Clients go and others take their numbers at once, while pushes go on: each sees what is its own.

    One resource changes at a time, as those of who has just left do: what changes together is joined.
    """
    shop = Shop(min_interval=0.0, look_rate=100_000)
    shop.headers["cache-control"] = "private"
    server = serve(shop.app, loop=loop)
    over, states = asyncio.Event(), 0
    here, left = dict[str, None](), deque(["/nobody"], SLOTS)

    async def change() -> None:
        n = 0
        while not over.is_set():
            n += 1
            either = (*here, *left)
            name = either[n % len(either)]
            shop.bodies[name] = b'{"mark":"%b","n":%d}' % (name.encode(), n)
            shop.live.changed(name)
            await asyncio.sleep(0.0005)

    async def one(name: str, more: int) -> None:
        nonlocal states
        shop.bodies[name] = b'{"mark":"%b","n":0}' % name.encode()
        here[name] = None
        async with joined(server, cookie(name[1:])) as client:
            client.say({"watch": name})
            last = -1
            for _ in range(more):
                got = await client.frame()
                assert got.opcode == TEXT, got
                data = json.loads(got.data)["data"]
                assert data["mark"] == name
                assert data["n"] > last
                last, states = data["n"], states + 1
            del here[name]
            left.append(name)
            reset(client)

    async def slot(number: int) -> None:
        for turn in range(ROUNDS // SLOTS):
            await one(f"/{number}-{turn}", 2 + (number + turn) % 4)

    changing = asyncio.create_task(change())
    try:
        await asyncio.gather(*(slot(number) for number in range(SLOTS)))
    finally:
        over.set()
        await changing
    assert states > 2 * ROUNDS
    await until(lambda: not server._server.server_state.connections)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_crowd_that_comes_and_goes(loop: str, serve: Serve) -> None:
    """The same with two crowds, each of a resource of its own that is the same for all in it."""
    shop = Shop()
    for name in "ab":
        shop.bodies[f"/{name}"] = b'{"mark":"%b","n":0}' % name.encode()
    server = serve(shop.app, loop=loop)
    over = asyncio.Event()

    async def change() -> None:
        n, going_on = 0, True
        while going_on:
            n, going_on = n + 1, not over.is_set()  # once more at the end, for who waits still
            for name in "ab":
                shop.bodies[f"/{name}"] = b'{"mark":"%b","n":%d}' % (name.encode(), n)
            shop.live.changed("/a", "/b")
            await asyncio.sleep(0.002)

    async def stay(name: str) -> None:
        async with Socket(server.port) as client:
            assert (await client.shake()).status == 101
            client.say({"watch": f"/{name}"})
            last = -1
            while not over.is_set():
                data = await client.state()
                assert data["mark"] == name
                assert data["n"] > last
                last = data["n"]

    async def pass_by(number: int) -> None:
        for turn in range(ROUNDS // SLOTS):
            name = "ab"[(number + turn) % 2]
            async with joined(server) as client:
                client.say({"watch": f"/{name}"})
                for _ in range(turn % 4):
                    assert (await client.state())["mark"] == name
                reset(client)

    background = [asyncio.create_task(change())]
    background += [asyncio.create_task(stay("ab"[n % 2])) for n in range(2 * CROWD)]
    await asyncio.gather(*(pass_by(number) for number in range(SLOTS)))
    over.set()
    await asyncio.gather(*background)
