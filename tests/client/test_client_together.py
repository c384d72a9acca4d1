"""Several watches over one request, against a scripted server and against Restive on both kinds of server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from apps.shop import TEA, make
from restive.client import AsyncClient, Client, Policy, Watch
from restive.errors import WatchEnded
from scenarios.servers import ThreadServer

TOGETHER = ["sse", "ndjson", "long-poll"]
WITHIN = 10.0
NUMBERS = range(10, 20)


async def read(watch: Watch) -> Any:
    """The next state's data."""
    async with asyncio.timeout(WITHIN):
        return (await anext(watch)).data


async def read_all(watches: Sequence[Watch]) -> list[Any]:
    return await asyncio.gather(*(read(watch) for watch in watches))


@pytest.fixture
def ten(script):
    for n in NUMBERS:
        script.put(f"/n/{n}", n)
    return [f"/n/{n}" for n in NUMBERS]


# -- what is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TOGETHER)
async def test_ten_watches_that_begin_at_once_are_one_request(script, connect, ten, transport):
    client = connect(transport=transport)
    watches = [client.watch(target) for target in ten]
    assert await read_all(watches) == list(NUMBERS)
    script.put("/n/13", -13)
    assert await read(watches[3]) == -13
    if transport != "long-poll":
        assert script.log == [(transport, "/-/live", None)]
        assert script.streams == 1
    assert {path for _, path, _ in script.log} == {"/-/live"}
    assert [frame["watch"] for frame in script.frames[:10]] == ten


@pytest.mark.parametrize("transport", TOGETHER)
async def test_watches_come_and_go(script, connect, ten, until, transport):
    """The first is asked for alone; who stays misses nothing and is shown nothing twice."""
    client = connect(transport=transport)
    first = client.watch(ten[0])
    assert await read(first) == 10
    others = [client.watch(target) for target in ten[1:]]
    assert await read_all(others) == list(NUMBERS)[1:]
    assert script.log[0][:2] == (transport, ten[0])
    for watch in others[:8]:
        await watch.aclose()
    script.put(ten[0], 100)
    script.put(ten[9], 109)
    assert [await read(first), await read(others[8])] == [100, 109]
    await others[8].aclose()
    await until(lambda: script.log[-1][:2] == (transport, ten[0]))
    assert script.log[-1][2] == script.resources[ten[0]].etag
    script.put(ten[0], 1000)
    assert await read(first) == 1000
    await first.aclose()
    await until(lambda: script.streams == 0)
    requests = len(script.log)
    script.put(ten[0], 1)
    assert len(script.log) == requests


@pytest.mark.parametrize("transport", TOGETHER)
async def test_a_loss_is_one_request_by_the_tags_of_all(script, connect, ten, until, transport):
    client = connect(transport=transport)
    watches = [client.watch(target) for target in ten]
    assert await read_all(watches) == list(NUMBERS)
    await until(lambda: script.frames[-1].get("etag") is not None or transport != "long-poll")
    asked = len(script.frames)
    script.hang_up()
    for n in NUMBERS:
        script.put(f"/n/{n}", n + 100)
    assert await read_all(watches) == [n + 100 for n in NUMBERS]
    again = script.frames[asked : asked + 10]
    assert [frame["watch"] for frame in again] == ten
    assert all(frame["etag"] for frame in again)


@pytest.mark.parametrize("transport", TOGETHER)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
async def test_a_server_that_takes_no_many_is_asked_one_by_one(script, connect, ten, transport, status):
    script.many = status
    client = connect(transport=transport)
    watches = [client.watch(target) for target in ten]
    assert await read_all(watches) == list(NUMBERS)
    assert await read_all([client.watch("/a")]) == [{"n": 0}]
    assert [path for _, path, _ in script.log].count("/-/live") == 1


@pytest.mark.parametrize("transport", TOGETHER)
async def test_an_end_touches_one_watch_only(script, connect, ten, transport):
    client = connect(transport=transport)
    watches = [client.watch(target) for target in ten]
    await read_all(watches)
    script.end(ten[0], status=410, title="Gone")
    with pytest.raises(WatchEnded, match="410"):
        await read(watches[0])
    script.finish(ten[1])
    async with asyncio.timeout(WITHIN):
        assert [state async for state in watches[1]] == []
    script.put(ten[2], -1)
    assert await read(watches[2]) == -1
    if transport != "long-poll":
        assert len(script.log) == 1, "the server knows that they have ended"


@pytest.mark.parametrize("transport", TOGETHER)
async def test_each_has_its_own_headers_and_all_have_the_clients(script, connect, ten, transport):
    client = connect(transport=transport, headers={"x-api-key": "k"}, cookies={"session": "s"})
    watches = [client.watch(target, headers={"authorization": f"Bearer {target}"}) for target in ten[:3]]
    await read_all(watches)
    assert [frame["headers"]["authorization"] for frame in script.frames[:3]] == [
        f"Bearer {target}" for target in ten[:3]
    ]
    sent = script.headers[0]
    assert (sent["x-api-key"], sent["cookie"]) == ("k", "session=s")
    assert sent["origin"] == str(client.http.base_url).rstrip("/")


async def test_without_cookies_nothing_is_said_of_an_origin(script, connect, ten):
    """Behind a proxy that rewrites the Host it would be another one."""
    client = connect(transport="sse")
    await read_all([client.watch(target) for target in ten[:2]])
    assert "origin" not in script.headers[0]


async def test_headers_that_no_frame_takes_go_at_its_own_uri(script, connect, ten):
    client = connect(transport="sse")
    watches = [client.watch(target, headers={"x-tenant": target}) for target in ten[:2]]
    watches += [client.watch(target) for target in ten[2:4]]
    assert await read_all(watches) == [10, 11, 12, 13]
    assert sorted(path for _, path, _ in script.log) == ["/-/live", *ten[:2]]


async def test_an_app_below_a_root_path(script, server, connect, ten):
    client = connect(transport="sse", websocket_url=server.ws + "/root/-/live")
    await read_all([client.watch(target) for target in ten[:2]])
    assert script.log == [("sse", "/root/-/live", None)]


@pytest.mark.parametrize("behaviour", ["refuse", "silent", "drop"])
async def test_many_fall_together_to_the_next_transport(script, connect, ten, behaviour):
    script.websocket, script.sse = "refuse", behaviour
    client = connect()
    watches = [client.watch(target) for target in ten]
    assert await read_all(watches) == list(NUMBERS)
    script.put("/n/13", -13)
    assert await read(watches[3]) == -13
    assert len(script.log) <= 25


# -- against Restive ---------------------------------------------------------------------------


@pytest.fixture(params=["plain", "fast"])
def fast(request) -> bool:
    return request.param == "fast"


@pytest.fixture
def shop(serve):
    """A server that gives each address two live connections."""
    app, live, shop = make(
        settle=0.1, recheck=5.0, min_interval=0.01, backend="memory:", max_connections=2,
        targets=lambda path: path != "/orders/19",
    )  # fmt: skip
    shop.orders.update({number: {"n": number} for number in NUMBERS})
    server = serve(app)
    server.shop, server.live = shop, live
    return server


def client_of(server: ThreadServer, transport: str, **options: Any) -> AsyncClient:
    policy = Policy(backoff=0.05, most_backoff=0.2, wait=5.0)
    return AsyncClient(server.url, transport=transport, policy=policy, trust_env=False, **options)


@pytest.mark.parametrize("transport", TOGETHER)
async def test_ten_watches_on_one_connection(shop, transport):
    """With cookies, as a browser has them; what may not be watched ends alone."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(shop, transport, cookies={"a": "b"}))
        watches = {number: client.watch(f"/orders/{number}") for number in NUMBERS}
        refused = watches.pop(19)
        first = asyncio.gather(*(read(watch) for watch in watches.values()))
        with pytest.raises(WatchEnded, match="403"):
            await read(refused)
        assert await first == [{"n": number} for number in watches]
        writer = await stack.enter_async_context(client_of(shop, "poll"))
        for number in (10, 18, 10):
            await writer.put(f"/orders/{number}", json={"n": -number, "again": number})
            await writer.put(f"/orders/{number}", json={"n": -number})
            async with asyncio.timeout(WITHIN):
                while await read(watches[number]) != {"n": -number}:
                    pass
            await writer.put(f"/orders/{number}", json={"n": number})
            assert await read(watches[number]) == {"n": number}
        await writer.delete("/orders/11")
        with pytest.raises(WatchEnded, match="404"):
            await read(watches.pop(11))
        await watches[12].aclose()
        await writer.put("/orders/13", json={"n": 0})
        assert await read(watches[13]) == {"n": 0}


@pytest.mark.parametrize("transport", TOGETHER)
async def test_every_kind_of_end_closes_the_connection(shop, transport, until):
    async with client_of(shop, transport) as client:
        watches = [client.watch("/orders/3"), client.watch("/orders/10")]
        assert await read_all(watches) == [TEA, {"n": 10}]
        for watch in watches:
            await watch.aclose()
        await until(lambda: "hubs=[]" in repr(shop.live))


def test_the_sync_client_shares_as_well(shop):
    policy = Policy(backoff=0.05, most_backoff=0.2)
    with Client(shop.url, transport="sse", policy=policy, trust_env=False) as client:
        watches = [client.watch(f"/orders/{number}") for number in range(10, 15)]
        assert [next(watch).data["n"] for watch in watches] == list(range(10, 15))
        client.put("/orders/12", json={"n": 0})
        assert next(watches[2]).data == {"n": 0}
