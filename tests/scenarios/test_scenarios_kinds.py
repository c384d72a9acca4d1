"""What a look may answer (the table of the design): text, nothing, bytes, too much, final, moved, absent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jsonpatch
import pytest

from apps import kinds
from scenarios.servers import FAST, Serve, ThreadServer
from scenarios.watches import (
    LONG_POLLS,
    PUSHING,
    WAYS,
    Client,
    Current,
    End,
    Fetch,
    Patch,
    SocketWatch,
    State,
    watch,
)

_names = (f"n{i}" for i in itertools.count())
pushing = pytest.mark.parametrize("way", PUSHING)
SSE = ["sse-query", "sse-header"]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, kinds.Shelf]]:
    app, _, shelf = kinds.make(**FAST, max_representation=10_000)
    server = ThreadServer(app)
    yield server, shelf
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, kinds.Shelf]) -> ThreadServer:
    return running[0]


@pytest.fixture
def shelf(running: tuple[ThreadServer, kinds.Shelf]) -> kinds.Shelf:
    return running[1]


@pytest.fixture
def name() -> str:
    return next(_names)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["texts", "xml"])
async def test_text(
    way: str, kind: str, server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    """Text arrives as it is, with its line ends, its blank lines and its last newline."""
    target, old, new = f"/{kind}/{name}", "a\nb\n\n c: d\n", "data: x\n\nid: 7\n☃"
    shelf.texts[name] = old
    async with watch(way, server.url, target) as watching:
        assert (await watching.next()).data == (old if kind == "texts" else f"<text>{old}</text>")
        await http.put(server.url + target, content=new.encode())
        event = await watching.next()
    got = await http.get(server.url + target)
    assert event == State(got.headers["etag"], got.text)


@pushing
async def test_json_is_data_and_text_is_text(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str
) -> None:
    """A text that happens to be JSON stays text in the socket's objects."""
    shelf.texts[name] = '{"a": 1}'
    async with watch(way, server.url, f"/texts/{name}") as watching:
        event = await watching.next()
    assert event.data == ({"a": 1} if way in SSE else '{"a": 1}')  # an event stream does not tell them apart


@pushing
async def test_nothing_is_a_state(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    """A 204 is an empty state; content may follow and go again."""
    shelf.texts[name], target = "", f"/texts/{name}"
    async with watch(way, server.url, target) as watching:
        event = await watching.next()
        assert isinstance(event, State)
        assert event.data in {None, ""}
        await http.put(server.url + target, content=b"full")
        assert (await watching.next()).data == "full"
        await http.put(server.url + target, content=b"")
        assert (await watching.next()).data in {None, ""}


@pushing
@pytest.mark.parametrize("kind", ["bytes", "large"])
async def test_bytes_and_too_large_are_to_be_fetched(
    way: str, kind: str, server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    shelf.bytes[name], target = b"\x00\xffone", f"/{kind}/{name}"
    async with watch(way, server.url, target) as watching:
        first = await watching.next()
        assert isinstance(first, Fetch), first
        await http.put(server.url + target, content=b"\x00\xfftwo")
        second = await watching.next()
        assert isinstance(second, Fetch), second
        assert first.etag != second.etag
        assert b"two" not in watching.raw
        assert len(watching.raw) < 1000


@pushing
async def test_large_of_unknown_tag_is_told_when_announced(way: str, serve: Serve, http: Client) -> None:
    """Too large to be read and without a tag of its own: each announcement says fetch, a recheck does not."""
    app, _, shelf = kinds.make(**FAST, max_representation=100)
    shelf.results["big"] = {"text": "x" * 5000}
    server = serve(app)
    async with watch(way, server.url, "/results/big") as watching:
        assert isinstance(await watching.next(), Fetch)
        await http.put(server.url + "/results/big", json={"text": "y" * 5000})
        assert isinstance(await watching.next(), Fetch)


@pytest.mark.parametrize("way", LONG_POLLS)
async def test_long_poll_gives_bytes_as_they_are(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str
) -> None:
    shelf.bytes[name] = bytes(range(256))
    async with watch(way, server.url, f"/bytes/{name}") as watching:
        await watching.next()
        assert watching.raw == bytes(range(256))


@pushing
async def test_final_at_the_start(way: str, server: ThreadServer, shelf: kinds.Shelf, name: str) -> None:
    shelf.results[name] = {"done": True}
    shelf.sealed.add(name)
    async with watch(way, server.url, f"/results/{name}") as watching:
        assert (await watching.next()).data == {"done": True}
        assert await watching.next() == End(200, {"status": 200})


@pushing
async def test_final_while_watched(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    shelf.results[name], target = {"done": False}, f"/results/{name}"
    async with watch(way, server.url, target) as watching:
        await watching.next()
        await http.put(server.url + target + "?sealed=true", json={"done": True})
        assert (await watching.next()).data == {"done": True}
        assert await watching.next() == End(200, {"status": 200})


@pytest.mark.parametrize("way", [*SSE, "ndjson-query", "ndjson-header"])
async def test_final_stops_an_event_source(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str
) -> None:
    """After the end the response is over; a reconnect with the tag is answered 204."""
    shelf.results[name], target = {"done": True}, f"/results/{name}"
    shelf.sealed.add(name)
    async with watch(way, server.url, target) as watching:
        await watching.end()
        with pytest.raises(ConnectionError):
            await watching.next()
    async with watch(way, server.url, target, etag=watching.etag) as again:
        assert again.response is not None
        assert again.response.status_code == 204


@pushing
async def test_moved_at_the_start(way: str, server: ThreadServer, shelf: kinds.Shelf, name: str) -> None:
    shelf.moved[name] = "/results/elsewhere"
    async with watch(way, server.url, f"/results/{name}") as watching:
        event = await watching.next()
    assert isinstance(event, End)
    assert (event.status, event.document["location"]) == (307, "/results/elsewhere")


@pushing
async def test_moved_while_watched(
    way: str, server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    shelf.results[name], target = {"done": False}, f"/results/{name}"
    async with watch(way, server.url, target) as watching:
        await watching.next()
        shelf.moved[name] = "/results/elsewhere"
        event = await watching.end()
    assert (event.status, event.document["location"]) == (307, "/results/elsewhere")


@pushing
async def test_the_problem_of_the_app_is_what_ends_a_watch(way: str, server: ThreadServer, name: str) -> None:
    async with watch(way, server.url, f"/results/{name}") as watching:
        event = await watching.end()
    assert event.status == 404
    assert "Not Found" in str(event.document)


@pushing
async def test_absent_waits(way: str, serve: Serve, http: Client) -> None:
    """With absent="wait" a resource may come and go, and the watch lives on."""
    app, _, _ = kinds.make(**FAST, absent="wait")
    server = serve(app)
    async with watch(way, server.url, "/results/later") as watching:
        if way != "websocket":
            assert watching.response is not None
            assert watching.response.status_code == 200
        await http.put(server.url + "/results/later", json={"n": 1})
        await watching.state({"n": 1})
        await http.delete(server.url + "/results/later")
        gone = await watching.next()
        assert isinstance(gone, State)
        await http.put(server.url + "/results/later", json={"n": 2})
        await watching.state({"n": 2})


class PatchWatch(SocketWatch):
    patch = True


async def test_patch_on_the_socket(server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client) -> None:
    """A small change of a large document comes as a patch on exactly what was sent before."""
    document: dict[str, Any] = {"lines": [f"line {i}" for i in range(200)], "n": 0}
    shelf.results[name], target = document, f"/results/{name}"
    async with PatchWatch(server.url, target, None, {}) as watching:
        first = await watching.next()
        assert isinstance(first, State)
        held, tag = first.data, first.etag
        for n in range(1, 4):
            changed = {
                "lines": [*document["lines"][: 10 * n], "new", *document["lines"][10 * n + 1 :]],
                "n": n,
            }
            await http.put(server.url + target, json=changed)
            event = await watching.next()
            assert isinstance(event, Patch), event
            assert event.base == tag
            held, tag = jsonpatch.apply_patch(held, event.ops), event.etag
            assert held == changed
    assert tag == (await http.get(server.url + target)).headers["etag"]


async def test_patch_is_not_sent_where_it_is_larger(
    server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    shelf.results[name], target = {"a": 1}, f"/results/{name}"
    async with PatchWatch(server.url, target, None, {}) as watching:
        await watching.next()
        await http.put(server.url + target, json={"b": 2})
        assert (await watching.next()).data == {"b": 2}


async def test_nobody_gets_a_patch_who_did_not_ask(
    server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    """Two watchers of one rendering, one with patch: each gets the form it asked for."""
    document = {"lines": [f"line {i}" for i in range(200)], "n": 0}
    shelf.results[name], target = document, f"/results/{name}"
    async with (
        PatchWatch(server.url, target, None, {}) as patched,
        SocketWatch(server.url, target, None, {}) as plain,
    ):
        await patched.next()
        await plain.next()
        await http.put(server.url + target, json={**document, "n": 1})
        assert isinstance(await patched.next(), Patch)
        assert (await plain.next()).data == {**document, "n": 1}


async def test_resume_on_the_socket_with_patch_asked(
    server: ThreadServer, shelf: kinds.Shelf, name: str, http: Client
) -> None:
    """A tag of the past is answered by something complete, or by a patch on that very tag."""
    shelf.results[name], target = {"lines": ["x" * 500], "n": 0}, f"/results/{name}"
    etag = (await http.get(server.url + target)).headers["etag"]
    await http.put(server.url + target, json={"lines": ["x" * 500], "n": 1})
    async with PatchWatch(server.url, target, etag, {}) as watching:
        event = await watching.next()
        assert isinstance(event, State) or (isinstance(event, Patch) and event.base == etag)
    async with PatchWatch(server.url, target, watching.etag, {}) as watching:
        assert isinstance(await watching.next(), Current)
