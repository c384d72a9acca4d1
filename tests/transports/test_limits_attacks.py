"""What a client may make a server keep: each attack on a process of its own, measured from outside.

Each ends in a close or 4xx, costs little memory at any time, is counted and told in the log, and another
client is served meanwhile (S8 to S13).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scenarios.servers import FAST, ProcessServer, Spawn
from scenarios.watches import Client
from transports.bare_client import Raw
from wire.websocket_client import BINARY, CONTINUATION, PING, TEXT, frame, packed

MIB = 2**20
MOST = 10 * MIB
LIMITS = {
    **FAST,
    "first_byte": 1.5,
    "headers_time": 0.5,
    "body_idle": 0.5,
    "stall": 1.0,
    "max_connections": 500,
}


@pytest.fixture(params=["asyncio", "uvloop"])
async def server(request: pytest.FixtureRequest, spawn: Spawn, http: Client) -> ProcessServer:
    """A server that has served everything once, so that what it loads late is not an attack's."""
    env = {
        "UVICORN_LOOP": request.param,
        "UVICORN_WS_MAX_SIZE": str(MIB),
        "DESK_SETTINGS": json.dumps(LIMITS),
    }
    server = spawn("apps.desk:app", env=env)
    await http.get(server.url + "/quick")
    for path in ("/-/live", "/swallow"):
        async with Raw(server.port) as raw:
            await raw.open(path, Sec_WebSocket_Extensions="permessage-deflate")
            raw.send(frame(BINARY, packed(bytes(1000)), rsv=4))
    return server


def memory(server: ProcessServer, name: str) -> int:
    """``VmRSS``, or ``VmHWM`` for the most there was since it was last asked to forget."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


async def refusals(server: ProcessServer, http: Client) -> dict[str, int]:
    return (await http.get(server.url + "/-/health")).json()["refused"]


@asynccontextmanager
async def harmless(server: ProcessServer, http: Client, reason: str, count: int = 1) -> AsyncIterator[None]:
    """So many connections are refused for this reason; the rest of the world sees nothing of it."""
    counted = (await refusals(server, http)).get(reason, 0)
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = memory(server, "VmRSS")
    over = False

    async def bystander() -> None:
        while not over:
            assert (await http.get(server.url + "/quick")).text == "ok"
            await asyncio.sleep(0.01)

    served = asyncio.create_task(bystander())
    try:
        yield
    finally:
        over = True
        await served
    assert memory(server, "VmHWM") - before < MOST
    assert (await refusals(server, http))[reason] == counted + count
    if reason not in {"first-byte", "stall"}:  # which are told at a lower level
        assert f"({reason})" in server.log


GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZES = {
    "20,000 fields": (GET + b"a: b\r\n" * 20_000 + b"\r\n", "headers", b"431"),
    "a field of 62 MiB": (GET + b"a: " + b"b" * (62 * MIB) + b"\r\n\r\n", "headers", b"431"),
    "a target of 62 MiB": (b"GET /" + b"b" * (62 * MIB) + b" HTTP/1.1\r\n\r\n", "url", b"414"),
    "a trailer of 62 MiB": (CHUNKED + b"0\r\na: " + b"b" * (62 * MIB), "headers", b"431"),
    "20,000 trailers": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", "headers", b"431"),
}


async def send(raw: Raw, data: bytes) -> None:
    """As fast as the server takes it, and no faster; until it is done, or the server has had enough."""
    try:
        for at in range(0, len(data), 2**18):
            raw.send(data[at : at + 2**18])
            await raw.writer.drain()
    except ConnectionError:
        pass


@pytest.mark.parametrize("name", SIZES)
async def test_heads(name: str, server: ProcessServer, http: Client) -> None:
    """Ten at once."""
    data, reason, status = SIZES[name]

    async def attack() -> None:
        async with Raw(server.port) as raw:
            sending = asyncio.create_task(send(raw, data))
            assert (await raw.rest()).startswith(b"HTTP/1.1 " + status)
            sending.cancel()

    async with harmless(server, http, reason, 10):
        await asyncio.gather(*(attack() for _ in range(10)))


SLOW = {
    "nothing": (b"", "first-byte", b""),
    "half a line": (b"GET /qui", "slow-head", b"HTTP/1.1 408"),
    "half a head": (GET, "slow-head", b"HTTP/1.1 408"),
    "half a body": (CHUNKED + b"5\r\nab", "slow-body", b"HTTP/1.1 408"),
    "no body": (b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "slow-body", b"HTTP/1.1 408"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_slowloris(name: str, server: ProcessServer, http: Client) -> None:
    """Two hundred that begin, and do not go on."""
    data, reason, answer = SLOW[name]

    async def attack() -> None:
        async with Raw(server.port) as raw:
            raw.send(data)
            assert (await raw.rest()).startswith(answer)

    async with harmless(server, http, reason, 200):
        await asyncio.gather(*(attack() for _ in range(200)))


FRAMES = {
    "fragments of one byte": (
        frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 10**6,
        "message",
    ),
    "empty fragments": (frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 10**6, "message"),
    "256 MiB of zeros, packed": (frame(BINARY, packed(bytes(256 * MIB)), rsv=4), "message"),
    "a frame of 2^62 bytes": (frame(BINARY, bytes(1000), size=2**62) + bytes(4 * MIB), "message"),
    "pings": (frame(PING, b"") * 400_000, "flood"),
    "long pings": (frame(PING, b"x" * 125) * 400_000, "flood"),
}


@pytest.mark.parametrize("path", ["/-/live", "/swallow"])
@pytest.mark.parametrize("name", FRAMES)
async def test_frames(name: str, path: str, server: ProcessServer, http: Client) -> None:
    """On Restive's own sockets and on the app's, by a client that does not read meanwhile."""
    data, reason = FRAMES[name]
    async with harmless(server, http, reason), Raw(server.port, room=4096) as raw:
        await raw.open(path, Sec_WebSocket_Extensions="permessage-deflate")
        raw.stop_reading()
        await send(raw, data)
        raw.go_on_reading()
        await raw.lost()


@pytest.mark.parametrize("path", ["/bulk", "/echo"])
async def test_what_is_not_read(path: str, server: ProcessServer, http: Client) -> None:
    """A response, and a socket that sends back what it gets."""
    async with harmless(server, http, "stall"), Raw(server.port, room=4096) as raw:
        if path == "/bulk":
            raw.request(path)
        else:
            await raw.open(path)
        raw.stop_reading()
        flood = frame(BINARY, bytes(60_000)) * 1000 if path == "/echo" else b""
        sending = asyncio.create_task(send(raw, flood))
        async with asyncio.timeout(20):
            while not (await refusals(server, http)).get("stall"):
                await asyncio.sleep(0.05)
        sending.cancel()
