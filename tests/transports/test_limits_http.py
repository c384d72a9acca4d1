"""What a client owes is timed and what it sends is bounded; what the app does is neither (S8, S12, S13)."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apps import desk
from restive.transports import refusals
from restive.transports.refusals import counts
from restive.transports.uvicorn.limits import Part
from restive.transports.uvicorn.reaper import Reaper
from scenarios.servers import FAST, Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import UPGRADE, Raw
from transports.conftest import Carriage

SHORT: dict[str, Any] = {
    **FAST,
    "first_byte": 0.3,
    "headers_time": 0.3,
    "body_idle": 0.3,
    "stall": 0.5,
    "max_header_bytes": 4096,
}
PACE = 0.15
"""Half of these times: how slow a lawful client is here."""

HEAD = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"


def post(path: str, length: int) -> bytes:
    return b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), length)


def chunked(path: str) -> bytes:
    return b"POST /%b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()


@pytest.fixture(autouse=True)
def lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """Every line of the transports, however harmless; no other test's count for their pace."""
    monkeypatch.setattr(refusals, "_lines", refusals._Lines())
    with caplog.at_level(logging.INFO, "restive.transports"):
        yield caplog


@asynccontextmanager
async def refusing(reason: str, lines: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Exactly one refusal, for this reason: counted, and told with the client's address."""
    before = dict(counts)
    yield
    await until(lambda: counts[reason] > before.get(reason, 0))
    assert {name: n - before.get(name, 0) for name, n in counts.items() if n != before.get(name)} == {
        reason: 1
    }
    told = [line.getMessage() for line in lines.records if line.name == "restive.transports"]
    assert [f"({reason})" in line and line.startswith("127.0.0.1:") for line in told] == [True]


async def idle(server: ThreadServer) -> None:
    """Nothing is left of any connection."""
    await until(lambda: not server._server.server_state.connections)
    await until(lambda: not server._server.server_state.tasks)


async def problem(raw: Raw, status: int) -> Any:
    """The answer of a refused request: whole, the last, and not cut off by a reset."""
    head = await raw.head()
    assert (head.status, head.fields["connection"]) == (status, "close")
    assert head.fields["content-type"] == "application/problem+json"
    document = json.loads(await raw.exactly(int(head.fields["content-length"])))
    assert document["status"] == status
    assert await raw.rest() == b""
    return document


# Times


async def test_nothing_sent_at_all(carriage: Carriage, lines: pytest.LogCaptureFixture) -> None:
    server = carriage.start(desk.make(**SHORT)[0])
    async with refusing("first-byte", lines), carriage.raw(server) as raw:
        assert await raw.rest() == b""
    await idle(server)


async def test_line_ends_without_end(serve: Serve, lines: pytest.LogCaptureFixture) -> None:
    """Which a parser skips in front of a request: they do not begin one."""
    server = serve(desk.make(**SHORT)[0])
    async with refusing("first-byte", lines), Raw(server.port) as raw:
        dripping = asyncio.create_task(drip(raw, b"\r\n", 100))
        await raw.lost()
        dripping.cancel()
    await idle(server)


async def drip(raw: Raw, data: bytes, times: int) -> None:
    """Send ``data`` again and again, at a lawful pace."""
    for _ in range(times):
        raw.send(data)
        await asyncio.sleep(PACE)


async def test_slow_headers(carriage: Carriage, lines: pytest.LogCaptureFixture) -> None:
    """Each byte in time, and no end."""
    server = carriage.start(desk.make(**SHORT)[0])
    async with refusing("slow-head", lines), carriage.raw(server) as raw:
        raw.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n")
        dripping = asyncio.create_task(drip(raw, b"x-a: b\r\n", 100))
        await problem(raw, 408)
        dripping.cancel()
    await idle(server)


async def test_a_slow_body(carriage: Carriage, lines: pytest.LogCaptureFixture) -> None:
    """It stops, while the app waits for more: the app is told that its client has gone."""
    app, seen = desk.make(**SHORT)
    server = carriage.start(app)
    async with refusing("slow-body", lines), carriage.raw(server) as raw:
        raw.send(post("read", 100) + b"x")
        await problem(raw, 408)
    await idle(server)
    assert seen.ended == ["read"]


async def test_a_body_of_chunk_extensions(serve: Serve, lines: pytest.LogCaptureFixture) -> None:
    """Bytes that are none of the body do not count as such."""
    server = serve(desk.make(**SHORT)[0])
    async with refusing("slow-body", lines), Raw(server.port) as raw:
        raw.send(chunked("read") + b"5;a=")
        dripping = asyncio.create_task(drip(raw, b"x", 100))
        await problem(raw, 408)
        dripping.cancel()
    await idle(server)


async def test_a_body_that_stops_when_the_response_has_begun(
    serve: Serve, lines: pytest.LogCaptureFixture
) -> None:
    """There is no other answer then: it is cut off, for all to see."""
    server = serve(desk.make(**SHORT)[0])
    async with refusing("slow-body", lines), Raw(server.port) as raw:
        raw.send(post("started", 100))
        assert (await raw.head()).status == 200
        assert await raw.rest() == b"5\r\nbegun\r\n"
    await idle(server)


async def test_a_body_that_nobody_reads(serve: Serve, lines: pytest.LogCaptureFixture) -> None:
    """Answered without it; the rest is still owed, and there is no second answer."""
    server = serve(desk.make(**SHORT)[0])
    async with refusing("slow-body", lines), Raw(server.port) as raw:
        raw.send(post("unread", 100) + b"x")
        assert (await raw.head()).status == 200
        assert await raw.rest() == b"unread"
    await idle(server)


@pytest.mark.parametrize("path", ["quick", "unread"])
async def test_idle_between_requests(path: str, carriage: Carriage) -> None:
    """The server's own time, as ever; no refusal."""
    server = carriage.start(desk.make(**FAST)[0], timeout_keep_alive=1)
    before = dict(counts)
    async with carriage.raw(server) as raw:
        for _ in range(3):
            raw.send(post(path, 0))
            assert (await raw.head()).status == 200
            await raw.exactly(len(path) if path == "unread" else 2)
        assert await raw.rest() == b""
    await idle(server)
    assert dict(counts) == before


async def test_a_response_that_is_not_taken(carriage: Carriage, lines: pytest.LogCaptureFixture) -> None:
    server = carriage.start(desk.make(**SHORT)[0])
    async with refusing("stall", lines), carriage.raw(server, room=4096) as raw:
        raw.stop_reading()
        raw.request("/bulk")
        await until(lambda: bool(server.app._app.begun))
        await idle(server)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", ["short", "broken"])
@pytest.mark.parametrize("leave", ["stays", "says no more"])
async def test_the_rest_of_a_response_that_is_not_taken(
    leave: str, path: str, loop: str, serve: Serve, lines: pytest.LogCaptureFixture
) -> None:
    """The server has written all, or has failed, and closes: the transport would wait for ever."""
    server = serve(desk.make(**SHORT)[0], timeout_keep_alive=1, loop=loop)
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else the kernel takes it all
    async with refusing("stall", lines), Raw(server.port, room=4096) as raw:
        raw.stop_reading()
        raw.request(f"/{path}")
        await until(lambda: bool(server.app._app.begun))
        if leave == "says no more":
            raw.writer.write_eof()
        await idle(server)


SOME = 300_000
"""Bytes, more than TLS keeps at a client's side."""


async def test_a_response_that_is_taken_slowly(carriage: Carriage) -> None:
    """A little before each time is up, for several times."""
    server = carriage.start(desk.make(**SHORT)[0])
    async with carriage.raw(server, room=4096) as raw:
        raw.request("/bulk")
        assert (await raw.head()).status == 200
        for _ in range(15):
            raw.go_on_reading()
            await raw.exactly(SOME)
            raw.stop_reading()
            await asyncio.sleep(PACE)
        raw.go_on_reading()
        # Its chunks are known, so its end is.
        await raw.exactly(256 * (len(desk.PIECE) + len("10000\r\n\r\n")) - 15 * SOME)
        assert await raw.exactly(5) == b"0\r\n\r\n"


# What nobody is to be harmed by


@pytest.mark.parametrize("path", ["late", "listening"])
async def test_a_slow_app(path: str, carriage: Carriage) -> None:
    """Its response comes later than all times together."""
    app, seen = desk.make(**SHORT)
    seen.pause = 2.0
    server = carriage.start(app, timeout_keep_alive=1)
    async with carriage.raw(server) as raw:
        for _ in range(2):
            raw.request(f"/{path}")
            head = await raw.head()
            assert head.status == 200
            await raw.exactly(int(head.fields["content-length"]))


async def test_a_slow_upload(carriage: Carriage) -> None:
    """Each byte in time."""
    server = carriage.start(desk.make(**SHORT)[0])
    async with carriage.raw(server) as raw:
        raw.send(post("read", 12))
        await drip(raw, b"x", 12)
        assert (await raw.head()).status == 200
        assert await raw.exactly(2) == b"12"


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_an_app_that_reads_late(size: int, carriage: Carriage) -> None:
    """The client has sent all it may: held back by flow control, it owes nothing."""
    app, seen = desk.make(**SHORT)
    seen.pause = 1.0
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.send(post("slow-reader", size) + b"x" * size)
        assert (await raw.head()).status == 200
        assert await raw.exactly(len(str(size))) == str(size).encode()


async def test_a_client_that_waits_to_be_asked(serve: Serve) -> None:
    """Expect: 100-continue: nothing is owed before the app asks."""
    app, seen = desk.make(**SHORT)
    seen.pause = 1.0
    server = serve(app)
    async with Raw(server.port) as raw:
        raw.request("/slow-reader", {"Expect": "100-continue", "Content-Length": "3"}, method="POST")
        assert (await raw.head()).status == 100
        raw.send(b"abc")
        assert (await raw.head()).status == 200


async def test_requests_in_a_row(carriage: Carriage) -> None:
    """Pipelined, the last in two halves while the first are worked on for longer than a head may take."""
    app, seen = desk.make(**SHORT)
    seen.pause = 1.0
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        raw.send(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + HEAD[:20])
        assert (await raw.head()).status == 200
        await raw.exactly(4)
        raw.send(HEAD[20:] + post("read", 3) + b"abc")
        for _ in range(2):
            assert (await raw.head()).status == 200
            await raw.exactly(2)
        assert (await raw.head()).status == 200


async def test_a_body_behind_another_request(serve: Serve) -> None:
    """It waits for its turn, and its client cannot do more."""
    app, seen = desk.make(**SHORT)
    seen.pause = 1.0
    server = serve(app)
    async with Raw(server.port) as raw:
        raw.send(b"GET /listening HTTP/1.1\r\nHost: x\r\n\r\n" + post("read", 6) + b"abc")
        assert (await raw.head()).status == 200
        await raw.exactly(8)
        raw.send(b"def")
        assert (await raw.head()).status == 200
        assert await raw.exactly(1) == b"6"


# Sizes

GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n"
SIZES = {
    "many fields": (GET + b"a: b\r\n" * 101 + b"\r\n", "headers", 431),
    "many fields, no end": (GET + b"a: b\r\n" * 101, "headers", 431),
    "a long field": (GET + b"a: " + b"b" * 11_000 + b"\r\n\r\n", "headers", 431),
    "a long name": (GET + b"b" * 11_000 + b": a\r\n\r\n", "headers", 431),
    "a long field, no end": (GET + b"a: " + b"b" * 11_000, "headers", 431),
    "a long target": (b"GET /" + b"b" * 8192 + b" HTTP/1.1\r\n\r\n", "url", 414),
    "a long target, no end": (b"GET /" + b"b" * 8200, "url", 414),
    "many trailers": (chunked("read") + b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n", "headers", 431),
    "a long trailer": (chunked("read") + b"0\r\na: " + b"b" * 11_000 + b"\r\n\r\n", "headers", 431),
    "a long trailer, no end": (chunked("read") + b"0\r\na: " + b"b" * 11_000, "headers", 431),
    "a chunk extension": (chunked("read") + b"1;a=" + b"b" * 11_000, "headers", 431),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "syntax", 400),
    "no method": (b"/ HTTP/1.1\r\n\r\n", "syntax", 400),
    "a bad chunk": (chunked("read") + b"nonsense\r\n", "syntax", 400),
    "a handshake of many fields": (
        "".join(["GET /echo HTTP/1.1\r\n", *(f"{n}: {v}\r\n" for n, v in UPGRADE.items())]).encode()
        + b"a: b\r\n" * 101
        + b"\r\n",
        "headers",
        431,
    ),
}


MORE = b"b" * 11_000


def endless(name: str) -> bool:
    """What has no end is not refused before more of it comes."""
    return "no end" in name or "extension" in name


@pytest.mark.parametrize("pieces", [400, 29], ids=["in pieces", "in small pieces"])
@pytest.mark.parametrize("name", SIZES)
async def test_too_much(name: str, pieces: int, serve: Serve, lines: pytest.LogCaptureFixture) -> None:
    """However it comes: one answer, the end, and no reset."""
    data, reason, status = SIZES[name]
    data += MORE if endless(name) else b""
    server = serve(desk.make(**FAST, max_header_bytes=10_000)[0])
    async with refusing(reason, lines), Raw(server.port) as raw:
        for at in range(0, len(data), pieces):
            raw.send(data[at : at + pieces])
            await raw.writer.drain()
            await asyncio.sleep(0)
        await problem(raw, status)
    await idle(server)


@pytest.mark.parametrize("name", SIZES)
async def test_too_much_at_once(name: str, carriage: Carriage, lines: pytest.LogCaptureFixture) -> None:
    """In one segment, behind a request that is answered first. Where it has no end, another one follows."""
    data, reason, status = SIZES[name]
    app, seen = desk.make(**FAST, max_header_bytes=10_000)
    seen.pause = 0.2
    server = carriage.start(app)
    async with refusing(reason, lines), carriage.raw(server) as raw:
        raw.send(HEAD)
        assert (await raw.head()).status == 200
        assert await raw.exactly(2) == b"ok"
        raw.send(data)
        if endless(name):
            (one,) = server._server.server_state.connections
            await until(lambda: one.part is not Part.NONE)
            raw.send(MORE)
        await problem(raw, status)
    await idle(server)


BEHIND = [name for name in SIZES if SIZES[name][0].startswith((b"GET /q", b"GET /b", b"/", b"\x16"))]


@pytest.mark.parametrize("name", [name for name in BEHIND if "no end" not in name])
async def test_too_much_behind_a_request_that_is_worked_on(
    name: str, serve: Serve, lines: pytest.LogCaptureFixture
) -> None:
    """Which gets its own answer first."""
    data, reason, status = SIZES[name]
    app, seen = desk.make(**SHORT)
    seen.pause = 1.0
    server = serve(app)
    async with refusing(reason, lines), Raw(server.port) as raw:
        raw.send(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n" + data)
        assert (await raw.head()).status == 200
        assert await raw.exactly(4) == b"late"
        await problem(raw, status)
    await idle(server)


async def test_as_much_as_there_may_be(carriage: Carriage) -> None:
    """Requests in a row, all in one piece and in many: none is charged for another."""
    server = carriage.start(desk.make(**FAST, max_header_bytes=10_000)[0])
    some = GET + b"a: " + b"b" * 9000 + b"\r\n\r\n"
    many = GET + b"a: b\r\n" * 99 + b"\r\n"
    body = (
        chunked("read") + b"ffff\r\n" + b"x" * 65_535 + b"\r\n" + b"1\r\nx\r\n" * 3000 + b"0\r\nt: u\r\n\r\n"
    )
    long = b"GET /quick?" + b"q" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    data = (some + many + body + long) * 5
    async with carriage.raw(server) as raw:
        for pieces in (len(data), 1000, 333):
            for at in range(0, len(data), pieces):
                raw.send(data[at : at + pieces])
                await asyncio.sleep(0)
            for _ in range(20):
                head = await raw.head()
                assert head.status == 200
                await raw.exactly(int(head.fields["content-length"]))


async def test_trailers_are_no_header_fields(serve: Serve) -> None:
    """They would pass for what a proxy sets (RFC 9110, section 6.5.1)."""
    server = serve(desk.make(**FAST)[0])
    async with Raw(server.port) as raw:
        raw.send(chunked("fields") + b"1\r\nx\r\n0\r\nX-Forwarded-User: root\r\n\r\n")
        head = await raw.head()
        got = json.loads(await raw.exactly(int(head.fields["content-length"])))
        assert "x-forwarded-user" not in got


async def test_without_restive(serve: Serve) -> None:
    """Its defaults hold for any app that its classes serve."""
    server = serve(desk.Desk())
    async with Raw(server.port) as raw:
        raw.send(GET + b"a: b\r\n" * 101 + b"\r\n")
        await problem(raw, 431)


async def test_health_tells(serve: Serve) -> None:
    server = serve(desk.make(**FAST)[0])
    before = counts["url"]
    async with Raw(server.port) as raw:
        raw.send(b"GET /" + b"b" * 9000 + b" HTTP/1.1\r\n\r\n")
        await problem(raw, 414)
    async with Raw(server.port) as raw:
        raw.request("/-/health")
        head = await raw.head()
        told = json.loads(await raw.exactly(int(head.fields["content-length"])))
        assert told["refused"]["url"] == before + 1


# What is taken over


async def test_what_is_taken_over_is_let_alone(carriage: Carriage) -> None:
    """A stream, a socket of Restive's and one of the app's outlive every time; and nothing looks at them."""
    server = carriage.start(desk.make(**{**SHORT, "hello": 60.0, "heartbeat": 0.5})[0], timeout_keep_alive=1)
    async with carriage.raw(server) as stream, carriage.raw(server) as live, carriage.raw(server) as own:
        stream.request("/quick?live=sse")
        assert (await stream.head()).status == 200
        assert (await live.open()).status == 101
        assert (await own.open("/echo")).status == 101
        quiet = asyncio.gather(stream.rest(3.0), own.rest(3.0), return_exceptions=True)
        for _ in range(4):
            assert (await live.frame()).opcode == 9
            live.send(b"\x8a\x80\0\0\0\0")
        assert all(isinstance(each, TimeoutError) for each in await quiet)


async def test_nothing_is_kept_of_what_is_gone(serve: Serve) -> None:
    """The timer ends with the last connection, however that ended."""
    server = serve(desk.make(**SHORT)[0])
    state = server._server.server_state
    async with Raw(server.port) as first, Raw(server.port) as second, Raw(server.port) as third:
        first.request("/quick?live=sse")
        assert (await first.head()).status == 200
        assert (await second.open("/echo")).status == 101
        third.request("/quick")
        assert (await third.head()).status == 200
        (one,) = [each for each in state.connections if hasattr(each, "_reaper") and hasattr(each, "parser")]
        reaper = one._reaper
        assert isinstance(reaper, Reaper)
        assert len(reaper) == 2  # the app's own socket, and the one that may ask again
    await idle(server)
    assert len(reaper) == 0
    for _ in range(5):  # one comes as soon as another one has gone: still one timer
        async with Raw(server.port) as raw:
            raw.request("/quick")
            await raw.head()
            assert len(reaper._wheel) == 1
        await idle(server)
    await until(lambda: not len(reaper._wheel))
