"""``/-/metrics`` of a real server, and that what it says is what happened."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx2
import pytest
from fastapi import FastAPI
from scraped import OPEN, Scrape, scrape
from starlette.testclient import TestClient

from apps import shop
from restive import Operation, Restive, SettingError
from scenarios.servers import CALM, Serve
from scenarios.watches import PUSHING, watch

MANY = 40
"""Watchers, more than are told one by one."""


@pytest.fixture(params=[False, True], ids=["asgi", "fast"])
def fast(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Change:
    """What the metrics have grown by since this was made."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self.before, self.after = before, after

    def __call__(self, name: str, **labels: str) -> float:
        return self.after(name, **labels) - self.before(name, **labels)


async def counting(http: httpx2.AsyncClient, url: str) -> Callable[[], Awaitable[Change]]:
    """Gives what the metrics have grown by since now."""
    before = await scrape(http, url)

    async def change() -> Change:
        return Change(before, await scrape(http, url))

    return change


# Who may read it


def test_there_are_none_unless_asked_for() -> None:
    app = FastAPI()
    Restive(app)
    assert TestClient(app).get("/-/metrics").status_code == 404


def test_the_apps_own_stays_the_apps_where_there_are_none() -> None:
    app = FastAPI()
    Restive(app)
    app.get("/-/metrics")(lambda: "mine")
    assert TestClient(app).get("/-/metrics").json() == "mine"


def test_with_a_token_nobody_else_reads_it() -> None:
    app = FastAPI()
    Restive(app, metrics_token="opensesame")
    client = TestClient(app)
    for given in ({}, {"authorization": "Bearer open"}, {"authorization": "Basic opensesame"}):
        answer = client.get("/-/metrics", headers=given)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "restive_" not in answer.text
    assert Scrape(client.get("/-/metrics", headers={"authorization": "bearer opensesame"}).text).families


def test_it_can_only_be_read() -> None:
    app = FastAPI()
    Restive(app, metrics=True)
    client = TestClient(app)
    answer = client.post("/-/metrics")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = client.head("/-/metrics")
    assert (head.status_code, head.content, head.headers["cache-control"]) == (200, b"", "no-store")
    assert client.get("/-/metrics", headers={"accept": OPEN}).text.endswith("# EOF\n")


@pytest.mark.parametrize("setting", [{"metrics": True}, {"metrics_token": "x"}])
def test_without_the_package_a_setting_says_so(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, bool | str]
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(SettingError, match=r"restive\[prometheus\]"):
        Restive(**setting)
    Restive()


@pytest.mark.parametrize("setting", [{"metrics": "yes"}, {"metrics_token": ""}])
def test_settings_that_cannot_be_meant_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(SettingError):
        Restive(**setting)


# What it says


@pytest.mark.parametrize("way", PUSHING)
async def test_clients_and_what_they_were_told(serve: Serve, http: httpx2.AsyncClient, way: str) -> None:
    """Of few clients and of many, which are written to in other ways."""
    transport = way.replace("multi-", "").partition("-")[0]
    server = serve(shop.make(metrics=True, **CALM)[0])
    for crowd in (2, MANY):
        change = await counting(http, server.url)
        async with AsyncExitStack() as stack:
            watches = [
                await stack.enter_async_context(watch(way, server.url, "/orders/3")) for _ in range(crowd)
            ]
            for each in watches:
                await each.next()
            said = await change()
            assert said("restive_clients", transport=transport) == crowd
            assert said("restive_connections_total", transport=transport) == crowd
            assert said("restive_watches") == crowd
            assert said("restive_resources") == said("restive_renderings") == 1
            assert said("restive_pushes_total", transport=transport) == crowd
            sent = {"item": "cake", "count": crowd, "note": "x" * 1000}
            await http.put(f"{server.url}/orders/3", json=sent)
            for each in watches:
                await each.state(sent)
            now = await change()
            assert now("restive_pushes_total", transport=transport) == 2 * crowd
            size = len(json.dumps(sent, separators=(",", ":")))
            pushed = now("restive_pushed_bytes_total", transport=transport) - said(
                "restive_pushed_bytes_total", transport=transport
            )
            # A socket's frame may be packed.
            assert size * crowd <= pushed <= 1.2 * size * crowd or (transport == "websocket" and pushed > 0)
        await until_gone(http, server.url)


async def until_gone(http: httpx2.AsyncClient, url: str) -> None:
    async with asyncio.timeout(8):
        while True:
            now = await scrape(http, url)
            if not (now("restive_clients") or now("restive_watches") or now("restive_renderings")):
                return


async def test_long_polls(serve: Serve, http: httpx2.AsyncClient) -> None:
    server = serve(shop.make(metrics=True, **CALM)[0])
    change = await counting(http, server.url)
    first = await http.get(f"{server.url}/orders/3?live=long-poll")
    said = await change()
    assert said("restive_pushes_total", transport="long-poll") == 1
    assert said("restive_pushed_bytes_total", transport="long-poll") == len(first.content)
    etag = first.headers["etag"].strip('"')
    waiting = asyncio.create_task(http.get(f"{server.url}/orders/3?live=long-poll&etag=%22{etag}%22"))
    while (await change())("restive_clients", transport="long-poll") != 1:
        pass
    await http.put(f"{server.url}/orders/3", json={"item": "cake", "count": 1})
    assert (await waiting).json() == {"item": "cake", "count": 1}
    assert (await change())("restive_connections_total", transport="long-poll") == 2
    await until_gone(http, server.url)


async def test_looks_by_reason_and_outcome(serve: Serve, http: httpx2.AsyncClient) -> None:
    app, live, sold = shop.make(metrics=True, **{**CALM, "settle": 600.0, "look_timeout": 0.5})
    server = serve(app)
    change = await counting(http, server.url)
    async with watch("websocket", server.url, "/orders/3") as one:
        await one.next()
        changed = {"item": "cake", "count": 1}
        await http.put(f"{server.url}/orders/3", json=changed)
        await one.state(changed)
        await looked(change, 2)
        live.changed("/orders/3")
        await looked(change, 3)
        sold.failing["/orders/3"] = 503, {"retry-after": "0"}
        live.changed("/orders/3")
        await looked(change, 4)
        del sold.failing["/orders/3"]
        await http.delete(f"{server.url}/orders/3")
        await one.end()
        await looked(change, 5)
        said = await change()
        found = Counter(
            {
                (dict(labels)["reason"], dict(labels)["outcome"]): said(name, **dict(labels))
                for name, labels in said.after.series
                if name == "restive_look_duration_seconds_count"
            }
        )
    assert +found == {
        ("first", "changed"): 1,
        ("changed", "changed"): 1,
        ("changed", "same"): 1,
        ("changed", "failed"): 1,
        ("changed", "ended"): 1,
    }
    assert said("restive_look_duration_seconds_sum") > 0


async def looked(change: Callable[[], Awaitable[Change]], times: int) -> None:
    async with asyncio.timeout(8):
        while (await change())("restive_look_duration_seconds_count") < times:
            await asyncio.sleep(0.01)


async def test_states_that_a_slow_client_is_not_told(serve: Serve, http: httpx2.AsyncClient) -> None:
    """It reads nothing, while one state after the other comes to be."""
    app, live, sold = shop.make(metrics=True, **CALM)
    server = serve(app)
    note = "x" * 500_000
    sold.orders[3] = {"item": "tea", "count": 0, "note": note}
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET /orders/3?live=ndjson HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    change = await counting(http, server.url)
    for count in range(1, 200):
        sold.orders[3] = {"item": "tea", "count": count, "note": note}
        live.changed("/orders/3")
        await looked(change, count)
        if (await change())("restive_skipped_states_total", transport="ndjson") >= 3:
            break
    else:
        pytest.fail("It was told everything.")
    writer.close()


async def test_refusals(serve: Serve, http: httpx2.AsyncClient) -> None:
    server = serve(shop.make(metrics=True, max_connections=1, **CALM)[0])
    change = await counting(http, server.url)
    async with watch("sse-query", server.url, "/orders/3") as one:
        await one.next()
        assert (await http.get(f"{server.url}/orders/3?live=sse")).status_code == 429
        assert (await change())("restive_refused_total", reason="connections") == 1
        assert (await http.get(f"{server.url}/-/health")).json()["refused"]["connections"] >= 1


def numbers(op: Operation, fail: bool = False) -> int:
    op.part("one.txt", "12345")
    if fail:
        raise RuntimeError("wanted")
    return 1


def test_operations() -> None:
    app = FastAPI()
    live = Restive(app, backend="memory:", metrics=True)
    live.operation("/numbers", retries=1, backoff=0.0)(numbers)
    with TestClient(app) as client:
        before = Scrape(client.get("/-/metrics").text)
        ends = [
            client.post(f"/numbers?fail={fail}", headers={"prefer": "wait=10"}).json()["status"]
            for fail in ("false", "true")
        ]
        later = client.post("/numbers", headers={"prefer": "wait=10"}).json()
        assert ends == ["succeeded", "failed"], later
        said = Change(before, Scrape(client.get("/-/metrics").text))
    assert said("restive_operations_submitted_total", operation="/numbers") == 3
    assert said("restive_operations_ended_total", operation="/numbers", status="succeeded") == 2
    assert said("restive_operations_ended_total", operation="/numbers", status="failed") == 1
    runs = {
        outcome: said("restive_operation_run_duration_seconds_count", outcome=outcome)
        for outcome in ("succeeded", "retried", "failed")
    }
    assert runs == {"succeeded": 2, "retried": 1, "failed": 1}
    assert said("restive_operation_wait_duration_seconds_count", operation="/numbers") == 4
    assert said("restive_operation_parts_total", operation="/numbers") == 3  # once for both attempts
    assert said("restive_operation_part_bytes_total", operation="/numbers") == 15
    assert said("restive_operations", status="running") == 0
    assert said("restive_backend_call_duration_seconds_count", engine="memory", call="apply") > 0


async def test_what_waits_and_runs(serve: Serve, http: httpx2.AsyncClient) -> None:
    begun, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    app = FastAPI()
    live = Restive(app, backend="memory:", metrics=True, workers=1)

    @live.operation("/waits")
    def waits(op: Operation) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)

    server = serve(app)
    change = await counting(http, server.url)
    made = [(await http.post(f"{server.url}/waits")).headers["location"] for _ in range(3)]
    await begun.wait()
    said = await change()
    assert said("restive_operations", status="running") == 1
    assert said("restive_operations", status="queued") == 2
    await http.delete(f"{server.url}{made[2]}")
    assert (await change())("restive_operations", status="queued") == 1
    go.set()
    for location in made[:2]:
        answer = await http.get(f"{server.url}{location}")
        while answer.json()["status"] != "succeeded":
            answer = await http.get(f"{server.url}{location}")
    assert (await change())("restive_operations_ended_total", operation="/waits") == 2


async def test_streams(serve: Serve, http: httpx2.AsyncClient) -> None:
    app = FastAPI()
    live = Restive(app, backend="memory:", metrics=True)
    live.stream("/rooms/{room}/messages", writable=True)
    server = serve(app)
    change = await counting(http, server.url)
    url, kind = f"{server.url}/rooms/5/messages", {"content-type": "application/json"}
    assert (await http.put(url, headers=kind)).status_code == 201
    assert (await http.post(url, headers=kind, json=[1, 22])).is_success
    assert (await http.post(url, headers=kind, json=[333])).is_success
    said = await change()
    stream = "/rooms/{room}/messages"
    assert said("restive_stream_appends_total", stream=stream) == 2
    assert said("restive_stream_items_total", stream=stream) == 3
    assert said("restive_stream_bytes_total", stream=stream) == len("122333")
    async with http.stream("GET", f"{url}?offset=-1&live=sse") as answer:
        lines = answer.aiter_lines()
        while "333" not in await anext(lines):
            pass
        said = await change()
        assert said("restive_stream_followers") == 1
        assert said("restive_clients", transport="sse") == 1
        assert said("restive_pushes_total", transport="sse") >= 1
    await until_gone(http, server.url)
    assert (await change())("restive_stream_followers") == 0
