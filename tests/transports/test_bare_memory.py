"""What clients can make a server keep: measured on a process of its own, from outside."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from scenarios.servers import CALM, ProcessServer, Spawn
from scenarios.watches import Client
from transports.bare_client import Raw
from wire.websocket_client import BINARY, CONTINUATION, PING, TEXT, frame, packed

MIB = 2**20
BULK = "x" * 100_000


def resident(server: ProcessServer) -> int:
    """Bytes of memory that the process has."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest, spawn: Spawn) -> ProcessServer:
    env = {
        "UVICORN_LOOP": request.param,
        "SHOP_SETTINGS": json.dumps(CALM),
        "SHOP_ORDERS": json.dumps({"3": {"n": 0, "bulk": BULK}}),
    }
    return spawn("apps.shop:app", env=env)


@pytest.mark.parametrize("query", ["socket", "live=sse"])
async def test_many_that_never_read(query: str, server: ProcessServer, http: Client) -> None:
    """Sixty clients, sixty changes of 100 kB: a queue would hold 360 MB. The last is theirs at the end."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(60):
            raw = await stack.enter_async_context(Raw(server.port, room=4096))
            if query == "socket":
                await raw.open()
                raw.say({"watch": "/orders/3"})
            else:
                raw.request(f"/orders/3?{query}")
            raw.stop_reading()
            clients.append(raw)
        for n in range(30):
            await http.put(server.url + "/orders/3", json={"n": n, "bulk": BULK})
        before = resident(server)
        for n in range(30, 60):
            await http.put(server.url + "/orders/3", json={"n": n, "bulk": BULK})
        assert resident(server) - before < 10 * MIB
        await http.put(server.url + "/orders/3", json={"n": 1000})
        raw = clients[0]
        raw.go_on_reading()
        await raw.until(b'"n":1000')


ATTACKS = {
    "a packed bomb": frame(BINARY, packed(bytes(2**26)), rsv=4),
    "a frame of a gigabyte": frame(TEXT, bytes(2**20), size=2**30),
    "fragments of one byte": frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 10**6,
    "pings": frame(PING, b"x" * 125) * 100_000,
    "text": frame(TEXT, b"[" * 60_000) * 100,
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks(name: str, server: ProcessServer, http: Client) -> None:
    """Ten at once, none of which reads: all are closed, the others are served meanwhile."""
    async with Raw(server.port) as first:  # what the first socket costs is not the attack's
        await first.open(Sec_WebSocket_Extensions="permessage-deflate")
        first.say({"watch": "/orders/3"})
        await first.frame()
        before = resident(server)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Raw(server.port)) for _ in range(10)]
            for raw in clients:
                await raw.open(Sec_WebSocket_Extensions="permessage-deflate")
            for raw in clients:
                raw.send(ATTACKS[name])
            for n in range(5):
                answer = await http.put(server.url + "/orders/3", json={"n": n})
                assert answer.status_code < 300
            await asyncio.gather(*(raw.lost() for raw in clients))
        assert resident(server) - before < 10 * MIB
