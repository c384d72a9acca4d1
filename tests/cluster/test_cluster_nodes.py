"""Three nodes behind a real proxy, in turn and without stickiness: clients notice nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from restive import AsyncClient
from scenarios.watches import WAYS, Current, State, StreamWatch, new_client, watch

pytestmark = pytest.mark.timeout(120)
WITHIN = 20.0


@pytest.fixture
async def http(cluster) -> AsyncIterator[httpx2.AsyncClient]:
    """Each request is a connection of its own, so that the proxy sends it to the next node."""
    async with new_client() as client:
        client.base_url = cluster.url
        client.headers["connection"] = "close"
        yield client


@pytest.fixture
def order() -> str:
    return f"/orders/{secrets.token_hex(4)}"


def node_of(opened: StreamWatch) -> str:
    assert opened.response is not None
    return opened.response.headers["x-node"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_put_on_one_node_is_seen_by_watchers_on_all(cluster, http, order, way):
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watch(way, cluster.url, order)) for _ in range(3)]
        for each in watches:
            await each.state({"quantity": 0})
        if "sse-" in way or "ndjson-" in way:  # the answer has the app's own fields
            assert {node_of(each) for each in watches if isinstance(each, StreamWatch)} == {"0", "1", "2"}
        for quantity in range(1, 4):
            answer = await http.put(order, json={"quantity": quantity})
            assert answer.status_code == 200
            for each in watches:
                await each.state({"quantity": quantity})


@pytest.mark.parametrize("way", ["sse-header", "ndjson-header", "sse-query"])
async def test_a_client_resumes_on_another_node_by_its_tag(cluster, http, order, way):
    nodes, etag = set(), None
    for quantity in range(3):
        async with watch(way, cluster.url, order, etag=etag) as opened:
            event = await opened.next()
            assert event == (Current(etag) if etag else State(event.etag, {"quantity": 0}))
            nodes.add(node_of(opened))
            await http.put(order, json={"quantity": quantity + 1})
            await opened.state({"quantity": quantity + 1})
            etag = opened.etag
    async with watch(way, cluster.url, order, etag='"of-before"') as opened:
        assert (await opened.next()).data == {"quantity": 3}
        nodes.add(node_of(opened))
    assert len(nodes) > 1


async def submitted(http: httpx2.AsyncClient, steps: int) -> tuple[str, str]:
    """The path of a new operation, and the node that took it."""
    answer = await http.post("/digests", params={"steps": steps})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"], answer.headers["x-node"]


async def elsewhere(http: httpx2.AsyncClient, method: str, target: str, node: str) -> httpx2.Response:
    """The answer of another node; cancel and the like may be asked twice."""
    for _ in range(6):
        answer = await http.request(method, target)
        if answer.headers.get("x-node") != node:
            return answer
    raise AssertionError(f"always node {node}")


async def test_an_operation_of_one_node_is_followed_and_read_on_another(cluster, http):
    op, node = await submitted(http, 8)
    seen: list[dict[str, Any]] = []
    others = set()
    while not seen or seen[-1]["status"] != "succeeded":
        async with watch("sse-query", cluster.url, op) as opened:
            if (there := node_of(opened)) == node:
                continue
            others.add(there)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WITHIN):
                    while not seen or seen[-1]["status"] != "succeeded":
                        event = await opened.next()
                        assert isinstance(event, State), event
                        seen.append(event.data)
    assert others
    counts = [each["progress"]["completed"] for each in seen]
    assert counts == sorted(counts)
    assert len(counts) > 2
    listed = await elsewhere(http, "GET", f"{op}/parts", node)
    assert [part["name"] for part in listed.json()] == [f"{number}.txt" for number in range(1, 9)]
    part = await elsewhere(http, "GET", f"{op}/parts/3.txt", node)
    assert part.text == "part 3"
    assert (await elsewhere(http, "GET", f"{op}/result", node)).json() == "done"


async def test_an_operation_of_one_node_is_cancelled_on_another(cluster, http):
    op, node = await submitted(http, 1000)
    answer = await elsewhere(http, "POST", f"{op}/cancel", node)
    assert answer.status_code in {200, 202}
    async with asyncio.timeout(WITHIN):
        while (document := (await elsewhere(http, "GET", op, node)).json())["status"] != "canceled":
            assert document["status"] in {"queued", "running"}


async def test_who_watches_on_a_killed_node_goes_on_at_another(cluster, http, order):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(cluster.url)) for _ in range(6)]
        watches = [aiter(each.watch(order)) for each in clients]
        for each in watches:
            assert (await anext(each)).data == {"quantity": 0}
        try:
            cluster.kill(1)
            await put(http, order, 1)
            for each in watches:
                await reaches(each, {"quantity": 1})
        finally:
            cluster.restart(1)


async def test_a_node_that_drains_sends_its_clients_to_others(cluster, http, order):
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watch("sse-query", cluster.url, order)) for _ in range(3)]
        leaving = next(each for each in watches if node_of(each) == "2")
        for each in watches:
            await each.state({"quantity": 0})
        try:
            cluster.drain(2)
            with pytest.raises(ConnectionError):
                await leaving.next(WITHIN)
            assert b"retry:" in leaving.raw
            async with watch("sse-query", cluster.url, order, etag=leaving.etag) as again:
                assert isinstance(await again.next(), Current)
                assert node_of(again) != "2"
                await put(http, order, 1)
                await again.state({"quantity": 1})
        finally:
            cluster.restart(2)


async def put(http: httpx2.AsyncClient, order: str, quantity: int) -> None:
    """Until it is done: a proxy repeats no PUT by itself."""
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if (await http.put(order, json={"quantity": quantity})).status_code == 200:
                    return


async def reaches(states: Any, wanted: Any) -> None:
    async with asyncio.timeout(WITHIN):
        while (await anext(states)).data != wanted:
            pass


async def test_the_proxy_passes_on_who_asks_and_nothing_that_is_made_up(cluster, http):
    answer = await http.get("/client", headers={"x-forwarded-user": "root", "x-forwarded-for": "6.6.6.6"})
    told = answer.json()
    assert told["x-forwarded-user"] in {None, ""}
    assert told["client"] == "127.0.0.1"
    assert told["host"] == cluster.url.removeprefix("http://")
