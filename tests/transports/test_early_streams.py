"""Requests of event streams that come again in the same bytes are answered as an ASGI call would answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from contextlib import AsyncExitStack

import pytest

from restive.transports.uvicorn import streams
from scenarios.servers import Serve, Spawn
from scenarios.waiting import until
from transports.bare_client import request
from transports.conftest import Carriage
from transports.early_board import (
    FIELDS,
    PUBLIC,
    SAME,
    Board,
    Early,
    Reader,
    all_gone,
    asking,
    bare,
    known,
    number,
    reading,
    start,
    uncollected,
)
from transports.test_bare_memory import resident
from transports.test_early_reads import access_log

LAST = b"0\r\n\r\n"


@pytest.fixture
def early() -> Early:
    return Early()


# As the first one


@pytest.mark.parametrize(("mode", "prefix"), [("sse", b"id:"), ("ndjson", b'{"on"')])
async def test_what_comes_again_needs_no_call(
    mode: str, prefix: bytes, carriage: Carriage, early: Early
) -> None:
    """On every loop, with and without TLS; and all of them go on as the first does, to their end."""
    board = Board()
    server = start(carriage.start, board, early)
    data = asking(f"/a?live={mode}")
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(Reader(server.port, tls=carriage.tls)) for _ in range(6)]
        begun = [await reader.ask(data) for reader in readers]
        assert (await early.count(), board.woken) == (5, ["look"])
        assert [each.timeless for each in begun] == [begun[0].timeless] * 6
        assert b"\r\ndate: " in begun[5].head
        for n in range(1, 4):
            board.set(n)
            for reader in readers:
                chunk = await reader.chunk()
                assert chunk.startswith(prefix)
                assert number(chunk) == n
        board.absent.add("/a")
        board.live.changed("/a")
        for reader in readers:
            assert b"404" in await reader.chunk()
            assert await reader.rest() == LAST
    await all_gone(server, board)


HEADERS: list[dict[str, str]] = [
    {},
    PUBLIC,
    {"x-mine": "1", "vary": "accept-language", "link": "</>; rel=up"},
    {"access-control-allow-origin": "*"},
    {"etag": 'W/"own"'},
]


@pytest.mark.parametrize("headers", HEADERS, ids=[",".join(headers) for headers in HEADERS])
@pytest.mark.parametrize(
    "origin", [None, "https://good.test", "https://evil.test", "http://shop.test", "null"]
)
@pytest.mark.parametrize("mode", ["sse", "ndjson"])
async def test_the_answer_is_that_of_the_call(
    mode: str, origin: str | None, headers: dict[str, str], serve: Serve, early: Early
) -> None:
    """Byte for byte; behind an empty line it is no request that is known, and a call answers."""
    board = Board(allow_origins=["https://good.test"])
    board.headers = headers
    server = start(serve, board, early)
    data = asking(f"/a?x=1&live={mode}&n=1", **({} if origin is None else {"Origin": origin}))
    async with AsyncExitStack() as stack:
        begun = []
        for sent in (data, data, b"\r\n" + data):
            reader = await stack.enter_async_context(Reader(server.port))
            begun.append(await reader.ask(sent))
        assert await early.count() == 1
    assert begun[0].timeless == begun[1].timeless == begun[2].timeless
    head = begun[1].head
    assert (b"access-control-allow-credentials" in head) == (origin == "https://good.test")
    assert (b"x-mine: 1" in head) == ("x-mine" in headers)


async def test_who_has_the_state_is_told_that_it_is_current(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server), Reader(server.port) as first:
        tag = (await first.ask()).first.partition(b"id: ")[2].partition(b"\n")[0].decode()
        opaque = tag.strip('"')
        cases = [
            asking(Last_Event_ID=tag),
            asking(f"/a?live=sse&etag={opaque}"),
            asking(f"/a?live=ndjson&etag=%22{opaque}%22"),
            asking("/a?live=sse&etag=older", Last_Event_ID=tag),  # the field is the newer one
        ]
        for data in cases:
            count = await early.count()
            async with (
                Reader(server.port) as usual,
                Reader(server.port) as again,
                Reader(server.port) as call,
            ):
                begun = [await usual.ask(data), await again.ask(data), await call.ask(b"\r\n" + data)]
                assert await early.count() == count + 1
                assert begun[0].timeless == begun[1].timeless == begun[2].timeless
                assert b"current" in begun[1].first
                assert b'"n":' not in begun[1].first
                board.set(board.n + 1)
                assert [await reader.told() for reader in (usual, again, call)] == [board.n] * 3
            board.set(0)


async def test_a_cursor_of_another_state_takes_a_look(serve: Serve, early: Early) -> None:
    """It may be newer than what is held; and nobody is known by it, who would have to be looked for again."""
    board = Board()
    server = start(serve, board, early)
    async with reading(server):
        for n in range(3):
            board.woken.clear()
            async with reading(server, asking("/a?live=sse&etag=older")):
                assert board.woken == ["look"], n
    assert await early.count() == 0
    assert list(known(server)) == [SAME]


async def test_the_servers_own_fields_go_with_it(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early, headers=[("X-Node", "7")], server_header=False, date_header=False)
    async with Reader(server.port) as one, Reader(server.port) as two:
        first, second = await one.ask(), await two.ask()
        assert first == second
        assert await early.count() == 1
        assert b"X-Node: 7\r\n" in first.head or b"x-node: 7\r\n" in first.head
        assert b"date" not in first.head


async def test_each_is_logged_and_counted(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early, log_level="info")
    data = asking("/a?x=%C3%BC&live=sse")
    with access_log() as lines:
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(reading(server, data)) for _ in range(4)]
            addresses = [reader.writer.get_extra_info("sockname") for reader in readers]
        assert await early.count() == 3
    line = 'GET /a?x=%C3%BC&live=sse HTTP/1.1" 200'
    assert lines == [f'{host}:{port} - "{line}' for host, port in addresses]
    assert server._server.server_state.total_requests == 4


# As it goes on


async def test_a_beat_comes_when_nothing_else_does(serve: Serve, early: Early) -> None:
    board = Board(heartbeat=1.0)
    server = start(serve, board, early)
    async with reading(server), reading(server) as reader, reading(server, asking("/a?live=ndjson")):
        assert await early.count() == 1
        for _ in range(2):
            assert (await reader.chunk()).startswith(b":")
        async with reading(server, asking("/a?live=ndjson")) as lines:
            assert await early.count() == 2
            assert await lines.chunk() == b"\n"


async def test_a_server_that_drains_says_when_to_come_back(carriage: Carriage, early: Early) -> None:
    board = Board(drain=0.0)
    server = start(carriage.start, board, early)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(server, tls=carriage.tls)) for _ in range(5)]
        assert await early.count() == 4
        board.hub.loop.call_soon_threadsafe(board.live.drain)
        for reader in readers:
            assert (await reader.chunk()).startswith(b"retry: ")
            assert await reader.rest() == LAST
    await all_gone(server, board)


async def test_a_server_that_stops_ends_them(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server), reading(server) as reader, Reader(server.port) as idle:
        assert await early.count() == 1
        await until(lambda: len(server._server.server_state.connections) == 3)
        server.stopping()
        assert (await reader.chunk()).startswith(b"retry: ")
        assert await reader.rest() == LAST
        with contextlib.suppress(ConnectionError):
            idle.send(SAME)
        await idle.lost()
    server._thread.join(10)
    assert not server._thread.is_alive()


async def test_many_at_once(carriage: Carriage, early: Early) -> None:
    """Forty, more than are told of a change one by one."""
    board = Board()
    server = start(carriage.start, board, early)
    async with reading(server, tls=carriage.tls), AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(Reader(server.port, tls=carriage.tls)) for _ in range(40)]
        assert [each.n for each in await asyncio.gather(*(reader.ask() for reader in readers))] == [0] * 40
        for n in range(1, 6):
            board.set(n)
            assert [await reader.told() for reader in readers] == [n] * 40
        assert await early.count() == 40
        assert board.woken.count("look") <= 6


async def test_one_that_takes_nothing_gets_what_is_current(serve: Serve, early: Early) -> None:
    board = Board()
    board.padding = "x" * 100_000
    server = start(serve, board, early)
    async with reading(server), Reader(server.port, room=4096) as slow:
        slow.send(SAME)
        await until(lambda: len(bare(server)) == 2)
        slow.stop_reading()
        for n in range(1, 60):
            board.set(n)
            await asyncio.sleep(0.01)
        await until(lambda: any(each._late_at is not None for each in bare(server)))
        board.set(100)
        slow.go_on_reading()
        received = b""
        while b'"n":100' not in received:
            received += await asyncio.wait_for(slow.reader.read(2**16), 10)
        assert received.count(b'"n":') < 55
        assert await early.count() == 1


# How the bytes come


async def test_behind_reads_that_were_answered_early(serve: Serve, early: Early) -> None:
    """A connection may have been used; but where the app was called on it, it is called again."""
    board = Board()
    board.headers = PUBLIC
    server = start(serve, board, early)
    async with reading(server):
        for n in range(3):
            async with Reader(server.port) as reader:
                await reader.read("/a")  # known by its bytes after the first
                assert (await reader.ask()).n == 0
                assert await early.count() == n
        async with Reader(server.port) as reader:
            await reader.read("/b")
            assert (await reader.ask()).n == 0
        assert await early.count() == 2


async def test_a_request_in_pieces_is_parsed(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server):
        for cut in (1, 4, 5, len(SAME) - 4, len(SAME) - 1):
            async with Reader(server.port) as reader:
                reader.send(SAME[:cut])
                await asyncio.sleep(0.02)
                assert (await reader.ask(SAME[cut:])).n == 0
        assert await early.count() == 0


async def test_the_rest_of_another_request_is_not_one(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    beginnings = [b"GET /b HTTP/1.1\r\nX: ", b"PUT /b HTTP/1.1\r\nContent-Length: %d\r\nX: " % len(SAME)]
    async with reading(server), reading(server):
        for beginning in beginnings:
            async with Reader(server.port) as reader:
                seen = early.segments
                reader.send(beginning)
                await until(lambda seen=seen: early.segments > seen)  # type: ignore[misc]
                reader.send(SAME)
                if beginning.startswith(b"PUT"):
                    reader.send(SAME)  # which is its body
                assert b"application/json" in await reader.until(b"\r\n\r\n")
        assert await early.count() == 1


async def test_what_comes_behind_it_at_once(carriage: Carriage, early: Early) -> None:
    """With it in one segment it is a pipeline, which is the server's; in the next it is nobody's."""
    board = Board()
    server = start(carriage.start, board, early)
    async with reading(server, tls=carriage.tls):
        for more in (SAME, asking("/b"), b"GET /b HT"):
            async with Reader(server.port, tls=carriage.tls) as reader:
                reader.send(SAME + more)
                await reader.until(b"\r\n\r\n")
                assert await reader.told() == 0
        assert (await early.count(), list(known(server))) == (0, [SAME])
        async with Reader(server.port, tls=carriage.tls) as reader:
            assert (await reader.ask()).n == 0
            for n in range(1, 4):
                reader.send(asking("/b") * 3)
                board.set(n)
                assert await reader.told() == n
        assert await early.count() == 1


async def test_a_request_behind_one_that_waits_is_not_taken_for_it(serve: Serve, early: Early) -> None:
    """Else whoever asks for the second would get the stream that the first asked for."""
    board = Board()
    server = start(serve, board, early)
    other = asking("/b")
    for n, behind in enumerate([other, other[:-2], asking("/b", Connection="Upgrade", Upgrade="h2c")]):
        board.delay = asyncio.Event()
        async with Reader(server.port) as reader:
            reader.send(asking(f"/{n}?live=sse"))
            await until(lambda: board.waiting > 0)
            seen = early.segments
            reader.send(behind)
            await until(lambda seen=seen: early.segments > seen)  # type: ignore[misc]
            await board.go_on()
            await reader.until(b'"n":0')
            assert known(server) == {}
        async with Reader(server.port) as reader:
            reader.send(other)
            assert b"application/json" in await reader.until(b"\r\n\r\n")
    assert await early.count() == 0


async def test_a_handshake_behind_one_that_waits(serve: Serve, early: Early) -> None:
    """The connection is a socket's then: nothing takes it over a second time."""
    board = Board()
    server = start(serve, board, early)
    board.delay = asyncio.Event()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with Reader(server.port) as reader:
        reader.send(SAME)
        await until(lambda: board.waiting > 0)
        reader.send(
            request("/-/live", {**FIELDS, **upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        )
        assert (await reader.head()).status == 101
        await board.go_on()
        await reader.until(b'"n":0')
        assert not bare(server)
    assert known(server) == {}


LINGER = struct.pack("ii", 1, 0)
"""Closing resets the connection."""


async def test_clients_that_reset_right_after_their_request(carriage: Carriage, early: Early) -> None:
    """Before, while and after they are answered; nothing of them stays, and nobody else notices."""
    board = Board()
    server = start(carriage.start, board, early)
    chance = random.Random(7)
    async with reading(server, tls=carriage.tls) as reader:
        for _ in range(60):
            async with Reader(server.port, tls=carriage.tls) as hasty:
                raw = hasty.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                hasty.send(SAME)
                await asyncio.sleep(chance.choice([0, 0.0005, 0.002]))
                hasty.cut()
        await until(lambda: len(server._server.server_state.connections) == 1)
        assert await early.count() > 0
        board.set(3)
        assert await reader.told() == 3
        assert board.counted() == 1
    await all_gone(server, board)


# What is kept


async def test_the_server_forgets_the_oldest(
    serve: Serve, early: Early, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 5)
    board = Board()
    board.headers = PUBLIC
    server = start(serve, board, early)
    async with reading(server):
        for n in range(20):
            for _ in range(2):
                async with reading(server, asking(Cookie=str(n))):
                    pass
            assert await early.count() == n + 1
            assert len(known(server)) == min(n + 2, 5)
        async with reading(server, asking(Cookie="0")):
            assert await early.count() == 20
        assert len(known(server)) == 5
        before = list(known(server))
        async with Reader(server.port) as reader:
            await reader.read("/b")
            assert (await reader.ask(before[2])).n == 0  # by a call, which has it known anew
        assert list(known(server)) == before


async def test_nothing_of_http_stays(carriage: Carriage, early: Early) -> None:
    """Not even until the next collection of cycles."""
    board = Board()
    server = start(carriage.start, board, early)
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(reading(server, tls=carriage.tls))
        assert await early.count() == 19
        await until(lambda: not server._server.server_state.tasks)
        assert len(bare(server)) == 20
        assert len(early.http) == uncollected(early) == 0


CLIENTS = 1000


async def test_what_an_early_stream_costs(spawn: Spawn) -> None:
    """Measured on a process of its own: no more than one that was an ASGI call."""
    server = spawn("apps.shop:app", env={"SHOP_ORDERS": json.dumps({"3": {"n": 0}})})
    data = request("/orders/3?live=sse", FIELDS)
    async with AsyncExitStack() as stack:
        costs = []
        for sent in (data, data, b"\r\n" + data):  # the first thousand also find what the process keeps
            before = resident(server)
            for _ in range(CLIENTS):
                reader = await stack.enter_async_context(Reader(server.port))
                assert (await reader.ask(sent)).status == 200
            costs.append((resident(server) - before) / CLIENTS)
        assert costs[1] < costs[2] + 1024, costs
        assert costs[1] < 4096, costs


async def test_fields_that_may_not_be_sent_are_not_sent(serve: Serve, early: Early) -> None:
    """The early one is given up, and counts no more; what answers instead is uvicorn's to judge."""
    board = Board()
    server = start(serve, board, early)
    async with reading(server) as reader:
        async with reading(server):
            assert await early.count() == 1
        board.headers = {"x-split": "a\r\nx-evil: 1"}
        board.set(1)
        assert await reader.told() == 1
        for _ in range(3):
            async with Reader(server.port) as other:
                other.send(SAME)
                assert b"x-evil" not in await other.rest()
        await until(lambda: board.counted() == 1)
        assert await early.count() == 1
        board.headers = {}
        board.set(2)
        assert await reader.told() == 2
        async with reading(server):
            assert await early.count() == 2
