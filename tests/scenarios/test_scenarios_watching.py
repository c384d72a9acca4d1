"""The one set of scenarios that every way to watch has to pass, in both spellings."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from apps import shop as shop_app
from scenarios.servers import FAST, Serve, Spawn, ThreadServer
from scenarios.waiting import until
from scenarios.watches import LONG_POLLS, PUSHING, WAYS, Client, Current, Lost, State, Watch, watch

ORDER = {"item": "tea", "count": 1}
MORE = {"item": "tea", "count": 2}
_ids = itertools.count(1000)

every_way = pytest.mark.parametrize("way", WAYS)
pushing = pytest.mark.parametrize("way", PUSHING)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, shop_app.Shop]]:
    app, _, shop = shop_app.make(**FAST)
    server = ThreadServer(app)
    yield server, shop
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, shop_app.Shop]) -> ThreadServer:
    return running[0]


@pytest.fixture
def shop(running: tuple[ThreadServer, shop_app.Shop]) -> shop_app.Shop:
    return running[1]


@pytest.fixture
def order(shop: shop_app.Shop) -> str:
    """The target of an order that no other test uses."""
    number = next(_ids)
    shop.orders[number] = dict(ORDER)
    return f"/orders/{number}"


def id_of(target: str) -> int:
    return int(target.rpartition("/")[2])


async def first_state(watching: Watch) -> State:
    event = await watching.next()
    assert isinstance(event, State), event
    return event


@every_way
async def test_first_event_is_what_a_get_answers(
    way: str, server: ThreadServer, order: str, http: Client
) -> None:
    got = await http.get(server.url + order)
    async with watch(way, server.url, order) as watching:
        event = await first_state(watching)
    assert event == State(got.headers["etag"], got.json())


@every_way
async def test_put_is_pushed(way: str, server: ThreadServer, order: str, http: Client) -> None:
    async with watch(way, server.url, order) as watching:
        before = await first_state(watching)
        await http.put(server.url + order, json=MORE)
        after = await watching.next()
    got = await http.get(server.url + order)
    assert after == State(got.headers["etag"], MORE)
    assert after.etag != before.etag


@every_way
async def test_every_watcher_sees_the_last_of_many_changes(
    way: str, server: ThreadServer, order: str, http: Client
) -> None:
    async with watch(way, server.url, order) as one, watch(way, server.url, order) as two:
        await first_state(one)
        await first_state(two)
        for count in range(2, 12):
            await http.put(server.url + order, json={"item": "tea", "count": count})
        await asyncio.gather(*(w.state({"item": "tea", "count": 11}) for w in (one, two)))


@every_way
async def test_resume_without_news(way: str, server: ThreadServer, order: str, http: Client) -> None:
    etag = (await http.get(server.url + order)).headers["etag"]
    async with watch(way, server.url, order, etag=etag) as watching:
        assert await watching.next() == Current(etag)
        assert b"tea" not in watching.raw
        await http.put(server.url + order, json=MORE)
        assert (await first_state(watching)).data == MORE


@every_way
async def test_resume_after_a_missed_change(way: str, server: ThreadServer, order: str, http: Client) -> None:
    async with watch(way, server.url, order) as watching:
        etag = (await first_state(watching)).etag
    await http.put(server.url + order, json=MORE)
    async with watch(way, server.url, order, etag=etag) as watching:
        assert (await first_state(watching)).data == MORE


@every_way
async def test_weak_form_of_the_tag_resumes_too(
    way: str, server: ThreadServer, order: str, http: Client
) -> None:
    etag = (await http.get(server.url + order)).headers["etag"]
    async with watch(way, server.url, order, etag="W/" + etag) as watching:
        assert isinstance(await watching.next(), Current)


@every_way
async def test_absent_at_the_start(way: str, server: ThreadServer) -> None:
    async with watch(way, server.url, "/orders/999999") as watching:
        assert (await watching.end()).status == 404


@every_way
async def test_no_such_route(way: str, server: ThreadServer) -> None:
    async with watch(way, server.url, "/no/such/route") as watching:
        assert (await watching.end()).status == 404


@every_way
async def test_deleted_while_watched(way: str, server: ThreadServer, order: str, http: Client) -> None:
    async with watch(way, server.url, order) as watching:
        await first_state(watching)
        await http.delete(server.url + order)
        assert (await watching.end()).status == 404


@every_way
async def test_no_right_at_the_start(way: str, server: ThreadServer, order: str) -> None:
    target = order.replace("orders", "vault")
    async with watch(way, server.url, target) as watching:
        assert (await watching.end()).status == 401
    async with watch(way, server.url, target, headers={"authorization": "Bearer eve"}) as watching:
        assert (await watching.end()).status == 403
        assert b"tea" not in watching.raw


@every_way
async def test_right_withdrawn_while_watched(
    way: str, server: ThreadServer, shop: shop_app.Shop, order: str
) -> None:
    """Nobody announces it: the recheck finds it, and the other watcher stays."""
    target, token = order.replace("orders", "vault"), f"Bearer {way}"
    shop.allowed.add(token)
    async with (
        watch(way, server.url, target, headers={"authorization": token}) as leaving,
        watch(way, server.url, target, headers={"authorization": "Bearer ann"}) as staying,
    ):
        assert (await first_state(leaving)).data["owner"] == way
        assert (await first_state(staying)).data["owner"] == "ann"
        shop.allowed.discard(token)
        assert (await leaving.end()).status == 403
        shop.orders[id_of(target)] = MORE
        assert (await first_state(staying)).data == {"owner": "ann", **MORE}
    assert b"ann" not in leaving.raw
    assert way.encode() not in staying.raw


@every_way
async def test_server_restarted_while_watched(way: str, serve: Serve) -> None:
    """The ETag alone resumes: nothing new is told as current, a change meanwhile as a state."""
    app, _, shop = shop_app.make(**FAST)
    server = serve(app)
    async with watch(way, server.url, "/orders/3") as watching:
        etag = (await first_state(watching)).etag
        await asyncio.to_thread(server.stop)
        if way in PUSHING:
            with pytest.raises((Lost, ConnectionClosed)):
                await watching.end()
    server.start()
    async with watch(way, server.url, "/orders/3", etag=etag) as watching:
        assert await watching.next() == Current(etag)
    await asyncio.to_thread(server.stop)
    shop.orders[3] = MORE
    server.start()
    async with watch(way, server.url, "/orders/3", etag=etag) as watching:
        assert (await first_state(watching)).data == MORE


async def test_server_killed_while_watched_in_every_way(spawn: Spawn) -> None:
    """After kill -9 and a start on the same port all resume by their tag; what changed meanwhile is told."""
    server = spawn("apps.shop:app")
    watching = [watch(way, server.url, "/orders/3") for way in WAYS]
    tags = set()
    for one in watching:
        await one.open()
        tags.add((await first_state(one)).etag)
    assert len(tags) == 1
    server.kill()
    for one in watching:
        await one.close()
    await asyncio.to_thread(server.start)
    etag = tags.pop()
    for way in WAYS:
        async with watch(way, server.url, "/orders/3", etag=etag) as again:
            assert await again.next() == Current(etag), way
    server.kill()
    await asyncio.to_thread(server.start, {"SHOP_ORDERS": '{"3": {"item": "tea", "count": 2}}'})
    for way in WAYS:
        async with watch(way, server.url, "/orders/3", etag=etag) as again:
            assert (await first_state(again)).data == MORE, way


@every_way
async def test_slow_app_delays_and_loses_nothing(
    way: str, server: ThreadServer, shop: shop_app.Shop, order: str, http: Client
) -> None:
    shop.slow[order] = 0.2
    async with watch(way, server.url, order) as watching:
        assert (await first_state(watching)).data == ORDER
        for count in range(2, 6):
            await http.put(server.url + order, json={"item": "tea", "count": count})
        await watching.state({"item": "tea", "count": 5})
    del shop.slow[order]


@every_way
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_failing_app_keeps_the_state(
    way: str, status: int, server: ThreadServer, shop: shop_app.Shop, order: str, http: Client
) -> None:
    """While the app fails nothing is told and nothing ends; what changed meanwhile is told afterwards."""
    async with watch(way, server.url, order) as watching:
        await first_state(watching)
        shop.failing[order] = (status, {"retry-after": "1"} if status == 503 else {})
        looks = shop.looks[order]
        await http.put(server.url + order, json=MORE)
        if way in PUSHING:
            await until(lambda: shop.looks[order] > looks)
        del shop.failing[order]
        assert await first_state(watching) == State(watching.etag, MORE)


@pushing
async def test_app_that_fails_at_first(
    way: str, server: ThreadServer, shop: shop_app.Shop, order: str
) -> None:
    """There is no state to keep yet: the watch waits for one, or HTTP passes the app's 503 on."""
    shop.failing[order] = (503, {"retry-after": "1"})
    watching = watch(way, server.url, order)
    opening = asyncio.ensure_future(watching.open())
    await until(lambda: shop.looks[order] > 0)
    del shop.failing[order]
    await opening
    if watching.response is not None and watching.response.status_code == 503:
        assert watching.response.headers["retry-after"] == "1"
    else:
        await watching.state(ORDER)
    await watching.close()


async def test_retry_after_is_obeyed(server: ThreadServer, shop: shop_app.Shop, order: str) -> None:
    """Once the app has said Retry-After: 3600, neither recheck nor settle asks it again."""
    async with watch("sse-query", server.url, order) as watching:
        await first_state(watching)
        shop.failing[order] = (503, {"retry-after": "3600"})
        looks = shop.looks[order]
        await until(lambda: shop.looks[order] > looks)
        looks = shop.looks[order]
        await watching.nothing(1.5)  # three rechecks
        assert shop.looks[order] <= looks + 1
    del shop.failing[order]


@pytest.mark.parametrize("way", LONG_POLLS)
async def test_long_poll_says_what_it_did(way: str, server: ThreadServer, order: str) -> None:
    async with watch(way, server.url, order) as watching:
        await first_state(watching)
        assert watching.response is not None
        assert "no-store" in watching.response.headers["cache-control"]
    async with watch(way, server.url, order, etag='"another"') as watching:
        await first_state(watching)
        assert watching.response is not None
        assert "no-store" in watching.response.headers["cache-control"]
        if way == "long-poll-header":
            assert watching.response.headers["preference-applied"] == "wait=1"
    async with watch(way, server.url, order, etag=watching.etag) as watching:
        await watching.next()
        assert watching.response is not None
        assert watching.response.status_code == (204 if way == "long-poll-query" else 304)
        assert watching.response.content == b""


@pytest.mark.parametrize("way", ["sse-query", "sse-header", "ndjson-query", "ndjson-header"])
async def test_stream_headers(way: str, server: ThreadServer, order: str) -> None:
    async with watch(way, server.url, order) as watching:
        await first_state(watching)
        assert watching.response is not None
        fields = watching.response.headers
    assert fields["content-type"].startswith("text/event-stream" if "sse" in way else "application/")
    assert "no-store" in fields["cache-control"]
    assert fields["x-accel-buffering"] == "no"
    assert fields["incremental"] == "?1"
    assert not {"content-length", "etag", "last-modified"} & set(fields)


async def test_watchers_do_not_disturb_each_other(server: ThreadServer, order: str, http: Client) -> None:
    """One watcher of every kind on one resource: the same tag and the same data for all."""
    watching = [watch(way, server.url, order) for way in WAYS]
    for one in watching:
        await one.open()
        await first_state(one)
    await http.put(server.url + order, json=MORE)
    events: list[Any] = await asyncio.gather(*(one.state(MORE) for one in watching))
    for one in watching:
        await one.close()
    assert len(set(map(repr, events))) == 1
