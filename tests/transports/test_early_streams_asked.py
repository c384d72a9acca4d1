"""Who may have a stream, and whether what is held will do, is asked each time; what the bytes do not say is
never known by them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from restive import Restive
from restive.http.invalidation import Change
from scenarios.servers import Serve
from scenarios.waiting import until
from transports.bare_client import request
from transports.early_board import (
    FIELDS,
    PUBLIC,
    QUIET,
    SAME,
    Board,
    Early,
    Reader,
    all_gone,
    asking,
    bare,
    bearer,
    known,
    reading,
    start,
)
from transports.test_early_reads import Own, Stamp


@pytest.fixture
def early() -> Early:
    return Early()


# What is never known


@pytest.mark.parametrize(
    "data",
    [
        asking("/a", Accept="text/event-stream"),
        asking("/a", Accept="application/x-ndjson"),
        asking("/a", Accept="text/event-stream", Last_Event_ID='"x"'),
        request("/a?live=sse", FIELDS, version="1.0"),
        request("/a?live=sse", {**FIELDS, "Connection": "keep-alive"}, version="1.0"),
        asking(Content_Length="3") + b"abc",
        b"\r\n" + SAME,
        asking(Connection="Upgrade", Upgrade="h2c"),
        asking(x=2100 * "x"),
        asking("/-/live?live=sse&watch=/a&watch=/b"),
        asking("/-/live?live=ndjson&watch=/a"),
        request("/-/live?live=ndjson", {**FIELDS, "Content-Length": "15"}, "POST") + b'{"watch": "/a"}',
    ],
)
async def test_other_ways_to_ask(data: bytes, serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server):
        for _ in range(3):
            async with Reader(server.port) as reader:
                reader.send(data)
                while b'"n":0' not in await reader.until(b"}"):
                    pass
    assert (await early.count(), list(known(server))) == (0, [SAME])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/a?live=sse", {**FIELDS, "Connection": "close"}, "HEAD"), 200),
        (request("/a?live=sse", {**FIELDS, "Connection": "close", "Content-Length": "0"}, "PUT"), 200),
        (asking("/a?live=sse&etag=a%20b", Connection="close"), 400),
        (asking("/b/../a?live=sse", Connection="close"), 400),
        (asking(Connection="close").replace(b"Host: shop.test\r\n", b"Host: a\r\nHost: b\r\n"), 400),
        (asking("/absent?live=sse", Connection="close"), 404),
    ],
)
async def test_what_begins_no_stream(data: bytes, status: int, serve: Serve, early: Early) -> None:
    board = Board()
    board.absent.add("/absent")
    server = start(serve, board, early)
    async with reading(server):
        for _ in range(3):
            async with Reader(server.port) as reader:
                reader.send(data)
                assert (await reader.rest()).startswith(b"HTTP/1.1 %d " % status)
    assert (await early.count(), list(known(server))) == (0, [SAME])


async def test_long_polls_are_not_known(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server):
        for n in range(1, 4):
            async with Reader(server.port) as reader:
                reader.send(asking("/a?live=long-poll&wait=9"))
                assert (await reader.head()).status == 200
                assert b'"n":%d,' % (n - 1) in await reader.until(b"}")
            board.set(n)
    assert (await early.count(), list(known(server))) == (0, [SAME])


async def test_what_depends_on_the_client_is_not_known_by_its_bytes(serve: Serve, early: Early) -> None:
    board = Board(key=["client"])
    board.headers = PUBLIC
    server = start(serve, board, early)
    for _ in range(3):
        async with reading(server), reading(server):
            pass
    assert (await early.count(), known(server)) == (0, {})


async def test_a_proxy_that_is_believed_names_the_client(serve: Serve, early: Early) -> None:
    """Who is counted then is not the connection's own; from another address the same bytes name nobody."""
    board = Board(max_connections=2)
    server = start(serve, board, early, forwarded_allow_ips="127.0.0.1")
    data = asking(X_Forwarded_For="203.0.113.7")
    async with reading(server, data), reading(server, data), Reader(server.port) as third:
        assert (await third.ask(data)).status == 429
        assert (await early.count(), known(server)) == (0, {})
        async with reading(server, data, source="127.0.0.2"), reading(server, data, source="127.0.0.2"):
            assert await early.count() == 1  # which gives it no right to be believed
            async with Reader(server.port) as third:
                assert (await third.ask(data)).status == 429
        assert await early.count() == 1


async def test_a_proxy_that_is_believed_names_the_scheme(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early, forwarded_allow_ips="127.0.0.1")
    data = asking(X_Forwarded_Proto="https")
    async with reading(server, data), reading(server, data):
        assert (await early.count(), board.woken) == (1, ["look"])
        for _ in range(2):
            async with reading(server, data, source="127.0.0.2"):
                pass
        assert await early.count() == 1
        assert board.woken == ["look"] * 3  # http is another resource, which nobody else watches


async def test_other_bytes_are_another_request(serve: Serve, early: Early) -> None:
    board = Board()
    board.headers = {"vary": "accept-language"}
    server = start(serve, board, early)
    others = [
        asking("/b?live=sse"), asking("/a?live=sse&n=1"), asking("/a?live=ndjson"), asking("/a?x=1&live=sse"),
        asking(Cookie="s=1"), asking(Accept_Language="de"), asking(Host="other.test"), asking(User_Agent="x"),
        SAME.replace(b"Host", b"host"),
    ]  # fmt: skip
    async with AsyncExitStack() as stack:
        for data in (SAME, *others):
            await stack.enter_async_context(reading(server, data))
        assert await early.count() == 0


# Who stands in between


def mounted(board: Board) -> Any:
    return Starlette(routes=[Mount("/", board.app)])


def stacked(board: Board) -> Any:
    board.app.middleware_stack = Stamp(board.app.build_middleware_stack())
    return board.app


def overridden(board: Board) -> Any:
    app = Own(routes=board.app.routes)
    board.live = Restive(app, **QUIET)
    return app


def wrapped(board: Board) -> Any:
    return CORSMiddleware(board.app, allow_origins=["*"])


def outside(board: Board) -> Any:
    return Stamp(board.app)


@pytest.mark.parametrize("build", [outside, mounted, stacked, overridden, wrapped])
async def test_what_stands_in_between_is_called_each_time(
    build: Callable[[Board], Any], serve: Serve, early: Early
) -> None:
    board = Board()
    server = start(serve, board, early, build(board))
    async with reading(server), reading(server), reading(server):
        assert (await early.count(), known(server)) == (0, {})


async def test_middleware_inside_and_a_wrapped_app_do_not_hinder(serve: Serve, early: Early) -> None:
    board = Board()
    inner = Starlette(routes=board.app.routes, middleware=[Middleware(Stamp)])
    server = start(serve, board, early, Restive(Stamp(inner), **QUIET))
    async with reading(server), reading(server):
        assert await early.count() == 1


# Rights


async def test_a_right_is_looked_for_each_time(serve: Serve, early: Early) -> None:
    """Nobody is told what is private without a look of their own, and so nothing after a right is gone."""
    board = Board()
    board.rights = {"Bearer ann", "Bearer bob"}
    server = start(serve, board, early)
    async with (
        reading(server, bearer("ann")) as ann,
        reading(server, bearer("ann")),
        reading(server, bearer("bob")),
    ):
        assert board.woken == ["look"] * 3
        board.rights.discard("Bearer ann")  # nobody announces that
        for n in range(3):
            async with Reader(server.port) as reader:
                reader.send(bearer("ann"))
                refused = await reader.head()
                assert refused.status == 401
            assert len(board.woken) == 4 + n
        assert b"401" in await ann.chunk()
        async with reading(server, bearer("bob")):
            pass
    assert (await early.count(), known(server)) == (0, {})


async def test_a_right_to_what_was_public_is_looked_for_too(serve: Serve, early: Early) -> None:
    """Known while everybody could share it; once it is private, nobody's bytes are enough."""
    board = Board()
    board.headers = PUBLIC
    server = start(serve, board, early)
    async with reading(server) as first:
        for _ in range(2):
            async with reading(server, bearer("ann")):
                pass
        assert await early.count() == 1
        board.headers, board.rights = {}, {"", "Bearer bob"}
        board.set(1)
        assert await first.told() == 1
        for _ in range(2):
            async with Reader(server.port) as reader:
                reader.send(bearer("ann"))
                assert (await reader.head()).status == 401
        assert await early.count() == 1


async def test_what_is_one_watchers_is_nobody_elses(serve: Serve, early: Early) -> None:
    board = Board()
    board.headers = {"set-cookie": "s=1"}
    server = start(serve, board, early)
    async with reading(server), reading(server), reading(server):
        assert (await early.count(), board.woken) == (0, ["look"] * 3)


async def test_what_may_no_longer_be_watched(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server), reading(server):
        assert await early.count() == 1
        board.live.never("/a")
        for _ in range(2):
            async with Reader(server.port) as reader:
                assert (await reader.ask()).status == 403
        assert (await early.count(), board.counted()) == (1, 2)


async def test_a_rule_of_the_users_that_raises(serve: Serve, early: Early) -> None:
    """As in the call: it is reported, and the client told."""
    allowed: list[bool] = [True]
    board = Board(targets=lambda path: allowed[0])
    server = start(serve, board, early)
    async with reading(server), reading(server):
        assert await early.count() == 1
        allowed.clear()
        for _ in range(2):
            async with Reader(server.port) as reader:
                assert (await reader.ask()).status == 500
        await until(lambda: board.counted() == 2)
        assert await early.count() == 1


# Whether what is held will do


async def test_where_nothing_is_held(serve: Serve, early: Early) -> None:
    """The last watch takes it along; a request that is known makes nothing that would have to go again."""
    board = Board()
    server = start(serve, board, early)
    for n in range(3):
        async with reading(server):
            assert board.woken == ["look"] * (n + 1)
        await all_gone(server, board)
    assert (await early.count(), list(known(server))) == (0, [SAME])


async def test_what_was_announced_is_looked_at(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server) as first:
        board.delay = asyncio.Event()
        board.set(1)
        await until(lambda: board.waiting == 1)
        async with Reader(server.port) as again, Reader(server.port) as call:
            again.send(SAME)
            call.send(b"\r\n" + SAME)
            await until(lambda: len(server._server.server_state.tasks) == 2)
            await board.go_on()
            begun = [await again.begun(), await call.begun()]
            assert begun[0].timeless == begun[1].timeless
            assert begun[0].n == await first.told() == 1
        assert await early.count() == 0
        async with reading(server):
            assert await early.count() == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_what_another_thread_has_announced_is_looked_at(loop: str, serve: Serve, early: Early) -> None:
    """From the moment on in which it has, whatever the loop does first."""
    board = Board()
    server = start(serve, board, early, loop=loop)
    async with reading(server), AsyncExitStack() as stack:
        for n in range(1, 40):
            readers = [await stack.enter_async_context(Reader(server.port)) for _ in range(2)]
            await asyncio.sleep(0.002)
            board.set(n)
            readers[0].send(SAME)
            readers[1].send(b"\r\n" + SAME)
            assert [(await each.begun()).n for each in readers] == [n, n]


@pytest.mark.parametrize("again", [SAME, b"\r\n" + SAME], ids=["known", "by a call"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_what_may_be_changing_is_looked_at(
    method: str, again: bytes, serve: Serve, early: Early
) -> None:
    """An unsafe request that was begun may have been committed: whoever knows of that is told so."""
    board = Board()
    server = start(serve, board, early)
    async with reading(server), Reader(server.port) as writer:
        async with reading(server):
            assert await early.count() == 1
        writer.send(request("/a?hold", {**FIELDS, "Content-Length": "0"}, method))
        await until(lambda: board.hold is not None)
        async with Reader(server.port) as reader:
            if method == "PUT":
                assert (await reader.ask(again)).n == board.n == 1
            else:
                assert (await reader.ask(again)).status == 404
        assert await early.count() == 1
        board.finish()
        assert (await writer.head()).status == 200


async def test_a_write_below_or_in_its_group_is_one_of_it(serve: Serve, early: Early) -> None:
    board = Board()
    board.headers = {"cache-groups": '"notes"'}
    server = start(serve, board, early)
    async with reading(server), reading(server):
        assert await early.count() == 1
        for changes in ([Change("/", below=True)], [Change(group="notes")]):
            board.live.under_way.begin(changes)
            board.n += 1
            count = await early.count()
            for sent in (SAME, b"\r\n" + SAME):
                async with Reader(server.port) as reader:
                    assert (await reader.ask(sent)).n == board.n
            assert await early.count() == count
            board.live.under_way.end(changes)
            async with reading(server):
                assert await early.count() == count + 1


@pytest.mark.parametrize("status", [500, 503])
async def test_a_look_that_failed_is_made_again(status: int, serve: Serve, early: Early) -> None:
    """What is held is not known to be so any more."""
    failing: list[int] = []

    async def read(request: Request) -> Response:
        return (
            Response(status_code=failing[0])
            if failing
            else Response('{"n":0}', media_type="application/json")
        )

    app = Starlette(routes=[Route("/a", read)])
    live = Restive(app, **QUIET)
    server = serve(app, http=early.protocol())
    async with reading(server), reading(server):
        assert await early.count() == 1
        failing.append(status)
        live.changed("/a")
        (hub,) = live._hubs.values()
        (variant,) = next(iter(hub._resources.values())).variants
        await until(lambda: variant.schedule.failing)
        async with Reader(server.port) as reader:
            reader.send(SAME)
            await until(lambda: len(server._server.server_state.tasks) == 1)
            assert await early.count() == 1


# Whether there is room


async def test_one_address_has_so_many_and_no_more(
    serve: Serve, early: Early, caplog: pytest.LogCaptureFixture
) -> None:
    board = Board(max_connections=2)
    server = start(serve, board, early)
    for turn in range(1, 4):
        async with reading(server), reading(server), Reader(server.port) as third:
            caplog.clear()
            assert (await third.ask()).status == 429
            lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(lines) == 1
            async with reading(server, source="127.0.0.2"):
                assert await early.count() == turn
        await all_gone(server, board)


async def test_a_server_that_drains_takes_no_more(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early)
    async with reading(server):
        board.live.draining = True
        async with Reader(server.port) as reader:
            assert (await reader.ask()).status == 503
        board.live.draining = False
        async with reading(server):
            assert await early.count() == 1
    await all_gone(server, board)


async def test_an_overloaded_server_says_so(serve: Serve, early: Early) -> None:
    board = Board()
    server = start(serve, board, early, limit_concurrency=4)
    async with reading(server), reading(server):
        assert await early.count() == 1
        async with Reader(server.port), Reader(server.port) as last:
            await until(lambda: len(server._server.server_state.connections) >= 4)
            assert (await last.ask()).status == 503
        assert await early.count() == 1
        await until(lambda: len(bare(server)) == 2)
