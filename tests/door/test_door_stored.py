"""Plain reads that are answered without waking the app (RFC 9111), through the front door."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from restive import Restive
from scenarios.asgi import Call, get

PUBLIC = {"cache-control": "public, max-age=600"}


class Shop:
    """One page, how it may be cached, and who asked for it."""

    def __init__(self, path: str = "/a", **settings: Any) -> None:
        self.headers: dict[str, str] = dict(PUBLIC)
        self.body: bytes = b'{"n":0}'
        self.status = 200
        self.woken: list[str] = []
        self.hold: asyncio.Event | None = None
        self.path = path
        self.live = Restive(
            Starlette(
                routes=[
                    Route("/a", self.read, methods=["GET"]),
                    Route("/a", self.write, methods=["PUT"]),
                    Route("/a b", self.read),
                    Route("/deep/a", self.read),
                ]
            ),
            backend="memory:",
            settle=600,
            min_interval=0.0,
            **settings,
        )

    async def read(self, request: Request) -> Response:
        self.woken.append("look" if "restive" in request.scope else request.method)
        if self.hold is not None:
            await self.hold.wait()
        headers = {"content-type": "application/json", **self.headers}
        return Response(self.body, self.status, headers)

    async def write(self, request: Request) -> Response:
        self.body = await request.body()
        return JSONResponse({})

    async def ask(self, *headers: tuple[str, str], **scope: Any) -> Call:
        return await get(self.live, self.path, headers=headers, **scope)

    @contextlib.asynccontextmanager
    async def watched(self, *headers: tuple[str, str], **scope: Any) -> AsyncIterator[Call]:
        mark = "&" if "?" in self.path else "?"
        async with Call(self.live, f"{self.path}{mark}live=sse", headers=headers, **scope) as call:
            await call.until(lambda c: b"data:" in c.raw)
            self.woken.clear()
            yield call


async def test_a_read_of_what_is_watched_wakes_nobody() -> None:
    shop = Shop()
    direct = await shop.ask()
    assert shop.woken == ["GET"]
    async with shop.watched():
        call = await shop.ask(("cookie", "s=1"), ("authorization", "Bearer a"), ("user-agent", "x"))
        assert shop.woken == []
    assert (call.status, call.raw) == (200, b'{"n":0}')
    assert call.headers.pop("age") == "0"
    said = call.headers.pop("cache-status")
    assert said in {"restive; hit; ttl=599", "restive; hit; ttl=600"}
    assert call.headers == direct.headers
    shop.woken.clear()
    await shop.ask()
    assert shop.woken == ["GET"]


async def test_a_304_and_a_head_wake_nobody() -> None:
    shop = Shop()
    async with shop.watched():
        whole = await shop.ask()
        tag = whole.headers["etag"]
        call = await shop.ask(("if-none-match", f'"x", W/{tag}'))
        head = await shop.ask(method="HEAD")
        assert shop.woken == []
    assert (call.status, call.raw) == (304, b"")
    assert call.headers["etag"] == tag
    assert call.headers["cache-control"] == PUBLIC["cache-control"]
    assert call.headers["age"] == "0"
    assert not {"content-length", "content-type"} & call.headers.keys()
    assert (head.status, head.raw) == (200, b"")
    assert head.headers["content-length"] == "7"
    assert head.headers["etag"] == tag


async def test_age_and_what_the_app_says_of_caches_are_kept() -> None:
    shop = Shop()
    shop.headers |= {
        "age": "30", "cache-status": "inner; hit", "etag": '"own"', "x-mine": "1", "last-modified": "x",
    }  # fmt: skip
    async with shop.watched():
        call = await shop.ask()
    assert int(call.headers["age"]) in {30, 31}
    assert call.headers["etag"] == '"own"'
    assert call.headers["x-mine"] == "1"
    ttl = int(call.headers["cache-status"].rpartition("=")[2])
    assert ttl in {568, 569, 570}


@pytest.mark.parametrize(
    "header",
    [
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("cache-control", "min-fresh=601"),
        ("pragma", "no-cache"),
        ("range", "bytes=0-1"),
        ("if-match", '"a"'),
        ("prefer", "wait=1"),
        ("content-length", "1"),
        ("origin", "https://other.test"),
    ],
)
async def test_what_must_be_asked_wakes_the_app(header: tuple[str, str]) -> None:
    shop = Shop()
    async with shop.watched():
        call = await shop.ask(header)
        assert "cache-status" not in call.headers
        assert "GET" in shop.woken or "look" in shop.woken


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cache-control": "private, max-age=60"},
        {"cache-control": "no-cache"},
        {"cache-control": "max-age=60"},
        {**PUBLIC, "set-cookie": "a=b"},
        {**PUBLIC, "vary": "*"},
        {**PUBLIC, "content-encoding": "identity"},
    ],
)
async def test_what_may_not_be_reused_wakes_the_app(headers: dict[str, str]) -> None:
    shop = Shop()
    shop.headers = headers
    async with shop.watched():
        call = await shop.ask()
        assert "GET" in shop.woken
        assert "cache-status" not in call.headers


async def test_what_is_sent_as_a_cookie_to_the_look_reaches_nobody() -> None:
    """A response that begins to set a cookie is not held any more, not even for who waits for it."""
    shop = Shop()
    async with shop.watched():
        shop.headers["set-cookie"] = "secret=1"
        shop.live.changed("/a")
        calls = await asyncio.gather(*(shop.ask() for _ in range(3)))
        assert shop.woken.count("GET") == 3
        assert all(call.headers["set-cookie"] == "secret=1" for call in calls)  # their own


async def test_many_who_ask_for_what_is_stale_wake_the_app_once() -> None:
    shop = Shop()
    async with shop.watched():
        shop.hold = asyncio.Event()
        shop.body = b'{"n":1}'
        shop.live.changed("/a")
        calls = [asyncio.create_task(shop.ask()) for _ in range(50)]
        while "look" not in shop.woken:
            await asyncio.sleep(0)
        shop.hold.set()
        answers = await asyncio.gather(*calls)
        assert len(shop.woken) <= 2
        assert "GET" not in shop.woken
    assert {(call.status, call.raw) for call in answers} == {(200, b'{"n":1}')}
    assert {call.headers["cache-status"].split("; ttl")[0] for call in answers} <= {
        "restive; fwd=stale; collapsed", "restive; hit",
    }  # fmt: skip
    assert "restive; fwd=stale; collapsed" in answers[0].headers["cache-status"]


async def test_only_if_cached_is_504_where_what_is_held_is_stale_and_the_apps_where_nothing_is() -> None:
    shop = Shop()
    only = ("cache-control", "only-if-cached")
    assert (await shop.ask(only)).status == 200
    async with shop.watched():
        assert (await shop.ask(only)).headers["cache-status"].startswith("restive; hit")
        assert (await shop.ask(only, ("cache-control", "min-fresh=900"))).status == 504
        shop.hold = asyncio.Event()
        shop.live.changed("/a")
        assert (await shop.ask(only)).status == 504
        shop.hold.set()


async def test_a_failing_app_is_asked_by_each() -> None:
    shop = Shop()
    async with shop.watched():
        shop.status = 500
        shop.live.changed("/a")
        assert (await shop.ask()).status == 500
        assert (await shop.ask()).status == 500
        assert shop.woken.count("GET") == 2


async def test_root_path_escapes_and_dots() -> None:
    shop = Shop("/a%20b")
    async with shop.watched():
        await shop.ask()
        assert shop.woken == []
        shop.path = "/./a%20b"
        assert (await shop.ask()).status == 404  # another path to the app
    rooted = Shop("/root/a")
    async with rooted.watched(root_path="/root"):
        call = await rooted.ask(root_path="/root")
        assert rooted.woken == []
        assert call.headers["link"] == '</root/-/live>; rel="monitor"'
    odd = Shop()
    async with odd.watched():
        call = await odd.ask(("host", "other.test"))
        assert "GET" in odd.woken  # two Hosts are the app's to judge
        assert "cache-status" not in call.headers


async def test_other_queries_and_hosts_are_other_resources() -> None:
    shop = Shop("/a?x=1")
    async with shop.watched():
        await shop.ask()
        assert shop.woken == []
        shop.path = "/a?x=2"
        await shop.ask()
        shop.path = "/a"
        await shop.ask()
        assert shop.woken == ["GET", "GET"]


async def test_key_client_tells_clients_apart() -> None:
    shop = Shop(key=["client"])
    shop.headers = {}
    shop.live.fresh("/a")
    async with shop.watched():
        await shop.ask()
        assert shop.woken == ["GET"]


async def test_outer_middleware_may_change_the_answer_it_passes_on() -> None:
    """Each answer has a list of fields of its own."""
    shop = Shop()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"set-cookie", b"of=one"))
        sent.append(message)

    async with shop.watched():
        scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"", "scheme": "http"}
        scope |= {"server": ("shop.test", 80), "headers": [(b"host", b"shop.test")]}
        await shop.live(scope, None, send)  # type: ignore[arg-type]
        assert shop.woken == []
        call = await shop.ask()
        assert shop.woken == []
    assert "set-cookie" not in call.headers


# Fresh until changed


async def test_a_route_that_is_declared_fresh_wakes_the_app_when_it_was_changed() -> None:
    shop = Shop()
    shop.headers = {}
    assert shop.live.fresh(shop.read) == shop.read
    async with shop.watched():
        direct = await shop.ask()
        assert shop.woken == []
        assert "cache-control" not in direct.headers
        assert direct.headers["vary"] == "Accept, Prefer"
        await shop.ask(("cookie", "s=1"))
        assert shop.woken == ["GET"]
        await get(shop.live, "/a", method="PUT", body=b'{"n":1}')
        assert (await shop.ask()).raw == b'{"n":1}'
        assert shop.woken.count("GET") == 1


async def test_a_path_glob_is_declared_fresh_and_other_paths_are_not() -> None:
    shop = Shop("/deep/a", fresh_max=60)
    shop.headers = {}
    shop.live.fresh("/deep/*")
    async with shop.watched():
        await shop.ask()
        assert shop.woken == []
        shop.path = "/a"
        async with shop.watched():
            await shop.ask()
            assert shop.woken == ["GET"]


async def test_fresh_max_of_nothing_turns_it_off() -> None:
    shop = Shop(fresh_max=0)
    shop.headers = {}
    shop.live.fresh("/a")
    async with shop.watched():
        await shop.ask()
        assert shop.woken == ["GET"]
