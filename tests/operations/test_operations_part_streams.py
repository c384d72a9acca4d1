"""The parts of an operation as a stream: over HTTP and on the socket, to their end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from restive import Operation, Restive
from restive.wire.sse import Parser
from scenarios.servers import FAST, ThreadServer
from scenarios.sockets import Socket


@dataclass
class Shop:
    """An app with operations, and a server of it."""

    live: Restive
    server: ThreadServer
    gate: threading.Event


@pytest.fixture(params=["memory", "sqlite"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("RESTIVE_HOME", str(tmp_path / "home"))
    backend = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/it.db"
    app, gate = FastAPI(), threading.Event()
    server = ThreadServer(app)
    yield Shop(Restive(app, **{**FAST, "backend": backend}), server, gate)
    gate.set()
    server.stop()


async def test_parts_are_followed_to_the_end_on_every_transport(shop: Shop):
    @shop.live.operation("/many")
    def make(op: Operation) -> None:
        op.part("0.txt", "0")
        shop.gate.wait(10)
        op.part("1.txt", "1")

    async with httpx2.AsyncClient(base_url=shop.server.url) as http:
        location = (await http.post("/many")).headers["location"]
        parts = f"{location}/parts"
        async with Socket(shop.server) as socket:
            first = await socket.ask({"watch": parts})
            while not first["items"]:
                first = await socket.frame()
            assert [part["url"] for part in first["items"]] == [f"{parts}/0.txt"]
            shop.gate.set()
            frames = []
            while not frames or "closed" not in frames[-1]:
                frames.append(await socket.frame())
            names = [part["name"] for frame in frames[:-1] for part in frame["items"]]
            assert names == ["1.txt"]
        rest = await http.get(parts, params={"offset": first["offset"], "live": "long-poll"})
        assert [part["name"] for part in rest.json()] == ["1.txt"]
        assert rest.headers["stream-closed"] == "true"
        events = Parser().feed((await http.get(parts, params={"offset": "-1", "live": "sse"})).content)
        items = [json.loads(event.data) for event in events if event.name == "data"]
        assert [part["name"] for batch in items for part in batch] == ["0.txt", "1.txt"]
        assert json.loads(list(events)[-1].data)["streamClosed"] is True


async def test_a_long_poll_waits_for_the_next_part(shop: Shop):
    @shop.live.operation("/one")
    def make(op: Operation) -> None:
        shop.gate.wait(10)
        op.part("0.txt", "0")

    async with httpx2.AsyncClient(base_url=shop.server.url) as http:
        location = (await http.post("/one")).headers["location"]
        nothing = await http.get(
            f"{location}/parts", params={"offset": "-1", "live": "long-poll", "timeout": "0.1"}
        )
        assert (nothing.status_code, nothing.headers["stream-up-to-date"]) == (204, "true")
        shop.gate.set()
        offset = nothing.headers["stream-next-offset"]
        found = await http.get(f"{location}/parts", params={"offset": offset, "live": "long-poll"})
        assert [part["name"] for part in found.json()] == ["0.txt"]


async def test_parts_of_no_operation_are_not_followed(shop: Shop):
    @shop.live.operation("/none")
    def make(op: Operation) -> None:
        pass

    unknown = "/none/01m82zbmbn2gy0e6rz141xaxcejyyrcewzpe/parts"
    async with Socket(shop.server) as socket:
        assert (await socket.ask({"watch": unknown}))["end"]["status"] == 404
    async with httpx2.AsyncClient(base_url=shop.server.url) as http:
        for live in ("sse", "ndjson", "long-poll"):
            assert (await http.get(unknown, params={"offset": "-1", "live": live})).status_code == 404


async def test_deleting_the_operation_ends_its_readers(shop: Shop):
    @shop.live.operation("/gone")
    def make(op: Operation) -> None:
        op.part("0.txt", "0")
        shop.gate.wait(10)

    async with httpx2.AsyncClient(base_url=shop.server.url) as http, Socket(shop.server) as socket:
        location = (await http.post("/gone")).headers["location"]
        first = await socket.ask({"watch": f"{location}/parts"})
        while not first["items"]:
            first = await socket.frame()
        assert (await http.delete(location)).status_code == 204
        shop.gate.set()
        while (frame := await socket.frame()).get("items") == []:
            pass  # it may have been told that there is no more for now
        assert frame.get("end", {}).get("status") in {404, 410}, frame
