"""Following a stream over every transport, on both kinds of server, and with the Python client."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException

from restive import Restive, Stream
from restive.client import AsyncClient, Client, Policy
from restive.client.following import Reading
from restive.errors import Unreachable, WatchEnded
from restive.wire.sse import Parser
from scenarios.servers import FAST, FAST_PATH, ThreadServer
from scenarios.sockets import Socket
from scenarios.waiting import until

QUICK = Policy(backoff=0.02, most_backoff=0.1, connect_within=10)


@dataclass
class Chat:
    """An app with streams, whose readers are all but the banned."""

    app: FastAPI
    messages: Stream
    live: Restive
    banned: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


def make(**settings: Any) -> Chat:
    app = FastAPI()
    live = Restive(app, **{**FAST, **settings})

    def member(token: str = "nobody") -> None:
        chat.asked.append(token)
        if token in chat.banned:
            raise HTTPException(403, "You are banned.")

    messages = live.stream("/rooms/{room}/messages", dependencies=[Depends(member)])
    live.stream("/files/{name}", writable=True, content_type="*/*")
    live.stream("/few", keep=2)

    @app.get("/plain")
    def plain() -> dict[str, int]:
        return {"n": 1}

    chat = Chat(app, messages, live)
    return chat


@pytest.fixture(scope="module", params=["asgi", "fast"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[ThreadServer, Chat]]:
    chat = make()
    server = ThreadServer(chat.app, **(FAST_PATH if request.param == "fast" else {}))
    yield server, chat
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, Chat]) -> ThreadServer:
    return running[0]


@pytest.fixture
def chat(running: tuple[ThreadServer, Chat]) -> Chat:
    running[1].banned.clear()
    return running[1]


rooms = iter(range(10**6))


@pytest.fixture
def room() -> int:
    return next(rooms)


def at(room: int) -> str:
    return f"/rooms/{room}/messages"


def say(chat: Chat, room: int, *items: Any) -> str:
    """Append from this thread."""
    return chat.messages.blocking.append_many(items, room=room)


async def items(socket: Socket, on: str, count: int) -> list[Any]:
    """The next ``count`` items of one stream on a socket."""
    found: list[Any] = []
    while len(found) < count:
        frame = await socket.frame()
        assert frame["on"] == on, frame
        found += frame["items"]
    return found


# The socket


async def test_items_come_from_the_start_and_as_they_are_appended(
    server: ThreadServer, chat: Chat, room: int
):
    say(chat, room, {"n": 0}, {"n": 1})
    async with Socket(server) as socket:
        first = await socket.ask({"watch": at(room)})
        assert (first["on"], first["items"]) == (at(room), [{"n": 0}, {"n": 1}])
        say(chat, room, {"n": 2})
        more = await socket.frame()
        assert more["items"] == [{"n": 2}]
        assert more["offset"] > first["offset"]


async def test_a_cursor_resumes_over_any_transport(server: ThreadServer, chat: Chat, room: int):
    say(chat, room, "a")
    async with Socket(server) as socket:
        offset = (await socket.ask({"watch": at(room)}))["offset"]
    say(chat, room, "b")
    async with Socket(server) as socket:
        again = await socket.ask({"watch": at(room), "offset": offset})
        assert again["items"] == ["b"]
    async with httpx2.AsyncClient(base_url=server.url) as http:
        page = await http.get(at(room), params={"offset": offset})
        assert page.json() == ["b"]
        assert page.headers["stream-next-offset"] == again["offset"]
        polled = await http.get(at(room), params={"offset": offset, "live": "long-poll"})
        assert (polled.json(), polled.headers["stream-next-offset"]) == (["b"], again["offset"])
        assert await first_event(http, at(room), {"offset": offset}) == ["b"]
        # An EventSource repeats its URL, and names what it had beside it.
        headers = {"last-event-id": offset}
        assert await first_event(http, at(room), {"offset": "-1"}, headers) == ["b"]


async def first_event(
    http: httpx2.AsyncClient, path: str, query: dict[str, str], headers: dict[str, str] | None = None
) -> Any:
    """The data of the first event of a live read."""
    parser = Parser()
    async with http.stream("GET", path, params={**query, "live": "sse"}, headers=headers or {}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for chunk in response.aiter_bytes():
            for event in parser.feed(chunk):
                if event.name == "data":
                    return json.loads(event.data)
    raise AssertionError("there was no event")


async def test_one_socket_carries_streams_and_resources(server: ThreadServer, chat: Chat):
    here, there = next(rooms), next(rooms)
    say(chat, here, 1)
    say(chat, there, 2)
    async with Socket(server) as socket:
        for target in (at(here), at(there), "/plain"):
            await socket.send({"watch": target})
        frames = {frame["on"]: frame for frame in [await socket.frame() for _ in range(3)]}
        assert frames[at(here)]["items"] == [1]
        assert frames[at(there)]["items"] == [2]
        assert frames["/plain"]["data"] == {"n": 1}
        await socket.send({"unwatch": at(here)})
        assert (await socket.ask({"watch": "/plain", "etag": '"x"'}))["on"] == "/plain"
        say(chat, here, 3)
        say(chat, there, 4)
        assert (await socket.frame())["items"] == [4]


async def test_now_is_the_end_and_says_where_that_is(server: ThreadServer, chat: Chat, room: int):
    end = say(chat, room, "old")
    async with Socket(server) as socket:
        first = await socket.ask({"watch": at(room), "offset": "now"})
        assert (first["items"], first["offset"]) == ([], end)
        say(chat, room, "new")
        assert await items(socket, at(room), 1) == ["new"]


async def test_a_closed_stream_says_so_behind_its_last_item(server: ThreadServer, chat: Chat, room: int):
    say(chat, room, 1)
    async with Socket(server) as socket:
        await socket.ask({"watch": at(room)})
        chat.messages.blocking.close(room=room)
        frames = [await socket.frame()]
        while "closed" not in frames[-1]:
            frames.append(await socket.frame())
        assert frames[-1] == {"on": at(room), "closed": True}
        assert [item for frame in frames[:-1] for item in frame["items"]] == []
        # It is over, so that it can be watched anew.
        assert (await socket.ask({"watch": at(room)}))["items"] == [1]
        assert await socket.frame() == {"on": at(room), "closed": True}


async def test_many_items_come_once_and_in_order_while_they_are_written(
    server: ThreadServer, chat: Chat, room: int
):
    expected = [{"n": n, "filling": "x" * 500} for n in range(1500)]
    say(chat, room, *expected[:1000])

    async def write() -> None:
        for n in range(1000, 1500, 50):
            await asyncio.to_thread(say, chat, room, *expected[n : n + 50])

    async def read() -> list[Any]:
        async with Socket(server) as socket:
            await socket.send({"watch": at(room)})
            return await items(socket, at(room), 1500)

    *got, _ = await asyncio.gather(read(), read(), read(), write())
    assert all(each == expected for each in got)


async def test_bytes_come_as_base64_and_text_as_text(server: ThreadServer):
    async with httpx2.AsyncClient(base_url=server.url) as http:
        for name, kind, body in (
            ("b", "application/octet-stream", b"\0\xff"),
            ("t", "text/plain", b"h\xc3\xa9"),
        ):
            created = await http.put(f"/files/{name}", content=body, headers={"content-type": kind})
            assert created.status_code == 201
    async with Socket(server) as socket:
        coded = await socket.ask({"watch": "/files/b"})
        assert (coded["encoding"], coded["items"]) == ("base64", ["AP8="])
        text = await socket.ask({"watch": "/files/t"})
        assert ("encoding" in text, text["items"]) == (False, ["hé"])


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"etag": '"x"'}, "its cursor is `offset`"),
        ({"offset": "no such"}, "Stream-Next-Offset"),
        ({"offset": "x" * 300}, "Stream-Next-Offset"),
    ],
)
async def test_a_wrong_cursor_is_refused_with_what_to_do(
    frame: dict[str, str], says: str, server: ThreadServer, chat: Chat, room: int
):
    say(chat, room, 1)
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": at(room), **frame})
        problem = answer["error"] if "error" in answer else answer["end"]
        assert problem["status"] == 400
        assert says in problem["detail"]
        assert (await socket.ask({"watch": "/plain"}))["data"] == {"n": 1}


async def test_a_resource_has_no_offset(server: ThreadServer):
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": "/plain", "offset": "-1"})
        assert (answer["error"]["status"], answer["on"]) == (400, "/plain")


async def test_an_offset_that_is_too_old_is_told_as_such(server: ThreadServer, chat: Chat):
    few = chat.live.streams
    assert few is not None
    stream = Stream(few.service, few.match("/few"))
    first = stream.blocking.append(0)
    for n in range(1, 1500):
        stream.blocking.append(n)
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": "/few", "offset": first})
        assert answer["end"]["status"] == 410
        kept = (await socket.ask({"watch": "/few"}))["items"]
        assert kept[-1] == 1499
        assert kept == list(range(kept[0], 1500))


# The right to read


async def test_who_may_not_read_is_refused_on_every_transport(server: ThreadServer, chat: Chat, room: int):
    say(chat, room, "secret")
    chat.banned.add("eve")
    target = at(room) + "?token=eve"
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": target})
        assert (answer["on"], answer["end"]["status"]) == (target, 403)
    async with httpx2.AsyncClient(base_url=server.url) as http:
        for live in ("", "&offset=-1&live=sse", "&offset=-1&live=ndjson", "&offset=-1&live=long-poll"):
            refused = await http.get(target + live)
            assert (refused.status_code, b"secret" in refused.content) == (403, False)
        told = await http.get("/-/live", params={"live": "ndjson", "watch": target})
        assert '"status":403' in told.text
        assert "secret" not in told.text


async def test_a_right_that_is_withdrawn_ends_the_watch(server: ThreadServer, chat: Chat, room: int):
    target = at(room) + "?token=bob"
    say(chat, room, 1)
    async with Socket(server) as socket:
        await socket.ask({"watch": target})
        chat.banned.add("bob")
        answer = await socket.frame()
        assert (answer["on"], answer["end"]["status"]) == (target, 403)
    async with httpx2.AsyncClient(base_url=server.url) as http:
        chat.banned.clear()
        parser, names = Parser(), []
        async with http.stream(
            "GET", target, params={"token": "bob", "offset": "-1", "live": "sse"}
        ) as response:
            async for chunk in response.aiter_bytes():
                names += [event.name for event in parser.feed(chunk)]
                chat.banned.add("bob")
    assert names[-1] == "end"


async def test_readers_with_the_same_request_cost_one_look(server: ThreadServer, chat: Chat, room: int):
    target = at(room) + "?token=crowd"
    say(chat, room, 1)
    async with Socket(server) as first:
        await first.ask({"watch": target})
        before = chat.asked.count("crowd")
        sockets = [Socket(server) for _ in range(20)]
        for socket in sockets:
            await socket.__aenter__()
            assert (await socket.ask({"watch": target}))["items"] == [1]
        # Rechecks come every half second here; no look is made for a reader of its own.
        assert chat.asked.count("crowd") - before < 10
        for socket in sockets:
            await socket.connection.close()


async def test_deleting_it_ends_its_readers(server: ThreadServer, chat: Chat, room: int):
    say(chat, room, 1)
    async with Socket(server) as socket:
        await socket.ask({"watch": at(room)})
        assert chat.messages.blocking.delete(room=room)
        assert (await socket.frame())["end"]["status"] == 410


async def test_an_append_announces_no_resource(server: ThreadServer, chat: Chat):
    async with httpx2.AsyncClient(base_url=server.url) as http:
        await http.put("/files/quiet", headers={"content-type": "application/json"})
        async with Socket(server) as socket:
            await socket.ask({"watch": "/plain"})
            hub = next(iter(chat.live._hubs.values()))
            announced: list[Any] = []
            hub.announce = announced.append  # type: ignore[method-assign,assignment]
            try:
                done = await http.post("/files/quiet", json={"n": 1})
            finally:
                del hub.announce
            assert done.status_code == 204
            assert announced == []


# Many on one response, and lines


async def test_lines_of_one_and_of_many(server: ThreadServer, chat: Chat, room: int):
    offset = say(chat, room, 1)
    say(chat, room, 2)

    async def lines(path: str, **request: Any) -> list[Any]:
        found: list[Any] = []
        async with http.stream(request.pop("method", "GET"), path, **request) as response:
            async for line in response.aiter_lines():
                found += [json.loads(line)] if line.strip() else []
                if len(found) == wanted:
                    return found
        raise AssertionError(found)

    async with httpx2.AsyncClient(base_url=server.url) as http:
        wanted = 1
        (one,) = await lines(at(room), params={"live": "ndjson", "offset": offset})
        assert (one["on"], one["items"]) == (at(room), [2])
        wanted = 2
        frames = "\n".join(
            json.dumps(each) for each in ({"watch": at(room), "offset": offset}, {"watch": "/plain"})
        )
        both = await lines("/-/live", method="POST", params={"live": "ndjson"}, content=frames)
        assert {each["on"]: each.get("items", each.get("data")) for each in both} == {
            at(room): [2],
            "/plain": {"n": 1},
        }


# The client


@pytest.mark.parametrize("transport", ["auto", "sse", "long-poll"])
async def test_the_client_follows(transport: str, server: ThreadServer, chat: Chat, room: int):
    say(chat, room, *range(5))
    async with AsyncClient(server.url, policy=QUICK) as client:
        follow = client.follow(at(room), transport=transport)
        got = [await anext(follow) for _ in range(5)]
        say(chat, room, 5, 6)
        got += [await anext(follow) for _ in range(2)]
        assert got == list(range(7))
        chat.messages.blocking.close(room=room)
        assert [item async for item in follow] == []
        resumed = client.follow(at(room), offset=follow.offset)
        assert [item async for item in resumed] == []


def test_the_client_without_await(server: ThreadServer, chat: Chat, room: int):
    say(chat, room, *range(3))
    chat.messages.blocking.close(room=room)
    with Client(server.url, policy=QUICK) as client:
        follow = client.follow(at(room))
        assert next(follow) == 0
        assert list(follow) == [1, 2]
        batches = list(client.follow(at(room)).batches())
        assert [item for batch in batches for item in batch.items] == [0, 1, 2]
        assert batches[-1].closed
        assert list(client.follow(at(room), offset=batches[-1].offset)) == []


async def test_the_client_is_told_why_it_ends(server: ThreadServer, chat: Chat, room: int):
    chat.banned.add("eve")
    async with AsyncClient(server.url, policy=QUICK) as client:
        with pytest.raises(WatchEnded) as ended:
            await anext(client.follow(at(room) + "?token=eve"))
        assert ended.value.problem.status == 403
        with pytest.raises(WatchEnded) as ended:
            await anext(client.follow("/files/none"))
        assert ended.value.problem.status == 404
        with pytest.raises(ValueError, match="transport="):
            client.follow(at(room), transport="websocket")


async def test_the_client_gives_up_where_nobody_answers():
    async with AsyncClient("http://127.0.0.1:9", policy=Policy(backoff=0.01), connect_within=0.1) as client:
        with pytest.raises(Unreachable):
            await anext(client.follow("/x"))


@pytest.mark.parametrize("cut", [False, True], ids=["ended", "cut"])
async def test_a_stream_that_ends_at_once_is_not_asked_over_and_over(cut: bool):
    """As behind a proxy that ends every event stream: each begins well, and then nothing comes."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode().split(" ")[1])
        fields = {"Stream-Next-Offset": "1", "Connection": "close", "Stream-Up-To-Date": "true"}
        body = b"[]"
        if "live=sse" in asked[-1]:
            fields |= {"Content-Type": "text/event-stream"}
            body = b'event: control\ndata: {"streamNextOffset": "1", "upToDate": true}\n\n'
        else:
            fields |= {"Content-Type": "application/json"}
        size = {"Content-Length": str(len(body) + cut)} if "live" in asked[-1] else {"Content-Length": "2"}
        lines = [f"{name}: {value}" for name, value in (fields | size).items()]
        writer.write("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode() + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        policy = Policy(backoff=0.2, most_backoff=30)
        async with AsyncClient(f"http://127.0.0.1:{port}", policy=policy) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(client.follow("/x")), 3)
    assert 3 < len(asked) < 20


async def test_the_best_kind_of_read_is_tried_again_later():
    reading = Reading(Policy(better_after=60), "5", mode="sse")
    reading.silent(100.0, 0.5)
    assert (reading.mode, reading.parameters()["timeout"]) == ("long-poll", "30")
    reading.begin(159.0)
    assert reading.mode == "long-poll"
    reading.begin(161.0)
    assert reading.mode == "sse"
    reading.silent(161.0, 0.5)
    reading.begin(161.0 + 100)
    assert reading.mode == "long-poll", "the second time it takes twice as long"


async def test_the_client_reads_each_item_once_through_restarts(tmp_path: Path):
    chat = make(backend=f"sqlite:///{tmp_path}/chat.db")
    server = ThreadServer(chat.app)
    got: list[int] = []

    async def read() -> None:
        async with AsyncClient(server.url, policy=QUICK) as client:
            async for batch in client.follow(at(0)).batches():
                got.extend(batch.items)

    reader = asyncio.create_task(read())
    for n in range(30):
        await asyncio.to_thread(say, chat, 0, n)
        if n % 10 == 5:
            least = n - 5
            await until(lambda: bool(got) and got[-1] > least)  # noqa: B023 - it is asked at once
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
    chat.messages.blocking.close(room=0)
    async with asyncio.timeout(20):
        await reader
    await asyncio.to_thread(server.stop)
    assert got == list(range(30))


ELSEWHERE = """
import sys
from fastapi import FastAPI
from restive import Restive
live = Restive(FastAPI(), backend=sys.argv[1])
live.stream("/rooms/{room}/messages").blocking.append(sys.argv[2], room=0)
live.backend.close()
"""


async def test_a_long_poll_alone_hears_of_appends_in_another_process(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/chat.db"
    chat = make(backend=url, recheck=60, wait=20)
    server = ThreadServer(chat.app)
    offset = await asyncio.to_thread(say, chat, 0, "first")
    try:
        async with httpx2.AsyncClient(base_url=server.url, timeout=20) as http:
            waiting = asyncio.create_task(http.get(at(0), params={"offset": offset, "live": "long-poll"}))
            await until(lambda: chat.live._subscription is not None)
            other = await asyncio.create_subprocess_exec(sys.executable, "-c", ELSEWHERE, url, "second")
            assert await other.wait() == 0
            async with asyncio.timeout(10):
                assert (await waiting).json() == ["second"]
            await until(lambda: chat.live._subscription is None)
    finally:
        await asyncio.to_thread(server.stop)
