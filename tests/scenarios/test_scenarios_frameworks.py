"""Whatever the app is made of: frameworks, middleware, mounts, and event streams of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from apps import mirror, others
from apps import shop as shop_app
from scenarios.servers import CALM, Serve
from scenarios.watches import WAYS, Client, End, State, watch

FEW = [
    "websocket",
    "sse-query",
    "sse-header",
    "ndjson-query",
    "long-poll-query",
    "long-poll-header",
    "multi-sse",
]
few = pytest.mark.parametrize("way", FEW)


@pytest.mark.parametrize("framework", others.FRAMEWORKS)
@few
async def test_framework(way: str, framework: str, serve: Serve, http: Client) -> None:
    """First state, change and deletion, without any change to the app."""
    app, _ = others.FRAMEWORKS[framework](**CALM)
    server = serve(app)
    async with watch(way, server.url, "/orders/3") as watching:
        assert (await watching.next()).data == {"count": 1}
        await http.put(server.url + "/orders/3", json={"count": 2})
        assert (await watching.next()).data == {"count": 2}
        await http.delete(server.url + "/orders/3")
        assert (await watching.end()).status == 404


async def test_middleware_added_after_install_is_inside(serve: Serve, http: Client) -> None:
    app, _ = others.installed(**CALM)
    server = serve(app)
    response = await http.get(server.url + "/orders/3")
    assert response.headers["x-later"] == "yes"
    assert response.headers["etag"].startswith('"r-')


class Stamping(BaseHTTPMiddleware):
    """Wraps request and response as BaseHTTPMiddleware does, and counts."""

    counter = itertools.count()

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        request.state.seen = next(self.counter)
        response = await call_next(request)
        response.headers["x-stamp"] = "inner"
        return response


class Sliding:
    """A session that is renewed by every request, under SessionMiddleware."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["session"]["visits"] = scope["session"].get("visits", 0) + 1
        await self.app(scope, receive, send)


MIDDLEWARE: dict[str, list[Middleware]] = {
    "base": [Middleware(Stamping)],
    "base twice": [Middleware(Stamping), Middleware(Stamping)],
    "gzip": [Middleware(GZipMiddleware, minimum_size=1)],
    "session": [Middleware(SessionMiddleware, secret_key="k"), Middleware(Sliding)],
    "trusted host": [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])],
    "cors": [Middleware(CORSMiddleware, allow_origins=["https://page.test"], allow_credentials=True)],
    "all": [
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"]),
        Middleware(CORSMiddleware, allow_origins=["https://page.test"]),
        Middleware(GZipMiddleware, minimum_size=1),
        Middleware(SessionMiddleware, secret_key="k"),
        Middleware(Sliding),
        Middleware(Stamping),
    ],
}


def with_middleware(name: str, **settings: Any) -> tuple[Any, shop_app.Shop]:
    app, _, shop = shop_app.make(**CALM, **settings)
    for middleware in reversed(MIDDLEWARE[name]):
        app.add_middleware(middleware.cls, *middleware.args, **middleware.kwargs)  # type: ignore[arg-type]
    return app, shop


# A stream that is coded on its way gets no tag: a long poll in headers has nothing to start from.
UNTAGGED = ("long-poll-header", "all")


@pytest.mark.parametrize(("way", "name"), [(w, n) for w in FEW for n in MIDDLEWARE if (w, n) != UNTAGGED])
async def test_middleware(way: str, name: str, serve: Serve, http: Client) -> None:
    """First state, push, resume and end pass through it, for a client that accepts gzip and has a cookie."""
    app, _ = with_middleware(name)
    server = serve(app)
    headers = {"accept-encoding": "gzip", "cookie": "a=b"}
    headers = headers if way != "websocket" else {"cookie": "a=b"}
    async with watch(way, server.url, "/orders/3", headers=headers) as watching:
        assert (await watching.next()).data == shop_app.TEA
        await http.put(server.url + "/orders/3", json={"count": 2})
        event = await watching.next()
        assert isinstance(event, State)
        assert event.data == {"count": 2}
    async with watch(way, server.url, "/orders/3", etag=event.etag, headers=headers) as watching:
        assert not isinstance(await watching.next(), State)
        await http.delete(server.url + "/orders/3")
        assert (await watching.end()).status == 404
    assert b"session=" not in watching.raw


@few
async def test_tag_of_a_coded_response_resumes(way: str, serve: Serve, http: Client) -> None:
    """The weak tag of a gzip response and the strong one of the same content are the same state."""
    app, _ = with_middleware("gzip")
    server = serve(app)
    coded = await http.get(server.url + "/orders/3", headers={"accept-encoding": "gzip"})
    assert coded.headers["content-encoding"] == "gzip"
    assert coded.headers["etag"].startswith('W/"')
    async with watch(way, server.url, "/orders/3", etag=coded.headers["etag"]) as watching:
        assert not isinstance(await watching.next(), State)


@pytest.mark.parametrize("way", [way for way in FEW if way != "websocket"])
async def test_untrusted_host_cannot_watch(way: str, serve: Serve) -> None:
    app, _ = with_middleware("trusted host")
    server = serve(app)
    async with watch(way, server.url, "/orders/3", headers={"host": "evil.test"}) as watching:
        event = await watching.end()
    assert event.status == 400
    assert b"tea" not in watching.raw


@pytest.mark.parametrize("way", ["sse-query", "sse-header", "ndjson-query", "long-poll-query"])
async def test_live_answers_carry_the_apps_cors(way: str, serve: Serve) -> None:
    app, _ = with_middleware("cors")
    server = serve(app)
    async with watch(way, server.url, "/orders/3", headers={"origin": "https://page.test"}) as watching:
        assert isinstance(await watching.next(), State)
        assert watching.response is not None
        assert watching.response.headers["access-control-allow-origin"] == "https://page.test"
        assert watching.response.headers["access-control-allow-credentials"] == "true"
    async with watch(way, server.url, "/orders/3", headers={"origin": "https://evil.test"}) as watching:
        await watching.next()
        assert watching.response is not None
        assert "access-control-allow-origin" not in watching.response.headers


async def test_redirecting_middleware_ends_a_watch(serve: Serve) -> None:
    app, _, _ = shop_app.make(**CALM)
    app.add_middleware(HTTPSRedirectMiddleware)
    server = serve(app)
    async with watch("multi-ndjson", server.url, "/orders/3") as watching:
        event = await watching.next()
    assert isinstance(event, End)
    assert event.status == 307
    assert event.document["location"].startswith("https://127.0.0.1")


# Where the app lives


@few
async def test_root_path(way: str, serve: Serve, http: Client) -> None:
    """Behind a proxy that takes /api away: targets, links and announcements are the client's, with /api."""
    app, live, shop = shop_app.make(**CALM)
    server = serve(StripPrefix(app, "/api"))
    got = await http.get(server.url + "/api/orders/3")
    assert got.headers["link"] == '</api/-/live>; rel="monitor"'
    watching = watch(way, server.url, "/api/orders/3")
    watching.root = "/api"
    async with watching:
        assert (await watching.next()).data == shop_app.TEA
        await http.put(server.url + "/api/orders/3", json={"count": 2})
        assert (await watching.next()).data == {"count": 2}
        shop.orders[3] = {"count": 3}
        live.changed("/api/orders/3")
        assert (await watching.next()).data == {"count": 3}


class StripPrefix:
    """What a proxy and uvicorn's --root-path do together (ASGI: path holds root_path)."""

    def __init__(self, app: Any, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": self.prefix}
        await self.app(scope, receive, send)


@few
@pytest.mark.parametrize("make", [others.mounted_live, others.mounting_live])
async def test_mounts(way: str, make: Callable[..., Any], serve: Serve, http: Client) -> None:
    app, _ = make(**CALM)
    server = serve(app)
    watching = watch(way, server.url, "/shop/orders/3")
    watching.root = "/shop" if make is others.mounted_live else ""
    async with watching:
        assert (await watching.next()).data == shop_app.TEA
        await http.put(server.url + "/shop/orders/3", json={"count": 2})
        assert (await watching.next()).data == {"count": 2}
        listing = watch(way, server.url, "/shop/orders")
        listing.root = watching.root
        async with listing:
            await listing.next()
            await http.delete(server.url + "/shop/orders/3")
            assert (await watching.end()).status == 404
            await listing.state([])
    response = await http.get(server.url + "/shop/orders")
    assert response.headers["link"] == f'<{watching.root}/-/live>; rel="monitor"'


# Event streams of the app's own


@pytest.mark.parametrize(
    ("target", "accept", "body"),
    [
        ("/ticks.sse", "text/event-stream", "".join(f": own\nid: x\ndata: {n}\n\n" for n in range(3))),
        ("/ticks.ndjson", "application/x-ndjson", "".join(f'{{"own":{n}}}\n' for n in range(3))),
        ("/ticks/negotiated", "text/event-stream", "".join(f"data: own {n}\n\n" for n in range(3))),
        ("/ticks.sse", "*/*", "".join(f": own\nid: x\ndata: {n}\n\n" for n in range(3))),
    ],
)
async def test_own_streams_pass_untouched(
    target: str, accept: str, body: str, serve: Serve, http: Client
) -> None:
    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    response = await http.get(server.url + target, headers={"accept": accept, "last-event-id": "7"})
    assert response.text == body
    assert not {"etag", "x-accel-buffering", "incremental"} & set(response.headers)


async def test_own_waiting_passes_untouched(serve: Serve, http: Client) -> None:
    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    etag = (await http.get(server.url + "/waiting")).headers["etag"]
    response = await http.get(server.url + "/waiting", headers={"prefer": "wait=5", "if-none-match": etag})
    assert (response.status_code, response.json()) == (200, {"own": True})
    assert response.headers["preference-applied"] == "wait=7"


@pytest.mark.parametrize("target", ["/ticks.sse", "/ticks.ndjson", "/ticks.json", "/ticks.multipart"])
@pytest.mark.parametrize("way", [way for way in WAYS if "header" not in way and way != "poll"])
async def test_own_streams_are_not_watchable(way: str, target: str, serve: Serve) -> None:
    """Asked for as a state they are refused with a problem, at once."""
    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, target) as watching:
        event = await watching.next()
    assert isinstance(event, End)
    assert 400 <= event.status < 500
    assert event.document["title"]


@pytest.mark.parametrize("way", ["sse-header", "ndjson-header"])
async def test_not_acceptable_is_asked_again(way: str, serve: Serve) -> None:
    """An app that answers 406 to the live type is looked at without it."""
    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, "/picky") as watching:
        assert (await watching.next()).data == {"picky": True}


@pytest.mark.parametrize("way", [way for way in FEW if way != "sse-header"])
async def test_negotiating_app_is_watched_as_what_it_is_without(way: str, serve: Serve) -> None:
    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, "/ticks/negotiated") as watching:
        assert (await watching.next()).data == {"plain": True}


async def test_many_apps_and_servers_in_one_process(serve: Serve, http: Client) -> None:
    """What changes in one app is nothing to another, even with the same paths."""
    (app, _, _), (other, _, shop) = (shop_app.make(**CALM) for _ in range(2))
    first, second = serve(app), serve(other)
    async with (
        watch("websocket", first.url, "/orders/3") as here,
        watch("websocket", second.url, "/orders/3") as there,
    ):
        await asyncio.gather(here.next(), there.next())
        await http.put(first.url + "/orders/3", json={"count": 2})
        await here.state({"count": 2})
        await there.nothing(0.05)
    assert shop.looks["/orders/3"] == 1


async def test_one_app_on_two_loops(serve: Serve, http: Client) -> None:
    """A change through one server reaches the watchers of the other: one hub per loop, one instance."""
    app, _, _ = shop_app.make(**CALM)
    first, second = serve(app), serve(app)
    async with (
        watch("websocket", first.url, "/orders/3") as here,
        watch("sse-query", second.url, "/orders/3") as there,
    ):
        await asyncio.gather(here.next(), there.next())
        await http.put(first.url + "/orders/3", json={"count": 2})
        await asyncio.gather(here.state({"count": 2}), there.state({"count": 2}))
