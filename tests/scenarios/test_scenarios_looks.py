"""The look itself: made from the key alone, bounded, one at a time, and no cause of another one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from apps import mirror as mirror_app
from apps import shop as shop_app
from scenarios.servers import CALM, FAST, Serve
from scenarios.waiting import until
from scenarios.watches import PUSHING, Client, End, Fetch, State, Watch, watch

pushing = pytest.mark.parametrize("way", PUSHING)
NOISE = {
    "accept-encoding": "gzip, br",
    "user-agent": "secret-browser",
    "range": "bytes=0-1",
    "if-none-match": '"x"',
    "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT",
    "prefer": "return=minimal",
    "te": "trailers",
    "keep-alive": "5",
    "connection": "keep-alive, x-tenant",  # a client cannot strip what its proxy added
    "traceparent": "00-secret-01",
    "x-forwarded-for": "10.1.2.3",
    "sec-fetch-site": "same-origin",
}


@pushing
async def test_scope_of_a_look(way: str, serve: Serve) -> None:
    """A plain GET from a fixed public address, with the watcher's fields but the neutral ones."""
    app, _, _ = mirror_app.make(**CALM)
    server = serve(app)
    noise = {} if way == "websocket" else NOISE
    headers = {"accept-language": "de", "x-tenant": "acme", "cookie": "sid=1", **noise}
    async with watch(way, server.url, "/echo?b=2&a=%20", headers=headers) as watching:
        event = await watching.next()
    assert isinstance(event, State)
    seen = event.data
    fields = seen.pop("fields")
    assert fields.pop("host") == server.host
    # Without a live type in it, */* says nothing.
    assert fields.pop("accept", "*/*") == "*/*"
    assert fields == {"accept-language": "de", "x-tenant": "acme", "cookie": "sid=1"}
    assert seen == {
        "client": ["192.88.99.1", 0],
        "extensions": [],
        "look": "first",
        "state": {"database": "open", "visits": 0},
        "outer": None,
        "who": "nobody",
        "version": 1,
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/echo",
        "root_path": "",
        "http_version": "1.1",
        "query": "b=2&a=%20",
    }
    assert b"secret" not in watching.raw


class Outer:
    """Middleware outside of Restive that marks everything it can reach with the watcher's name."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        name = dict(scope["headers"]).get(b"user-agent", b"").decode()
        token = mirror_app.WHO.set(name)
        scope["state"] = {**scope.get("state", {}), "secret_of": name}
        scope["restive"] = {"look": "first"}
        scope["extensions"] = {"secret.extension": {}}
        try:
            await self.app(scope, receive, send)
        finally:
            mirror_app.WHO.reset(token)


@pushing
async def test_nothing_of_outer_middleware_reaches_a_look(way: str, serve: Serve, http: Client) -> None:
    """No ContextVar, no state and no extension that was set for one watcher."""
    app, live, mirror = mirror_app.make(**CALM)
    server = serve(Outer(app))
    async with watch(way, server.url, "/echo", headers={"user-agent": "ann"}) as ann:
        first = await ann.next()
        mirror.version = 2
        live.changed("/echo")
        second = await ann.next()
    for event in (first, second):
        assert (event.data["who"], event.data["outer"], event.data["extensions"]) == ("nobody", None, [])
    own = (await http.get(server.url + "/echo", headers={"user-agent": "ann"})).json()
    assert (own["who"], own["outer"], own["look"]) == ("ann", "ann", None)


async def test_a_looks_own_changes_of_the_state_are_its_own(serve: Serve) -> None:
    """Each look has a fresh copy of the lifespan state."""
    app, live, mirror = mirror_app.make(**CALM)
    server = serve(app)
    async with watch("websocket", server.url, "/echo") as watching:
        for version in range(1, 4):
            mirror.version = version
            live.changed("/echo")
            while (event := await watching.next()).data["version"] != version:
                pass
            assert event.data["state"]["visits"] == 0


async def test_a_look_says_why(serve: Serve, http: Client) -> None:
    app, _, shop = shop_app.make(**FAST)
    server = serve(app)
    async with watch("sse-query", server.url, "/orders/3") as watching:
        await watching.next()
        await http.put(server.url + "/orders/3", json={"n": 2})
        await watching.next()
        await until(lambda: {why for _, why in shop.reasons} == {"first", "changed", "recheck"})
    assert shop.reasons[0] == ("/orders/3", "first")


async def test_body_and_disconnect_of_a_look(serve: Serve) -> None:
    """One empty body; no disconnect before the response is complete."""
    app, _, _ = mirror_app.make(**CALM)
    server = serve(app)
    async with watch("sse-query", server.url, "/body") as watching:
        assert (await watching.next()).data == {"body": "", "gone": False, "version": 1}
    async with watch("sse-query", server.url, "/waits") as watching:
        assert (await watching.next()).data == {"came": None}


# In the header spelling the app's own answer is awaited first, as for any GET.
@pytest.mark.parametrize("way", [way for way in PUSHING if "header" not in way])
async def test_a_look_that_is_never_whole_is_told_as_fetch(way: str, serve: Serve) -> None:
    """Begun, but not whole within look_timeout: the client may fetch it itself."""
    app, _, mirror = mirror_app.make(**CALM, look_timeout=0.1)
    server = serve(app)
    async with watch(way, server.url, "/stuck") as watching:
        assert isinstance(await watching.next(), Fetch)
    await until(lambda: mirror.cancelled >= 1)


async def test_a_hanging_look_is_cancelled_and_made_again(serve: Serve) -> None:
    """No answer at all within look_timeout: nothing is told, and it is tried again."""
    app, _, mirror = mirror_app.make(**CALM, look_timeout=0.1)
    server = serve(app)
    async with watch("websocket", server.url, "/hang/x") as watching:
        await until(lambda: len(mirror.started) >= 2)
        assert mirror.cancelled >= 1
        await watching.nothing(0.01)


async def test_a_watch_given_up_leaves_no_look_behind(serve: Serve) -> None:
    """The last watcher goes while its look hangs: the look is cancelled."""
    app, _, mirror = mirror_app.make(**{**CALM, "look_timeout": 60})
    server = serve(app)
    watching = watch("websocket", server.url, "/hang/x")
    async with watching:
        await until(lambda: mirror.started == ["x"])
    await until(lambda: mirror.cancelled == 1)


async def test_one_look_in_flight_and_exactly_one_more(serve: Serve) -> None:
    """Fifty changes during a look cause one more look (and one to settle)."""
    app, live, shop = shop_app.make(**CALM)
    server = serve(app)
    async with watch("websocket", server.url, "/orders/3") as watching:
        await watching.next()
        shop.slow["/orders/3"] = 0.3
        live.changed("/orders/3")
        await until(lambda: shop.running["/orders/3"] == 1)
        for n in range(50):
            shop.orders[3] = {"n": n}
            live.changed("/orders/3")
        await watching.state({"n": 49})
        await watching.nothing(0.6)
    assert shop.most_running["/orders/3"] == 1
    assert 3 <= shop.looks["/orders/3"] <= 4


async def test_change_between_joining_and_the_first_look_is_not_lost(serve: Serve, http: Client) -> None:
    """A watch is registered before its first look begins: what changes during that look is seen."""
    app, _, shop = shop_app.make(**CALM)
    server = serve(app)
    shop.slow["/orders/3"] = 0.3
    for _ in range(3):
        async with watch("websocket", server.url, "/orders/3") as watching:
            await until(lambda: shop.running["/orders/3"] == 1)
            shop.serial += 1
            await http.put(server.url + "/orders/3", json={"n": shop.serial})
            await watching.state({"n": shop.serial})


# Storms


async def test_nonce_bodies_start_no_storm(serve: Serve, http: Client) -> None:
    """Different at every look: each announcement costs its looks, and no look causes another."""
    app, _, shop = shop_app.make(**CALM)
    shop.nonce.add("/orders/3")
    server = serve(app)
    watches = [watch("ndjson-query", server.url, "/orders/3", headers={"x-id": str(i)}) for i in range(10)]
    for one in watches:
        await one.open()
        await one.next()
    await http.put(server.url + "/orders/3", json={"n": 2})
    for one in watches:
        await one.next()
    await asyncio.gather(*(drained(one) for one in watches))
    assert shop.looks["/orders/3"] <= 10 * 4


async def drained(watching: Watch) -> None:
    try:
        while True:
            await watching.next(0.6)
    except TimeoutError:
        await watching.close()


async def test_restless_rendering_is_named_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Different at five looks that nobody announced: one warning that names it."""
    app, _, shop = shop_app.make(**{**CALM, "recheck": 0.05})
    shop.nonce.add("/orders/3")
    server = serve(app)
    with caplog.at_level(logging.WARNING, logger="restive"):
        async with watch("sse-query", server.url, "/orders/3") as watching:
            for _ in range(12):
                await watching.next()
    named = [r for r in caplog.records if r.name.startswith("restive") and "/orders/3" in r.getMessage()]
    assert len(named) == 1, [r.getMessage() for r in caplog.records]


async def test_credentials_that_each_cost_a_look_are_named(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The same resource for many credentials, none of it shared: one warning says what to do."""
    app, live, _ = shop_app.make(**CALM)
    server = serve(app)
    ids = [{"x-id": str(i)} for i in range(120)]
    watches = [watch("ndjson-query", server.url, "/orders/3", headers=one) for one in ids]
    with caplog.at_level(logging.WARNING, logger="restive"):
        for one in watches:
            await one.open()
            await one.next()
        live.changed("/orders/3")
        await until(lambda: any("audience" in r.getMessage() for r in caplog.records))
    for one in watches:
        await one.close()
    assert len([r for r in caplog.records if "audience" in r.getMessage()]) == 1


# Bounds


async def test_looks_at_once_are_bounded(serve: Serve) -> None:
    app, _, shop = shop_app.make(**CALM, look_concurrency=2)
    server = serve(app)
    running = Peak(shop)
    shop.orders.update({i: {"n": i} for i in range(100, 120)})
    for i in range(100, 120):
        shop.slow[f"/orders/{i}"] = 0.02
    watches = [watch("ndjson-query", server.url, f"/orders/{i}") for i in range(100, 120)]
    await asyncio.gather(*(running.follow(one) for one in watches))
    assert running.most <= 2


class Peak:
    """The most looks that were seen at once while watches opened."""

    def __init__(self, shop: shop_app.Shop) -> None:
        self.shop, self.most = shop, 0

    async def follow(self, watching: Watch) -> None:
        async with watching:
            await watching.next()
            self.most = max(self.most, sum(self.shop.running.values()))


async def test_a_principal_with_many_watches_does_not_hold_up_another(serve: Serve) -> None:
    """Fair: bob's only look is not behind all of ann's sixty."""
    app, _, shop = shop_app.make(**CALM, look_concurrency=1, look_rate=10_000)
    server = serve(app)
    shop.orders.update({i: {"n": i} for i in range(100, 161)})
    for i in range(100, 161):
        shop.slow[f"/orders/{i}"] = 0.02
    done: list[int] = []

    async def follow(i: int, who: str) -> None:
        async with watch("ndjson-query", server.url, f"/orders/{i}", headers={"authorization": who}) as one:
            await one.next()
            done.append(i)

    anns = [asyncio.create_task(follow(i, "ann")) for i in range(100, 160)]
    await until(lambda: len(done) >= 2)
    await follow(160, "bob")
    behind = done.index(160)
    await asyncio.gather(*anns)
    assert behind < 50


async def test_a_users_own_request_does_not_wait_for_looks(serve: Serve, http: Client) -> None:
    """With every place for looks taken by ones that hang, a GET and a PUT are answered."""
    app, _, mirror = mirror_app.make(**CALM, look_concurrency=2, look_timeout=60)
    server = serve(app)
    watches = [watch("websocket", server.url, f"/hang/{i}") for i in range(50)]
    for one in watches:
        await one.open()
    await until(lambda: len(mirror.started) == 2)
    assert (await http.get(server.url + "/body", timeout=5)).status_code == 200
    assert len(mirror.started) == 2
    for one in watches:
        await one.close()


async def test_looks_do_not_wait_for_a_users_own_slow_request(serve: Serve, http: Client) -> None:
    """One request that the app answers late and one look that hangs do not hold up the looks of others."""
    app, _, mirror = mirror_app.make(**CALM, look_timeout=60)
    server = serve(app)
    async with watch("websocket", server.url, "/hang/look") as hanging:
        await until(lambda: mirror.started == ["look"])
        slow = asyncio.ensure_future(http.get(server.url + "/hang/request", timeout=60))
        await until(lambda: len(mirror.started) == 2)
        async with watch("websocket", server.url, "/body") as watching:
            assert isinstance(await watching.next(), State)
        slow.cancel()
        await asyncio.wait([slow])
        await hanging.nothing(0.01)


async def test_variants_of_one_path_are_bounded(serve: Serve) -> None:
    """The one too many is refused with a problem; the others live on."""
    app, live, shop = shop_app.make(**CALM, max_variants=3)
    server = serve(app)
    languages = [{"accept-language": f"l{i}"} for i in range(3)]
    watches = [watch("sse-query", server.url, "/orders/3", headers=one) for one in languages]
    for one in watches:
        await one.open()
        assert isinstance(await one.next(), State)
    async with watch("sse-query", server.url, "/orders/3", headers={"accept-language": "l9"}) as refused:
        event = await refused.next()
        assert isinstance(event, End)
        assert event.status in {429, 503}
    shop.orders[3] = {"n": 2}
    live.changed("/orders/3")
    for one in watches:
        await one.state({"n": 2})
        await one.close()


async def test_connections_of_one_address_are_bounded(serve: Serve) -> None:
    app, _, _ = shop_app.make(**CALM, max_connections=2)
    server = serve(app)
    for way in ("ndjson-query", "sse-query"):
        async with (
            watch("websocket", server.url, "/orders/3") as one,
            watch(way, server.url, "/orders/3") as two,
        ):
            await one.next()
            await two.next()
            async with watch(way, server.url, "/orders/3") as three:
                event = await three.next()
                assert isinstance(event, End)
                assert event.status in {429, 503}
        async with watch(way, server.url, "/orders/3") as again:
            assert isinstance(await again.next(), State)


@pushing
async def test_never_and_targets_take_routes_out(way: str, serve: Serve, http: Client) -> None:
    app, live, _ = shop_app.make(**CALM, targets=lambda path: not path.startswith("/vault"))
    live.never("/orders/4*")
    server = serve(app)
    await http.put(server.url + "/orders/42", json={"n": 1})
    assert (await http.get(server.url + "/orders/42")).json() == {"n": 1}
    for target in ("/orders/42", "/vault/3", "/orders/42?x=1"):
        async with watch(way, server.url, target, headers={"authorization": "Bearer ann"}) as refused:
            if way in {"sse-header", "ndjson-header"}:
                # Not Restive's any more: the app answers by itself, once.
                assert refused.response is not None
                assert refused.response.headers["content-type"] == "application/json"
                continue
            assert (await refused.end()).status in {403, 404, 405, 406}
            assert b"tea" not in refused.raw
    async with watch(way, server.url, "/orders/3") as allowed:
        assert isinstance(await allowed.next(), State)
    assert "link" not in (await http.get(server.url + "/orders/42")).headers
