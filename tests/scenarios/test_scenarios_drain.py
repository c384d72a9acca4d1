"""Orderly end of a server: every open watch is told to come back, and the process ends at once."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from apps.shop import TEA
from scenarios.servers import ProcessServer, Spawn
from scenarios.sockets import Socket
from scenarios.watches import Client, State, watch

MORE = {"item": "tea", "count": 2}
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


async def stream(http: Client, server: ProcessServer, query: str, got: asyncio.Event) -> bytes:
    """All of a response, read to its proper end; a body that is cut off raises."""
    body = b""
    async with http.stream("GET", f"{server.url}/orders/3?{query}") as answer:
        async for chunk in answer.aiter_raw():
            body += chunk
            if b"tea" in body:
                got.set()
    return body


@pytest.mark.parametrize("name", SIGNALS)
async def test_signal_drains_every_kind_of_watch(name: str, spawn: Spawn, http: Client) -> None:
    """Under plain uvicorn, without a timeout for the graceful shutdown."""
    server = spawn("apps.shop:app")
    begun = [asyncio.Event(), asyncio.Event()]
    sse = asyncio.create_task(stream(http, server, "live=sse", begun[0]))
    ndjson = asyncio.create_task(stream(http, server, "live=ndjson", begun[1]))
    async with Socket(server) as socket:
        etag = (await socket.ask({"watch": "/orders/3"}))["etag"]
        for event in begun:
            await event.wait()
        query = {"live": "long-poll", "etag": etag, "wait": "60"}
        by_query = asyncio.create_task(http.get(server.url + "/orders/3", params=query))
        headers = {"prefer": "wait=60", "if-none-match": etag}
        by_header = asyncio.create_task(http.get(server.url + "/orders/3", headers=headers))
        await asyncio.sleep(0.2)  # nothing tells from outside that a long poll has begun to wait
        server.signal(SIGNALS[name])
        code, frames = await socket.closed()
    assert code == 1012
    assert frames[-1]["retry"] > 0
    async with asyncio.timeout(10):
        assert "retry: " in (await sse).decode().rsplit("\n\n", 2)[-2]
        assert json.loads((await ndjson).split(b"\n")[-2])["retry"] > 0
        assert (await by_query).status_code == 204
        assert (await by_header).status_code == 304
    await asyncio.to_thread(server.wait, 10)
    assert server.process.returncode in {0, -SIGNALS[name]}  # uvicorn raises the signal again when it is done
    assert "Traceback" not in server.log
    assert "Application shutdown complete" in server.log


async def test_drained_watchers_come_back_to_the_next_server(spawn: Spawn, http: Client) -> None:
    """The retry they were told, the tag they have: nothing is lost over a restart."""
    server = spawn("apps.shop:app")
    async with watch("sse-query", server.url, "/orders/3") as watching:
        state = await watching.next()
        assert isinstance(state, State)
        assert state.data == TEA
        server.signal()
        with pytest.raises(ConnectionError):
            await watching.next()
    await asyncio.to_thread(server.wait)
    await asyncio.to_thread(server.start)
    async with watch("sse-query", server.url, "/orders/3", etag=state.etag) as watching:
        await watching.next()
        await http.put(server.url + "/orders/3", json=MORE)
        await watching.state(MORE)


async def test_server_without_watchers_ends_at_once(spawn: Spawn, http: Client) -> None:
    server = spawn("apps.shop:app")
    assert (await http.get(server.url + "/orders/3")).status_code == 200
    server.signal()
    await asyncio.to_thread(server.wait, 10)


async def test_second_signal_is_the_servers_own(spawn: Spawn) -> None:
    """Ctrl-C twice ends uvicorn whatever is open, as without Restive."""
    server = spawn("apps.shop:app")
    async with Socket(server) as socket:
        await socket.ask({"watch": "/orders/3"})
        server.signal(signal.SIGINT)
        server.signal(signal.SIGINT)
        await asyncio.to_thread(server.wait, 10)


async def test_request_in_flight_is_answered(spawn: Spawn, http: Client) -> None:
    """Watches are drained at once; a plain request may finish, and then the server ends."""
    server = spawn("apps.shop:app", env={"SHOP_SLOW": '{"/orders": 1.0}'})
    async with Socket(server) as socket:
        await socket.ask({"watch": "/orders/3"})
        slow = asyncio.create_task(http.get(server.url + "/orders"))
        await asyncio.sleep(0.3)  # nothing tells from outside that it has begun
        server.signal()
        assert (await socket.closed())[0] == 1012
        assert not slow.done()
        assert (await slow).status_code == 200
    await asyncio.to_thread(server.wait, 10)


@pytest.mark.parametrize("runner", ["hypercorn", "granian"])
async def test_other_servers(runner: str, spawn: Spawn, http: Client) -> None:
    """The same behaviour through plain ASGI: a socket, a stream and a long poll."""
    server = spawn("apps.shop:app", runner=runner)
    ways = ["websocket", "sse-query", "ndjson-header", "long-poll-query", "multi-sse"]
    watching = [watch(way, server.url, "/orders/3") for way in ways]
    for one in watching:
        await one.open()
        assert (await one.next()).data == TEA
    await http.put(server.url + "/orders/3", json=MORE)
    await asyncio.gather(*(one.state(MORE) for one in watching))
    for one in watching:
        await one.close()
    server.signal()
    await asyncio.to_thread(server.wait, 15)
