"""The client against Restive itself: every transport, restarts of the server, operations to their end."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI, Response

from apps.shop import TEA, make
from restive import Operation, Restive
from restive.client import AsyncClient, Policy, Watch
from restive.errors import OperationCanceled, OperationFailed, WatchEnded

TRANSPORTS = ["auto", "websocket", "sse", "ndjson", "long-poll", "poll"]
TIMES = Policy(poll_interval=0.05, backoff=0.05, most_backoff=0.2, wait=1.0)
WITHIN = 15.0
SETTINGS: dict[str, Any] = {"settle": 0.1, "recheck": 0.5, "min_interval": 0.01, "backend": "memory:"}
"""With which the server lets nobody wait."""


def client_of(server: Any, transport: str = "auto", **options: Any) -> AsyncClient:
    return AsyncClient(server.url, **{"transport": transport, "policy": TIMES, "trust_env": False, **options})


async def read(watch: Watch, data: Any) -> None:
    """Until the state that holds ``data``; others may be skipped on the way, none may come twice."""
    seen: list[Any] = []
    async with asyncio.timeout(WITHIN):
        while data not in seen:
            state = await anext(watch)
            assert not seen or seen[-1] != state.data
            seen.append(state.data)


@pytest.fixture
def shop(serve):
    app, _, shop = make(**SETTINGS)
    server = serve(app)
    server.shop = shop
    return server


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_first_state_push_and_deletion(shop, transport):
    async with client_of(shop, transport) as client:
        watch = client.watch("/orders/3")
        await read(watch, TEA)
        for count in (2, 3, 4):
            await client.put("/orders/3", json={"item": "tea", "count": count})
            await read(watch, {"item": "tea", "count": count})
        await client.delete("/orders/3")
        with pytest.raises(WatchEnded, match="404"):
            await read(watch, None)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_resume_by_tag(shop, transport):
    """Nothing is told to one who is up to date; a missed change is made good."""
    async with client_of(shop, transport) as client:
        first = await anext(client.watch("/orders/3"))
        watch = client.watch("/orders/3", etag=first.etag)
        reading = asyncio.ensure_future(anext(watch))
        while not shop.shop.looks["/orders/3"] and transport != "poll":
            await asyncio.sleep(0.005)
        await client.put("/orders/3", json={"missed": True})
        assert (await reading).data == {"missed": True}
        late = client.watch("/orders/3", etag=first.etag)
        await read(late, {"missed": True})


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_right_that_is_withdrawn_ends_the_watch(shop, transport):
    shop.shop.orders[3] = dict(TEA)
    headers = {"authorization": "Bearer ann"}
    async with client_of(shop, transport) as client:
        with pytest.raises(WatchEnded, match="401"):
            await anext(client.watch("/vault/3"))
        watch = client.watch("/vault/3", headers=headers)
        await read(watch, {"owner": "ann", **TEA})
        shop.shop.allowed.discard("Bearer ann")
        with pytest.raises(WatchEnded, match="403"):
            await read(watch, None)


async def watching(stack: AsyncExitStack, server: Any) -> list[Watch]:
    """A client and a watch for each transport."""
    clients = [await stack.enter_async_context(client_of(server, transport)) for transport in TRANSPORTS]
    return [client.watch("/orders/3") for client in clients]


async def test_an_app_that_fails_for_a_while_ends_nothing(shop, http):
    async with AsyncExitStack() as stack:
        watches = await watching(stack, shop)
        await asyncio.gather(*(read(watch, TEA) for watch in watches))
        shop.shop.failing["/orders/3"] = (503, {})
        await http.put(shop.url + "/orders/3", json={"count": 2})
        await asyncio.sleep(0.5)  # some looks and polls fail in this time; nothing is shown for them
        shop.shop.failing.clear()
        await asyncio.gather(*(read(watch, {"count": 2}) for watch in watches))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_of_the_server_is_survived(spawn, tmp_path, http, how):
    """Drained or killed: the state of before is not shown again, what changed meanwhile arrives."""
    file = tmp_path / "orders.json"
    env = {"SHOP_FILE": str(file), "SHOP_SETTINGS": json.dumps({**SETTINGS, "retry": 0.1})}
    server = spawn("apps.shop:app", env=env)
    async with AsyncExitStack() as stack:
        watches = await watching(stack, server)
        await asyncio.gather(*(read(watch, TEA) for watch in watches))
        reading = asyncio.gather(*(anext(watch) for watch in watches))
        server.signal(how)
        await asyncio.to_thread(server.wait)
        file.write_text(json.dumps({"3": {"count": 2}}))
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(WITHIN):
            assert [state.data for state in await reading] == [{"count": 2}] * len(TRANSPORTS)
        await http.put(server.url + "/orders/3", json={"count": 3})
        await asyncio.gather(*(read(watch, {"count": 3}) for watch in watches))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_kind_of_representation(serve, transport):
    app = FastAPI()
    big = ["x" * 2000] * 1000

    @app.get("/text")
    def text() -> Response:
        return Response("één\r\ntwo\rthree\n\n", media_type="text/plain")

    @app.get("/nothing", status_code=204)
    def nothing() -> None: ...

    @app.get("/binary")
    def binary() -> Response:
        return Response(b"\x00\xff" * 10, media_type="application/octet-stream")

    @app.get("/big")
    def too_big() -> list[str]:
        return big

    @app.get("/final")
    def final(response: Response) -> int:
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return 1

    Restive(app, **SETTINGS)
    async with client_of(serve(app), transport) as client:
        found = await anext(client.watch("/text"))
        assert found.data.splitlines() == ["één", "two", "three", ""]
        assert found.text == found.data
        assert (await anext(client.watch("/nothing"))).data is None
        assert (await anext(client.watch("/binary"))).data == b"\x00\xff" * 10
        assert (await anext(client.watch("/big"))).data == big
        async with asyncio.timeout(WITHIN):
            assert [state.data async for state in client.watch("/final")] == [1]


async def test_a_hundred_watches_share_one_socket(shop):
    shop.shop.orders.update({number: {"n": number} for number in range(10, 110)})
    async with client_of(shop) as client:
        watches = {number: client.watch(f"/orders/{number}") for number in range(10, 110)}
        await asyncio.gather(*(read(watch, {"n": number}) for number, watch in watches.items()))
        for number in (10, 109):
            await client.put(f"/orders/{number}", json={"n": -number})
            await read(watches[number], {"n": -number})


@pytest.fixture
def digests(serve):
    app = FastAPI()
    live = Restive(app, **SETTINGS, report_interval=0.01)
    go = threading.Event()

    @live.operation("/digests")
    def digest(op: Operation, fail: bool = False, wait: bool = False) -> dict[str, int]:
        for n in range(5):
            op.report(completed=n, total=5, unit="chunks")
            op.part(f"{n}.json", {"n": n})
        while wait and not go.wait(0.01):
            op.check()
        if fail:
            raise RuntimeError("Out of ink.")
        return {"chunks": 5}

    yield serve(app)
    go.set()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_operation_to_its_end(digests, transport):
    async with client_of(digests, transport) as client:
        operation = client.operation(await client.post("/digests"))
        async with asyncio.timeout(WITHIN):
            parts = [part async for part in operation.parts()]
            documents = [document async for document in operation.progress()]
            assert await operation.result() == {"chunks": 5}
        assert [part.name for part in parts] == [f"{n}.json" for n in range(5)]
        assert documents[-1]["status"] == "succeeded"
        assert [(await client.get(part.url)).json() for part in parts] == [{"n": n} for n in range(5)]
        await operation.delete()
        with pytest.raises(WatchEnded, match="410"):
            await operation.result()


async def test_an_operation_that_fails_and_one_that_is_canceled(digests):
    async with client_of(digests) as client, asyncio.timeout(WITHIN):
        with pytest.raises(OperationFailed):
            await client.operation(await client.post("/digests", params={"fail": True})).result()
        operation = client.operation(await client.post("/digests", params={"wait": True}))
        waiting = asyncio.ensure_future(operation.result())
        async for document in operation.progress():
            if document["parts"] == 5:
                break
        await operation.cancel()
        with pytest.raises(OperationCanceled):
            await waiting
