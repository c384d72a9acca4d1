"""Clients that read slowly or not at all, or vanish: the latest state, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apps import kinds
from apps import shop as shop_app
from scenarios.asgi import Call
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.sockets import Socket
from scenarios.waiting import until
from scenarios.watches import watch

BULK = 200_000
STREAMS = ["live=sse", "live=ndjson"]


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def masked(frame: dict[str, Any]) -> bytes:
    """A short text frame, masked with zeros (RFC 6455 5.2)."""
    data = json.dumps(frame).encode()
    return bytes([0x81, 0x80 | len(data)]) + bytes(4) + data


@contextlib.asynccontextmanager
async def unread(
    server: ThreadServer, target: str, fields: str = "", frame: bytes = b""
) -> AsyncIterator[asyncio.StreamReader]:
    """A connection of which the client's side buffers next to nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=2 * BULK)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {server.host}\r\n{fields}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(frame)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("query", [*STREAMS, "socket"])
async def test_slow_reader_gets_the_latest_and_few_of_the_others(query: str, serve: Serve) -> None:
    """A hundred states of 200 kB while it does not read: the server keeps one of them, not a backlog."""
    app, live, shelf = kinds.make(**CALM)
    server = serve(app)
    shelf.results["x"] = {"n": 0, "bulk": "x" * BULK}
    slow = unread(server, f"/results/x?{query}")
    if query == "socket":
        slow = unread(server, "/-/live", UPGRADE, masked({"watch": "/results/x"}))
    async with slow as reader, Socket(server) as fast:
        await fast.ask({"watch": "/results/x"})
        for n in range(1, 101):
            shelf.results["x"] = {"n": n, "bulk": "x" * BULK}
            live.changed("/results/x")
            while (await fast.frame())["data"]["n"] != n:
                pass
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        received = bytearray()
        while b'"n":100,' not in received:
            received += await asyncio.wait_for(reader.read(1 << 16), 8)
    # What lies in the buffers of both kernels and of the server's transport is a few megabytes.
    assert received.count(b'"n":') < 60


@pytest.mark.parametrize("query", STREAMS)
async def test_client_that_takes_nothing_is_disconnected(query: str, serve: Serve) -> None:
    app, live, shelf = kinds.make(**CALM, stall=0.3)
    server = serve(app)
    shelf.results["x"] = {"n": 0, "bulk": "x" * BULK}
    async with unread(server, f"/results/x?{query}"):
        for n in range(1, 60):
            shelf.results["x"] = {"n": n, "bulk": "x" * BULK}
            live.changed("/results/x")
            await asyncio.sleep(0.005)
        await until(lambda: "hubs=[]" in repr(live))


@pytest.mark.parametrize(("query", "silence"), [("live=sse", b":\n\n"), ("live=ndjson", b"\n")])
async def test_idle_stream_breathes(query: str, silence: bytes, serve: Serve) -> None:
    """A comment, or an empty line, so that nobody on the way takes it for dead."""
    app, _, _ = shop_app.make(**CALM, heartbeat=0.05)
    async with Call(app, f"/orders/3?{query}") as call:
        await call.until(lambda c: b"tea" in c.raw)
        begun = len(call.raw)
        await call.until(lambda c: len(c.raw) >= begun + 3 * len(silence))
        assert call.raw[begun:].startswith(silence * 3)


# Nothing is left behind


@pytest.mark.parametrize("query", [*STREAMS, "live=long-poll&etag=%22x%22", "live=long-poll"])
async def test_nothing_runs_when_nothing_is_watched(query: str) -> None:
    """No task, no timer, no thread, no hub once the last watcher is gone."""
    app, live, shop = shop_app.make(**{**CALM, "settle": 0.05})
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    async with Call(app, f"/orders/3?{query}") as call:
        await call.until(lambda c: b"tea" in c.raw)
        live.changed("/orders/3")
    await until(lambda: asyncio.all_tasks() == tasks)
    assert set(threading.enumerate()) <= threads
    assert "hubs=[]" in repr(live)
    looks = shop.looks["/orders/3"]
    live.changed("/orders/3")
    await asyncio.sleep(0.2)
    assert shop.looks["/orders/3"] == looks


@pytest.mark.parametrize("way", ["websocket", "sse-query", "ndjson-header", "long-poll-query", "multi-sse"])
async def test_clients_that_vanish_leave_nothing(way: str, serve: Serve) -> None:
    """Cut off without a word, at every stage: nothing is looked at for them any more."""
    app, live, shop = shop_app.make(**{**CALM, "recheck": 0.1})
    shop.slow["/orders/3"] = 0.02
    server = serve(app)
    for stage in range(8):
        watching = watch(way, server.url, "/orders/3")
        opening = asyncio.ensure_future(watching.open())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(opening), 0.01 * stage)
        opening.cancel()
        await asyncio.wait([opening])
        with contextlib.suppress(Exception):
            await watching.close()
    await until(lambda: "hubs=[]" in repr(live))
    assert shop.running["/orders/3"] == 0


async def test_cancelled_at_every_step(serve: Serve) -> None:
    """A call that the server cancels after any number of the loop's turns leaves no task and no hub."""
    app, live, _ = shop_app.make(**CALM)
    tasks = asyncio.all_tasks()
    for turns in range(40):
        call = Call(app, "/orders/3?live=sse")
        await call.__aenter__()
        for _ in range(turns):
            await asyncio.sleep(0)
        call.task.cancel()
        await asyncio.wait([call.task])
    await until(lambda: asyncio.all_tasks() == tasks)
    assert "hubs=[]" in repr(live)


async def test_one_failing_client_disturbs_nobody(serve: Serve) -> None:
    """A send that raises ends that client's watch alone."""
    app, live, shop = shop_app.make(**CALM)

    class Broken(Call):
        async def _send(self, message: Any) -> None:
            await super()._send(message)
            if b"tea" in self.raw:
                raise OSError("broken pipe")

    async with Call(app, "/orders/3?live=ndjson") as good:
        await good.until(lambda c: b"tea" in c.raw)
        broken = Broken(app, "/orders/3?live=ndjson")
        await broken.__aenter__()
        await asyncio.wait([broken.task], timeout=5)
        assert broken.task.done()
        broken.task.exception()
        shop.orders[3] = {"n": 2}
        live.changed("/orders/3")
        await good.until(lambda c: json.dumps({"n": 2}, separators=(",", ":")).encode() in c.raw)
