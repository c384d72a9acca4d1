"""Streams over HTTP where the conformance suite asks nothing: guards, limits, caching, the app's writes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from restive import Problem, Restive, SettingError
from restive.streams.items import MAX_PAYLOAD
from scenarios.servers import FAST, Serve, Spawn, ThreadServer

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


def new_client(server: ThreadServer) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30)


def user(authorization: str = Header()) -> str:
    if not authorization.startswith("Bearer "):
        raise HTTPException(401)
    return authorization.removeprefix("Bearer ")


def writer(name: str = Depends(user)) -> None:
    if name != "ann":
        raise HTTPException(403)


def member(room: int, name: str = Depends(user)) -> None:
    if room != len(name):
        raise HTTPException(403)


class Message(BaseModel):
    text: str
    at: datetime


class Board:
    """An app with streams of several kinds."""

    def __init__(self, **settings: Any) -> None:
        self.app = FastAPI()
        self.live = Restive(self.app, **{**FAST, **settings})
        stream = self.live.stream
        self.own = stream("/own/{name}")
        self.any = stream("/any/{name:path}", content_type="*/*", writable=True)
        self.public = stream("/public/{name}", writable=True, public=True)
        self.kept = stream("/kept/{name}", public=True, keep=5)
        self.short = stream("/short/{name}", writable=True, public=True, ttl=50)
        self.guarded = stream(
            "/guarded/{name}",
            writable=True,
            dependencies=[Depends(user)],
            write_dependencies=[Depends(writer)],
        )
        self.rooms = stream("/rooms/{room:int}/messages", dependencies=[Depends(member)], tags=["rooms"])


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def server(serve: Serve, board: Board) -> ThreadServer:
    return serve(board.app)


@pytest.fixture
async def client(server: ThreadServer):
    async with new_client(server) as found:
        yield found


# What the app writes


async def test_what_the_app_appends_is_read(board, client):
    first = await asyncio.to_thread(board.own.blocking.append, {"a": 1}, name="x")
    await asyncio.to_thread(board.own.blocking.append_many, [2, "drei"], name="x")
    found = await client.get("/own/x")
    assert found.json() == [{"a": 1}, 2, "drei"]
    assert found.headers["content-type"] == "application/json"
    assert found.headers["stream-up-to-date"] == "true"
    assert (await client.get(f"/own/x?offset={first}")).json() == [2, "drei"]
    page = await asyncio.to_thread(board.own.blocking.read, first, 1, name="x")
    assert (page.items, page.up_to_date) == ([2], False)
    page = await asyncio.to_thread(board.own.blocking.read, page.offset, name="x")
    assert (page.items, page.up_to_date, page.closed) == (["drei"], True, False)


async def test_items_are_written_as_fastapi_would(board, client):
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    item = {"message": Message(text="hüllo", at=at), "at": at, "set": {1}}
    await asyncio.to_thread(board.own.blocking.append, item, name="x")
    ((found),) = (await client.get("/own/x")).json()
    assert found["message"] == {"text": "hüllo", "at": "2026-11-23T12:00:00Z"}
    assert found["set"] == [1]
    with pytest.raises(ValueError):
        await asyncio.to_thread(board.own.blocking.append, float("nan"), name="x")


async def test_a_stream_that_only_the_app_writes_reads_as_empty_before_and_refuses_writes(board, client):
    found = await client.get("/own/x")
    assert (found.status_code, found.json()) == (200, [])
    start = found.headers["stream-next-offset"]
    assert start not in {"-1", "now", ""}
    assert (await client.get(f"/own/x?offset={start}")).json() == []
    assert (await client.head("/own/x")).headers["stream-next-offset"] == start
    assert (await client.get("/own/x?offset=abc_1")).status_code == 400
    for method in ("PUT", "POST", "DELETE"):
        refused = await client.request(method, "/own/x", json=1)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    await asyncio.to_thread(board.own.blocking.append, 1, name="x")
    assert (await client.get(f"/own/x?offset={start}")).json() == [1]


async def test_a_stream_that_waits_for_its_first_item(board, client):
    waiting = asyncio.create_task(client.get("/own/x?offset=-1&live=long-poll&timeout=20"))
    while not board.live.streams.service.polls:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(board.own.blocking.append, 1, name="x")
    assert (await waiting).json() == [1]


async def test_methods_of_the_same_name_on_a_loop():
    board = Board()
    assert await board.own.info(name="x") is None
    offset = await board.own.append(1, name="x")
    info = await board.own.info(name="x")
    assert (info.offset, info.closed, info.content_type, info.path) == (
        offset,
        False,
        "application/json",
        "/own/x",
    )
    assert (await board.own.read("now", name="x")).items == []
    await board.own.close(name="x")
    with pytest.raises(Problem, match="409"):
        await board.own.append(2, name="x")
    assert (await board.own.info(name="x")).closed
    assert await board.own.delete(name="x")
    assert not await board.own.delete(name="x")
    with pytest.raises(Problem, match="400"):
        await board.own.read(offset, name="x")
    await board.any.append(b"\xff\x00", name="bytes")
    assert (await board.any.read(name="bytes")).items == [b"\xff\x00"]
    await board.any.append({"a": 1}, name="json")
    assert (await board.any.read(name="json")).items == [{"a": 1}]


@pytest.mark.parametrize(
    "given", [{"name": "a/b"}, {"name": ""}, {"name": ".."}, {}, {"name": "a", "more": 1}]
)
async def test_parameters_that_lead_nowhere_are_refused(given):
    with pytest.raises((TypeError, ValueError)):
        await Board().own.append(1, **given)


async def test_odd_parameters_lead_where_a_client_writes_them(board, client):
    for name in ["a b", "ü", "100%", "%2F", "a?b", "#", "...", "a+b", "{x}", "a:b@c"]:
        await asyncio.to_thread(board.own.blocking.append, name, name=name)
        path = board.own.path(name=name)
        assert (await client.get(path)).json() == [name], path
    await asyncio.to_thread(board.any.blocking.append, b"1", name="a/b")
    assert (await client.get("/any/a/b")).content == b"1"
    assert (await client.get("/any/a%2Fb")).content == b"1"


@pytest.mark.parametrize(
    "options",
    [
        {"path": "own"},
        {"path": "/own/"},
        {"path": "/{offset}"},
        {"content_type": "json"},
        {"content_type": "a/b\r\nx: y"},
        {"ttl": 0},
        {"ttl": float("inf")},
        {"keep": -1},
        {"keep": True},
        {"write_dependencies": [Depends(user)]},
        {"nothing": 1},
    ],
    ids="-".join,
)
def test_declarations_that_cannot_work_are_refused(options):
    with pytest.raises(SettingError):
        Restive(FastAPI(), backend="memory:").stream(**{"path": "/log", **options})


def test_a_path_is_declared_once():
    live = Restive(FastAPI(), backend="memory:")
    live.stream("/log")
    with pytest.raises(SettingError):
        live.stream("/log")


# Guards


async def test_guards_are_asked_before_anything_is_said(client):
    ann, bob = ({"Authorization": f"Bearer {name}", **JSON} for name in ("ann", "bob"))
    assert (await client.get("/guarded/x")).status_code == 422
    assert (await client.put("/guarded/x", headers={**bob, "Authorization": "Basic x"})).status_code == 401
    assert (await client.put("/guarded/x", headers=bob)).status_code == 403
    assert (await client.put("/guarded/x", headers=ann)).status_code == 201
    assert (await client.post("/guarded/x", headers=bob, content="1")).status_code == 403
    assert (await client.post("/guarded/x", headers=ann, content="1")).status_code == 204
    assert (await client.delete("/guarded/x", headers=bob)).status_code == 403
    assert (await client.get("/guarded/x", headers=bob)).json() == [1]
    assert (await client.get("/guarded/x?offset=-1&live=long-poll", headers=JSON)).status_code == 422
    assert (await client.get("/guarded/x?offset=-1&live=sse", headers=JSON)).status_code == 422


async def test_a_guard_sees_the_path_s_parameters(board, client):
    await asyncio.to_thread(board.rooms.blocking.append, "hi", room=3)
    assert (await client.get("/rooms/3/messages", headers={"Authorization": "Bearer ann"})).json() == ["hi"]
    assert (await client.get("/rooms/4/messages", headers={"Authorization": "Bearer ann"})).status_code == 403


async def test_a_right_that_was_withdrawn_ends_a_live_reader(serve):
    board, allowed = Board(recheck=0.1), [True]

    def guard() -> None:
        if not allowed[0]:
            raise HTTPException(403)

    stream = board.live.stream("/watched", dependencies=[Depends(guard)])
    server = serve(board.app)
    async with new_client(server) as client:
        async with client.stream("GET", "/watched?offset=-1&live=sse") as response:
            lines = response.aiter_lines()
            await asyncio.to_thread(stream.blocking.append, 1)
            async for line in lines:
                if line.startswith("data:[1]"):
                    break
            allowed[0] = False
            async with asyncio.timeout(10):
                async for _ in lines:
                    pass
        assert (await client.get("/watched?offset=-1&live=sse")).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Cookie": "a=b"}, 403),
        ({"Cookie": "a=b", "Origin": "https://evil.test"}, 403),
        ({"Cookie": "a=b", "Origin": "null"}, 403),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}, 403),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "same-origin"}, 201),
        ({"Cookie": "a=b", "Origin": "https://page.test"}, 201),
        ({}, 201),
    ],
)
async def test_a_page_of_another_origin_cannot_write_with_the_users_cookies(serve, headers, status):
    server = serve(Board(allow_origins=["https://page.test"]).app)
    async with new_client(server) as client:
        assert (await client.put("/public/x", headers=headers)).status_code == status


async def test_a_page_of_an_allowed_origin_may_read_the_fields(serve):
    server = serve(Board(allow_origins=["https://page.test"]).app)
    async with new_client(server) as client:
        found = await client.get("/own/x", headers={"Origin": "https://page.test"})
        assert found.headers["access-control-allow-origin"] == "https://page.test"
        assert "stream-next-offset" in found.headers["access-control-expose-headers"]
        other = await client.get("/own/x", headers={"Origin": "https://evil.test"})
        assert "access-control-allow-origin" not in other.headers
        asked = {"Origin": "https://page.test", "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/public/x", headers=asked)
        assert "producer-id" in preflight.headers["access-control-allow-headers"]
        asked["Origin"] = "https://evil.test"
        assert "access-control-allow-origin" not in (await client.options("/public/x", headers=asked)).headers


# Limits


async def test_what_is_too_much_is_refused_and_nothing_of_it_stored(serve):
    board = Board(max_append=3 * MIB, max_append_items=10, max_append_depth=5)
    server = serve(board.app)
    async with new_client(server) as client:
        await client.put("/public/x")
        for body, status in [
            (json.dumps(list(range(11))).encode(), 413),
            (b'"' + b"x" * MAX_PAYLOAD + b'"', 413),
            (b"[[[[[[[1]]]]]]]", 400),
            (b'{"a":' * 6 + b"1" + b"}" * 6, 400),
            (b"[" * 100_000, 400),
            (b'"\xff"', 400),
            (b"NaN", 400),
            (b'"a\nb"', 400),
            (b'"\\ud800"', 400),
        ]:
            found = await client.post("/public/x", content=body, headers=JSON)
            assert (found.status_code, found.headers["content-type"]) == (status, "application/problem+json")
        assert (await client.get("/public/x")).json() == []
        deep = b"[[[[[[1]]]]]]"  # an array of one message that is five deep
        assert (await client.post("/public/x", content=deep, headers=JSON)).status_code == 204
        assert (await client.get("/public/x")).json() == [[[[[[1]]]]]]


async def endless():
    while True:
        yield b"x" * 500


@pytest.mark.parametrize("body", [b"x" * 1001, b"x" * MIB, endless()], ids=["1001", "MiB", "endless"])
async def test_a_body_that_is_too_long_is_not_waited_for(serve, body):
    server = serve(Board(max_append=1000).app)

    async with new_client(server) as client:
        await client.put("/any/x", headers={"Content-Type": "text/plain"})
        try:
            found = await client.post("/any/x", content=body, headers={"Content-Type": "text/plain"})
        except httpx2.TransportError:
            pass  # the server closes the connection beneath what we send
        else:
            assert found.status_code == 413
        assert (await client.get("/any/x")).content == b""


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain"])
async def test_a_long_body_is_one_append_of_several_items(client, kind):
    body = ("ü€" * MIB).encode()
    await client.put("/any/x", headers={"Content-Type": kind})
    assert (await client.post("/any/x", content=body, headers={"Content-Type": kind})).status_code == 204
    got, offset = b"", "-1"
    while True:
        found = await client.get(f"/any/x?offset={offset}")
        if kind == "text/plain":
            found.content.decode()  # no character is cut in two
        got += found.content
        offset = found.headers["stream-next-offset"]
        if "stream-up-to-date" in found.headers:
            break
    assert got == body


async def test_json_is_stored_as_it_was_written_on_one_line(client):
    body = b'[ {"n": 1.0,\r\n "big": 123456789012345678901234567890} ,\n "a\\nb" ]'
    await client.put("/public/x", content=body, headers=JSON)
    assert (await client.get("/public/x")).content == (
        b'[{"n": 1.0,   "big": 123456789012345678901234567890},"a\\nb"]'
    )


@pytest.mark.parametrize(
    ("method", "query", "headers", "status"),
    [
        ("GET", "?offset=%00", {}, 400),
        ("GET", "?offset=" + "a" * 300, {}, 400),
        ("GET", "?live=long-poll", {}, 400),
        ("GET", "?offset=-1&live=", {}, 400),
        ("GET", "?offset=-1&live=websocket", {}, 400),
        ("GET", "?offset=-1&live=sse&live=long-poll", {}, 400),
        ("GET", "?" + "a=1&" * 200, {}, 400),
        ("PUT", "", {"Content-Type": "nonsense"}, 400),
        ("PUT", "", {"Content-Type": "text/plain"}, 415),
        ("PUT", "", {"Stream-TTL": "9" * 40}, 400),
        ("PUT", "", {"Stream-Expires-At": "2026-13-01T00:00:00Z"}, 400),
        ("PUT", "", {"Stream-Expires-At": "0001-01-01T00:00:00+14:00"}, 400),
        ("PUT", "", {"Stream-Expires-At": "tomorrow"}, 400),
        ("PUT", "", {"Stream-Forked-From": "/public/y"}, 501),
        ("POST", "", {**JSON, "Producer-Id": "a", "Producer-Epoch": "9" * 20, "Producer-Seq": "0"}, 400),
        ("POST", "", {**JSON, "Producer-Id": "a" * 300, "Producer-Epoch": "0", "Producer-Seq": "0"}, 400),
        ("POST", "", {**JSON, "Stream-Seq": "a" * 300}, 400),
        ("POST", "", {**JSON, "Stream-Seq": ""}, 400),
        ("PATCH", "", {}, 405),
    ],
)
async def test_wrong_input_is_answered_with_what_was_expected(client, method, query, headers, status):
    await client.put("/public/there")
    path = "/public/new" if method == "PUT" else "/public/there"
    content = b"[1]" if method == "POST" else b""
    found = await client.request(method, path + query, headers=headers, content=content)
    assert found.status_code == status
    if status != 405:
        assert found.headers["content-type"] == "application/problem+json"
        assert found.headers["cache-control"] == "no-store"
    assert (await client.get("/public/new")).status_code == 404
    assert (await client.get("/public/there")).json() == []


# Caching


async def test_reads_are_private_unless_the_stream_is_public(board, client):
    await asyncio.to_thread(board.own.blocking.append, 1, name="x")
    for query in ("", "?offset=-1", "?offset=now"):
        assert (await client.get(f"/own/x{query}")).headers["cache-control"] in {
            "private, no-cache",
            "no-store",
        }
    poll = await client.get("/own/x?offset=-1&live=long-poll")
    assert poll.headers["cache-control"] == "no-store"
    assert (await client.head("/own/x")).headers["cache-control"] == "no-store"


async def test_pages_of_a_public_stream_that_are_full_never_change(serve):
    board = Board(stream_page=2)
    server = serve(board.app)
    async with new_client(server) as client:
        await client.put("/public/x", content=b"[1,2,3,4,5]", headers=JSON)
        first = await client.get("/public/x")
        assert (first.json(), first.headers["cache-control"]) == (
            [1, 2],
            "public, max-age=60, stale-while-revalidate=300",
        )
        second = await client.get(f"/public/x?offset={first.headers['stream-next-offset']}")
        assert (second.json(), second.headers["cache-control"]) == (
            [3, 4],
            "public, max-age=31536000, immutable",
        )
        assert "stream-up-to-date" not in second.headers
        last = await client.get(f"/public/x?offset={second.headers['stream-next-offset']}")
        assert (last.json(), last.headers["cache-control"]) == (
            [5],
            "public, max-age=60, stale-while-revalidate=300",
        )
        await client.put("/short/x", content=b"[1,2,3,4,5]", headers=JSON)
        first = await client.get("/short/x")
        second = await client.get(f"/short/x?offset={first.headers['stream-next-offset']}")
        assert "immutable" not in second.headers["cache-control"]


async def test_a_tag_changes_with_items_closure_and_life(client):
    await client.put("/public/x", content=b"[1]", headers=JSON)
    tags = []
    for change in (
        lambda: client.get("/public/x"),
        lambda: client.post("/public/x", content=b"2", headers=JSON),
        lambda: client.post("/public/x", headers={"Stream-Closed": "true"}),
        lambda: client.delete("/public/x"),
    ):
        await change()
        await client.put("/public/x", content=b"[1]", headers=JSON)
        found = await client.get("/public/x", headers={"If-None-Match": ", ".join(tags) or '"x"'})
        assert found.status_code == 200
        tags.append(found.headers["etag"])
        known = await client.get("/public/x", headers={"If-None-Match": f'W/{tags[-1]}, "y"'})
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["stream-next-offset"] == found.headers["stream-next-offset"]
    assert len(set(tags)) == 4


async def test_an_offset_that_is_too_old_or_of_another_life_is_told_as_such(board, client):
    for number in range(300):
        await asyncio.to_thread(board.kept.blocking.append, number, name="x")
        if not number:
            old = (await asyncio.to_thread(board.kept.blocking.info, name="x")).offset
    found = await client.get(f"/kept/x?offset={old}")
    assert (found.status_code, found.json()["title"]) == (410, "The offset is too old")
    assert (await client.get(f"/kept/x?offset={old}&live=long-poll")).status_code == 410
    assert (await client.get(f"/kept/x?offset={old}&live=sse")).status_code == 410
    assert (await client.get("/kept/x")).json()[-1] == 299
    await asyncio.to_thread(board.kept.blocking.delete, name="x")
    await asyncio.to_thread(board.kept.blocking.append, 1, name="x")
    found = await client.get(f"/kept/x?offset={old}")
    assert found.status_code == 400
    assert "-1" in found.json()["detail"]


async def test_a_declared_ttl_is_the_longest_that_a_client_may_ask_for(client):
    made = await client.put("/short/x")
    assert made.headers["stream-ttl"] == "50"
    assert (await client.put("/short/y", headers={"Stream-TTL": "51"})).status_code == 400
    later = {"Stream-Expires-At": "2100-01-01T00:00:00Z"}
    assert (await client.put("/short/y", headers=later)).status_code == 400
    assert (await client.put("/short/y", headers={"Stream-TTL": "49"})).status_code == 201


# Live reading


async def test_a_long_poll_whose_client_has_gone_is_over(board, client):
    polls = board.live.streams.service.polls
    leaving = asyncio.create_task(client.get("/own/x?offset=-1&live=long-poll&timeout=60"))
    while not polls:
        await asyncio.sleep(0.01)
    leaving.cancel()
    while polls:
        await asyncio.sleep(0.01)


async def test_live_readers_are_sent_away_when_the_server_stops(spawn: Spawn):
    server = spawn("streams.stream_apps:app")
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as client:
        made = await client.put("/v1/stream/x", headers=JSON)
        offset = made.headers["stream-next-offset"]
        async with client.stream("GET", f"/v1/stream/x?offset={offset}&live=sse") as response:
            lines = response.aiter_lines()
            async for line in lines:
                if "upToDate" in line:
                    break
            poll = asyncio.create_task(client.get(f"/v1/stream/x?offset={offset}&live=long-poll&timeout=60"))
            while not (await client.get("/polls")).json():
                await asyncio.sleep(0.01)
            async with asyncio.timeout(10):
                server.signal()
                rest = [line async for line in lines]
        assert any(line.startswith("retry:") for line in rest)
        assert (await poll).status_code == 204
    assert await asyncio.to_thread(server.wait) in {0, -15}


async def test_an_address_has_only_so_many_long_polls(serve):
    board = Board(max_connections=2)
    server = serve(board.app)
    async with new_client(server) as client:
        polls = [asyncio.create_task(client.get("/own/x?offset=-1&live=long-poll&timeout=60")) for _ in "ab"]
        while board.live.streams.service.polls.total() < 2:
            await asyncio.sleep(0.01)
        refused = await client.get("/own/x?offset=-1&live=long-poll")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        await asyncio.to_thread(board.own.blocking.append, 1, name="x")
        assert [(await poll).json() for poll in polls] == [[1], [1]]


async def test_an_event_stream_resumes_by_its_last_event_id(board, client):
    first = await asyncio.to_thread(board.own.blocking.append, 1, name="x")
    await asyncio.to_thread(board.own.blocking.append, 2, name="x")
    await asyncio.to_thread(board.own.blocking.close, name="x")
    whole = (await client.get("/own/x?offset=-1&live=sse")).text
    assert "data:[1,2]" in whole
    assert '"streamClosed":true' in whole
    rest = await client.get("/own/x?offset=-1&live=sse", headers={"Last-Event-ID": first})
    assert "data:[2]" in rest.text
    assert "data:[1" not in rest.text
    assert rest.headers["x-content-type-options"] == "nosniff"


async def test_a_write_changes_no_resource_and_a_read_gets_no_validator_of_ours(board, client, monkeypatch):
    heard: list[Any] = []
    monkeypatch.setattr(board.live, "announce", heard.append)
    await client.put("/public/x", content=b"[1]", headers=JSON)
    await client.post("/public/x", content=b"[1]", headers=JSON)
    await client.delete("/public/x")
    assert heard == []
    found = await client.get("/own/x")
    assert "link" not in found.headers
    assert not found.headers["etag"].startswith('"r-')


async def test_streams_below_a_root_path(serve):
    board = Board()
    server = serve(board.app, root_path="/api")
    async with new_client(server) as client:
        made = await client.put("/public/x", content=b"[1]", headers=JSON)
        assert made.headers["location"] == f"{server.url}/api/public/x"
        assert (await client.get("/public/x")).json() == [1]
        await asyncio.to_thread(board.public.blocking.close, name="x")
        found = await client.get("/public/x?offset=-1&live=sse")
        assert "data:[1]" in found.text


async def test_streams_beside_an_app_that_is_not_fastapi(serve):
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"other"})

    live = Restive(other, **FAST)
    stream = live.stream("/log")
    server = serve(live, lifespan="off")
    async with new_client(server) as client:
        await asyncio.to_thread(stream.blocking.append, 1)
        assert (await client.get("/log")).json() == [1]
        assert (await client.get("/log/more")).text == "other"


def test_the_openapi_document_is_valid():
    from openapi_spec_validator import validate

    document = Board().app.openapi()
    validate(document)
    assert set(document["paths"]["/public/{name}"]) == {"get", "put", "post", "delete"}
    assert set(document["paths"]["/own/{name}"]) == {"get"}
    assert document["paths"]["/rooms/{room}/messages"]["get"]["tags"] == ["rooms"]
