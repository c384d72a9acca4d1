"""A plain GET through the front door: tags, 304, privacy by default, and what passes untouched."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from starlette.testclient import TestClient

from restive import Restive
from restive.door.plain import MAX_TAGGED
from scenarios.asgi import Call


def app_of(status: int, headers: dict[str, str], chunks: list[bytes]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        for at, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": at < len(chunks) - 1})

    return Restive(app)


def get(app: Any, method: str = "GET", **headers: str) -> Any:
    return TestClient(app).request(method, "/a", headers=headers)


@pytest.mark.parametrize(
    ("kind", "watchable"),
    [
        ("application/json", True),
        ("application/problem+json; charset=utf-8", True),
        ("text/html; charset=utf-8", True),
        ("application/atom+xml", True),
        ("text/css", False),
        ("text/javascript", False),
        ("text/event-stream", False),
        ("image/svg+xml", False),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
def test_what_can_be_watched_is_tagged_linked_and_private(kind: str, *, watchable: bool) -> None:
    response = get(app_of(200, {"content-type": kind}, [b"x"]), cookie="s=1")
    assert ("etag" in response.headers) is watchable
    assert ("link" in response.headers) is watchable
    assert (response.headers.get("cache-control") == "private, no-cache") is watchable


@pytest.mark.parametrize("length", [True, False])
def test_a_whole_body_gets_a_tag_and_304(*, length: bool) -> None:
    headers = {"content-type": "application/json", "x-mine": "1"} | (
        {"content-length": "2"} if length else {}
    )
    app = app_of(200, headers, [b"{}"])
    tag = get(app).headers["etag"]
    again = get(app, **{"if-none-match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert again.headers["x-mine"] == "1"
    assert "content-length" not in again.headers


def test_pieces_with_a_length_are_put_together_and_without_one_are_not_held() -> None:
    kind = {"content-type": "text/plain"}
    known = get(app_of(200, {**kind, "content-length": "4"}, [b"ab", b"cd"]))
    assert known.content == b"abcd"
    assert "etag" in known.headers
    unknown = get(app_of(200, kind, [b"ab", b"cd"]))
    assert unknown.content == b"abcd"
    assert "etag" not in unknown.headers


def test_a_coded_body_has_the_tag_of_what_it_decodes_to_but_weak() -> None:
    kind = {"content-type": "application/json"}
    plain = get(app_of(200, kind, [b"{}"])).headers["etag"]
    coded = get(app_of(200, {**kind, "content-encoding": "gzip"}, [gzip.compress(b"{}")]))
    assert coded.headers["etag"] == f"W/{plain}"
    unknown = get(app_of(200, {**kind, "content-encoding": "x-odd"}, [b"??"]))
    assert "etag" not in unknown.headers


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"etag": '"own"'}),
        (200, {"content-length": str(MAX_TAGGED + 1)}),
        (206, {"content-range": "bytes 0-1/9"}),
        (404, {}),
        (500, {}),
    ],
)
def test_everything_else_keeps_its_own_tag_or_none(status: int, headers: dict[str, str]) -> None:
    size = int(headers.get("content-length", 2))
    response = get(app_of(status, {"content-type": "text/plain", **headers}, [b"x" * size]))
    assert response.headers.get("etag") == headers.get("etag")
    assert len(response.content) == size


def test_what_the_app_says_of_caching_stays() -> None:
    app = app_of(200, {"content-type": "text/plain", "cache-control": "public, max-age=60"}, [b"x"])
    response = get(app, cookie="s=1")
    assert response.headers["cache-control"] == "public, max-age=60"
    assert "vary" not in response.headers


def test_a_head_is_not_tagged_but_private() -> None:
    response = get(app_of(200, {"content-type": "text/plain"}, [b""]), "HEAD", authorization="Bearer t")
    assert "etag" not in response.headers
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("kind", ["content-type", "Content-Type"])
def test_names_of_fields_are_taken_in_any_case(kind: str) -> None:
    tagged = get(app_of(200, {kind: "text/plain"}, [b"x"]), cookie="s=1").headers
    assert (tagged["cache-control"], "etag" in tagged) == ("private, no-cache", True)
    own = get(app_of(200, {kind: "text/plain", "ETag": '"own"', "Cache-Control": "no-cache"}, [b"x"])).headers
    assert (own["etag"], own["cache-control"]) == ('"own"', "no-cache")


@pytest.mark.parametrize("name", [b"content-type", bytearray(b"content-type")])
def test_headers_that_are_no_bytes_are_taken_as_such(name: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        kind = (name, bytearray(b"text/plain"))
        length = (b"content-length", bytearray(b"1"))
        await send({"type": "http.response.start", "status": 200, "headers": [kind, length]})
        await send({"type": "http.response.body", "body": bytearray(b"x")})

    live = Restive(app)
    assert get(live).headers["etag"] == get(live).headers["etag"]
    assert (
        get(app_of(200, {"content-type": "text/plain"}, [b"x"])).headers["etag"] == get(live).headers["etag"]
    )


def test_what_becomes_never_watchable_is_linked_no_more() -> None:
    app = app_of(200, {"content-type": "text/plain"}, [b"x"])
    assert "link" in get(app).headers
    app.never("/a*")
    assert "link" not in get(app).headers


async def test_any_line_of_accept_can_ask_for_a_watch() -> None:
    app = app_of(200, {"content-type": "text/plain"}, [b"x"])
    lines = [("accept", "text/event-stream"), ("accept", "text/plain;q=0.5")]
    async with Call(app, "/a", headers=lines) as call:
        await call.until(lambda c: b"data: x" in c.raw)
    assert call.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("fails", [True, False])
async def test_looks_give_way_to_a_request_only_until_its_response_begins(*, fails: bool) -> None:
    go_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        if fails:
            raise LookupError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"a/b")]})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b""})

    live = Restive(app)
    hub = live.hub()
    begun = asyncio.Event()

    async def send(_message: Any) -> None:
        assert hub._foreground == 0
        begun.set()

    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"", "headers": [(b"host", b"a")]}
    call = asyncio.create_task(live(scope, None, send))  # type: ignore[arg-type]
    await asyncio.wait([call, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
    assert call.done() is fails
    go_on.set()
    await asyncio.gather(call, return_exceptions=True)
    assert hub._foreground == 0


async def test_the_head_of_a_slow_stream_is_not_kept_waiting() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"late"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        started.set()

    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"", "headers": [(b"host", b"a")]}
    call = asyncio.create_task(Restive(app)(scope, None, send))  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await started.wait()
    go_on.set()
    await call
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"late"


def test_an_event_source_that_reconnects_is_told_only_what_is_new() -> None:
    """It repeats its URL, and says in Last-Event-ID what it had; 204 stops it where that was final."""
    kept = {"content-type": "application/json", "cache-control": "max-age=31536000, immutable"}
    app = app_of(200, kept, [b"{}"])
    first = get_live(app)
    tag = first.text.partition("id: ")[2].partition("\n")[0]
    assert first.text.endswith('data: {}\n\nevent: end\ndata: {"status":200}\n\n')
    assert get_live(app, **{"last-event-id": tag}).status_code == 204
    assert "data: {}" in get_live(app, **{"last-event-id": '"older"'}).text


def get_live(app: Any, **headers: str) -> Any:
    return TestClient(app).get("/a?live=sse", headers={"accept": "text/event-stream", **headers})
