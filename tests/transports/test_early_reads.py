"""Requests that come again in the same bytes are answered as an ASGI call would, and only where one would."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from restive import Restive
from restive.transports.uvicorn import reads
from scenarios.servers import Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import request
from transports.conftest import Carriage
from transports.early_shop import FIELDS, PUBLIC, SAME, Caller, Segments, Shop, watched


@pytest.fixture
def segments() -> Segments:
    return Segments()


def start(serve: Serve, shop: Shop, segments: Segments, app: Any = None, **config: Any) -> ThreadServer:
    return serve(shop.app if app is None else app, http=segments.protocol(), **config)


@contextlib.contextmanager
def access_log() -> Iterator[list[str]]:
    """What the servers that run say of their requests."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("uvicorn.access"), Lines()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def asking(**fields: str) -> bytes:
    return request("/a", {**FIELDS, **{name.replace("_", "-"): value for name, value in fields.items()}})


async def test_what_comes_again_needs_no_call(carriage: Carriage, segments: Segments) -> None:
    """On every loop, with and without TLS."""
    shop = Shop()
    server = start(carriage.start, shop, segments)
    async with watched(server, tls=carriage.tls), Caller(server.port, tls=carriage.tls) as caller:
        shop.woken.clear()
        first = await caller.ask()
        assert (await segments.early(), first.hit) == (0, True)
        for n in range(5):
            again = await caller.ask()
            assert await segments.early() == n + 1
            assert again.timeless() == first.timeless()
        async with Caller(server.port, tls=carriage.tls) as other:
            assert (await other.ask()).timeless() == first.timeless()
        assert await segments.early() == 6
        assert shop.woken == []


async def test_it_is_asked_each_time_whether_it_still_holds(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with Caller(server.port) as caller:
        async with watched(server):
            assert (await caller.known()).body == b'{"n":0}'
            assert await segments.early() == 1
            written = await caller.ask(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
            assert written.body == b"1"
            assert (await caller.ask()).body == b'{"n":1}'
            assert (await caller.ask()).body == b'{"n":1}'
            assert await segments.early() >= 2
            shop.headers["cache-control"] = "private"
            shop.live.announce([])
            await caller.ask(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
            early = await segments.early()
            for _ in range(3):
                answer = await caller.ask()
                assert (answer.body, answer.hit) == (b'{"n":2}', False)
            assert await segments.early() == early
            shop.headers = dict(PUBLIC)
        await until(lambda: not shop.live._hubs)
        shop.woken.clear()
        for n in range(3):
            assert not (await caller.ask()).hit
            assert shop.woken == ["GET"] * (n + 1)


async def test_a_response_that_sets_a_cookie_is_nobody_elses(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        shop.headers["set-cookie"] = "s=1"
        await caller.ask(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
        shop.woken.clear()
        early = await segments.early()
        assert "set-cookie" in (await caller.ask()).fields  # the app's own to this client
        await caller.ask()
        assert shop.woken.count("GET") == 2
        assert await segments.early() == early


async def test_the_age_counts_up(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        first = await caller.known()
        async with asyncio.timeout(8):
            while (later := await caller.ask()).fields["age"] == first.fields["age"]:
                await asyncio.sleep(0.01)
            while (last := await caller.ask()).fields["date"] == later.fields["date"]:
                await asyncio.sleep(0.01)
        assert int(later.fields["age"]) == int(first.fields["age"]) + 1
        for answer in (first, later, last):
            ttl = int(answer.fields["cache-status"].rpartition("=")[2])
            assert ttl + int(answer.fields["age"]) in {599, 600}
        assert await segments.early() > 3


async def test_what_was_not_modified(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        tag = (await caller.ask()).fields["etag"]
        conditional = asking(if_none_match=tag)
        got = await caller.known(conditional)
        assert (got.status, got.body, got.fields["etag"]) == (304, b"", tag)
        assert await segments.early() == 1
        assert (await caller.ask()).status == 200  # nothing of a body is left on the connection


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": "no-cache"},
        {"pragma": "no-cache"},
        {"range": "bytes=0-1"},
        {"if_match": '"x"'},
        {"prefer": "wait=1"},
        {"origin": "https://other.test"},
        {"content_length": "0", "transfer_encoding": "chunked"},
    ],
)
async def test_what_must_wake_the_app_does(fields: dict[str, str], serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    data = asking(**fields)
    async with watched(server), Caller(server.port) as caller:
        for _ in range(3):
            caller.send(data)
            await caller.until(b"\r\n\r\n")
            caller.cut()
            await caller.__aenter__()
        assert await segments.early() == 0


@pytest.mark.parametrize("fields", [{"authorization": "Bearer a"}, {"cookie": "s=1"}, {"x_api_key": "k"}])
async def test_credentials_get_what_is_public_and_nothing_else(
    fields: dict[str, str], serve: Serve, segments: Segments
) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    data = asking(**fields)
    async with watched(server), Caller(server.port) as caller:
        assert (await caller.known(data)).hit
        assert await segments.early() == 1
        shop.live.fresh("/a")
        shop.headers.clear()
        await caller.ask(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
        assert (await caller.known()).hit  # declared fresh, for who shows no credentials
        early = await segments.early()
        shop.woken.clear()
        assert not (await caller.known(data)).hit
        assert (await segments.early(), shop.woken) == (early, ["GET", "GET"])


@pytest.mark.parametrize(
    "data",
    [
        request("/a", FIELDS, "HEAD"),
        asking(connection="close"),
        asking(connection="Close, x"),
        request("/a", FIELDS, version="1.0"),
        request("/a", {**FIELDS, "Connection": "keep-alive"}, version="1.0"),
        b"\r\n" + SAME,
        asking(x=2100 * "x"),
    ],
)
async def test_what_is_not_a_plain_get_is_never_known(data: bytes, serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server):
        for _ in range(3):
            async with Caller(server.port) as caller:
                assert (await caller.ask(data)).hit
        assert await segments.early() == 0


# How the bytes come


async def test_a_request_in_pieces_is_parsed(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        known = await caller.known()
        for cut in range(1, len(SAME)):
            before = len(segments.seen)
            caller.send(SAME[:cut])
            await until(lambda before=before: len(segments.seen) > before)  # type: ignore[misc]
            caller.send(SAME[cut:])
            assert (await caller.answer()).timeless() == known.timeless()
        assert await segments.early() == 1
        await caller.ask()
        assert await segments.early() == 2


@pytest.mark.parametrize(
    "before",
    [b"GET /b HTTP/1.1\r\nHost: shop.test\r\nX: ", b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: "],
)
async def test_the_same_bytes_inside_another_request_are_that_requests(
    before: bytes, serve: Serve, segments: Segments
) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    if b"PUT" in before:
        before += b"%d\r\n\r\n" % len(SAME)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        seen = len(segments.seen)
        caller.send(before)
        await until(lambda: len(segments.seen) > seen)
        caller.send(SAME)
        answer = await caller.answer()
        assert not answer.hit  # the app's own, to /b with two Hosts, or to the PUT
        assert await segments.early() == 1


async def test_a_body_that_comes_behind_the_response_is_no_request(serve: Serve, segments: Segments) -> None:
    """The app answers without reading; what follows of the body looks like a known request."""
    shop = Shop()
    server = start(serve, shop, segments)
    head = b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(SAME)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        assert (await caller.ask(head)).body == b"1"
        caller.send(SAME)
        caller.send(b"")
        assert (await caller.ask(b"GET /b HTTP/1.1\r\nHost: shop.test\r\n\r\n")).fields.get("age") is None
        assert await segments.early() == 1


async def test_two_requests_in_one_piece_and_then_one(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        for data in (SAME + SAME, SAME + request("/b", FIELDS), request("/b", FIELDS) + SAME):
            for _ in range(3):
                caller.send(data)
                bodies = [(await caller.answer()).hit for _ in range(2)]
                assert bodies == [b"/a" in part for part in data.split(b"\r\n\r\n")[:2]]
        assert await segments.early() == 0
        await caller.known()
        assert await segments.early() == 1


async def test_nothing_is_taken_behind_a_request_to_upgrade(serve: Serve, segments: Segments) -> None:
    """What follows it is no HTTP to the parser."""
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        async with Caller(server.port) as other:
            await other.known()
        assert (await caller.ask(asking(connection="Upgrade", upgrade="h2c"))).hit
        seen = len(segments.seen)
        caller.send(SAME)
        await until(lambda: len(segments.seen) > seen)
        assert await segments.early() == 1


async def test_a_known_request_waits_for_the_one_before_it(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        caller.send(request("/slow", FIELDS))
        await until(lambda: shop.hold is not None)
        seen = len(segments.seen)
        caller.send(SAME)
        await until(lambda: len(segments.seen) > seen)
        hold = shop.hold
        assert hold is not None
        next(iter(shop.live._hubs)).call_soon_threadsafe(hold.set)
        assert (await caller.answer()).body == b"slow"
        assert (await caller.answer()).hit
        assert await segments.early() == 1


async def test_a_client_that_does_not_read_is_waited_for(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    shop.bodies["/a"] = b'"%b"' % (b"x" * 100_000)
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port, room=4096) as caller:
        assert (await caller.known()).body == shop.bodies["/a"]
        caller.stop_reading()
        sent, before = 0, len(segments.seen)
        with contextlib.suppress(TimeoutError):
            while sent < 1000:
                caller.send(SAME)
                sent += 1
                await until(lambda expected=before + sent: len(segments.seen) == expected, 0.5)  # type: ignore[misc]
        assert sent < 1000  # the server reads no more of one that takes nothing
        assert await segments.early() < sent
        caller.go_on_reading()
        for _ in range(sent):
            assert (await caller.answer()).body == shop.bodies["/a"]


# Who stands in between


class Stamp:
    """Somebody's own middleware, which changes nothing that can be seen in ``send``."""

    def __init__(self, app: Any) -> None:
        self.app, self.calls = app, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += scope["type"] == "http"
        await self.app(scope, receive, send)


class Own(Starlette):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)


def outside(shop: Shop) -> Any:
    return Stamp(shop.app)


def mounted(shop: Shop) -> Any:
    return Starlette(routes=[Mount("/", shop.app)])


def stacked(shop: Shop) -> Any:
    shop.app.middleware_stack = Stamp(shop.app.build_middleware_stack())
    return shop.app


def overridden(shop: Shop) -> Any:
    app = Own(routes=shop.app.routes)
    shop.live = Restive(app, backend="memory:", settle=600)
    return app


def wrapped(shop: Shop) -> Any:
    return CORSMiddleware(shop.app, allow_origins=["*"])


@pytest.mark.parametrize("build", [outside, mounted, stacked, overridden, wrapped])
async def test_what_stands_in_between_is_called_each_time(
    build: Callable[[Shop], Any], serve: Serve, segments: Segments
) -> None:
    shop = Shop()
    app = build(shop)
    server = start(serve, shop, segments, app)
    async with watched(server), Caller(server.port) as caller:
        for _ in range(3):
            assert (await caller.ask()).hit
        assert await segments.early() == 0
    if isinstance(app, Stamp):
        assert app.calls == 4


async def test_a_patched_framework_is_called_each_time(
    serve: Serve, segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some tracers do it."""
    shop = Shop()
    original = Starlette.__call__
    calls = []

    async def patched(self: Any, scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["type"])
        await original(self, scope, receive, send)

    monkeypatch.setattr(Starlette, "__call__", patched)
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        await caller.ask()
        assert await segments.early() == 0
        assert calls.count("http") == 4


async def test_middleware_inside_and_a_wrapped_app_do_not_hinder(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    inner = Starlette(routes=shop.app.routes, middleware=[Middleware(Stamp)])
    live = Restive(Stamp(inner), backend="memory:", settle=600)
    server = start(serve, shop, segments, live)
    async with watched(server), Caller(server.port) as caller:
        assert (await caller.known()).hit
        assert await segments.early() == 1


async def test_what_depends_on_the_client_is_not_known_by_its_bytes(serve: Serve, segments: Segments) -> None:
    shop = Shop(key=["client"])
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        assert await segments.early() == 0


# What uvicorn does besides


async def test_a_proxy_that_is_believed_names_scheme_and_client(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, log_level="info")
    proxied = {**FIELDS, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    async with watched(server, fields=proxied), Caller(server.port) as caller:
        with access_log() as lines:
            assert (await caller.known(request("/a", proxied))).hit
            assert await segments.early() == 1
            assert not (await caller.known()).hit  # http is another resource
    assert lines[:2] == ['203.0.113.7:0 - "GET /a HTTP/1.1" 200'] * 2
    assert "203.0.113.7" not in lines[2]


async def test_whom_nobody_believes_is_not_taken_at_anothers_word(serve: Serve, segments: Segments) -> None:
    """The same bytes from an address that is no proxy are another request."""
    shop = Shop()
    server = start(serve, shop, segments, forwarded_allow_ips="127.0.0.1")
    data = asking(x_forwarded_proto="https")
    async with watched(server, fields={**FIELDS, "X-Forwarded-Proto": "https"}):
        async with Caller(server.port) as caller:
            assert (await caller.known(data)).hit
            assert await segments.early() == 1
        async with Caller(server.port, source="127.0.0.2") as stranger:
            assert not (await stranger.known(data)).hit
            assert await segments.early() == 1


async def test_each_is_logged_and_counted(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, log_level="info", limit_max_requests=10_000)
    data = request("/a?x=%C3%BC", FIELDS)
    async with watched(server, "/a?x=%C3%BC"), Caller(server.port) as caller:
        with access_log() as lines:
            for _ in range(3):
                await caller.ask(data)
        local = caller.writer.get_extra_info("sockname")
    assert await segments.early() == 2
    assert lines == [f'{local[0]}:{local[1]} - "GET /a?x=%C3%BC HTTP/1.1" 200'] * 3
    assert server._server.server_state.total_requests == 4


async def test_the_servers_own_fields_go_with_it(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, headers=[("X-Node", "7")], server_header=False, date_header=False)
    async with watched(server), Caller(server.port) as caller:
        first = await caller.ask()
        assert (await caller.ask()).timeless() == first.timeless()
        assert await segments.early() == 1
        assert first.fields["x-node"] == "7"
        assert not {"server", "date"} & first.fields.keys()


async def test_they_are_those_of_the_moment(serve: Serve, segments: Segments) -> None:
    """As the Date is, which the server gives anew each second."""
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        for n in range(5):  # the server's own second may begin in between
            server._server.server_state.default_headers = [(b"x-now", b"%d" % n)]
            if (await caller.ask()).fields.get("x-now") == str(n):
                break
        else:
            pytest.fail("The head is that of another moment.")
        assert await segments.early() > 1


async def test_a_server_that_closes_after_each_response_still_does(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, headers=[("Connection", "close")])
    async with watched(server):
        for _ in range(3):
            async with Caller(server.port) as caller:
                await caller.ask()
                assert await caller.rest() == b""
    assert await segments.early() == 0


async def test_a_field_that_may_not_be_sent_is_not_sent(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        shop.headers["x-split"] = "a\r\nx-evil: 1"
        await caller.ask(request("/a", {**FIELDS, "Content-Length": "0"}, "PUT"))
        for _ in range(3):
            async with Caller(server.port) as other:
                other.send(SAME)
                assert await other.rest() == b""  # uvicorn refuses to send it
    assert await segments.early() == 1


async def test_an_overloaded_server_says_so(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, limit_concurrency=4)
    async with watched(server), Caller(server.port) as caller:
        await caller.known()
        assert await segments.early() == 1
        async with Caller(server.port), Caller(server.port) as last:
            await until(lambda: len(server._server.server_state.connections) >= 4)
            last.send(SAME)
            assert (await last.head()).status == 503
            assert await segments.early() == 1


async def test_a_connection_that_asks_nothing_more_is_closed(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, timeout_keep_alive=1)
    async with watched(server), Caller(server.port) as caller, Caller(server.port) as other:
        await caller.known()
        await other.ask()  # its first request is answered early
        assert await segments.early() == 2
        assert await caller.rest() == b""
        assert await other.rest() == b""


async def test_a_connection_in_use_is_not_closed(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments, timeout_keep_alive=1)
    loop = asyncio.get_running_loop()
    async with watched(server), Caller(server.port) as caller:
        end = loop.time() + 2.5
        while loop.time() < end:
            assert (await caller.ask()).hit
            await asyncio.sleep(0.05)
        assert await segments.early() > 10


async def test_a_stopping_server_closes_and_ends(serve: Serve, segments: Segments) -> None:
    shop = Shop()
    server = start(serve, shop, segments)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(watched(server))
        callers = [await stack.enter_async_context(Caller(server.port)) for _ in range(3)]
        await callers[0].known()
        await callers[1].ask()
        server.stopping()
        for caller in callers:
            with contextlib.suppress(ConnectionError):
                caller.send(SAME)
            await caller.lost()
    server._thread.join(10)
    assert not server._thread.is_alive()


async def test_the_server_forgets_the_oldest(
    serve: Serve, segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MAX_REQUESTS", 5)
    shop = Shop()
    server = start(serve, shop, segments)
    async with watched(server), Caller(server.port) as caller:
        for n in range(20):
            await caller.known(asking(cookie=str(n)))
        assert await segments.early() == 20
        (known,) = [r.known for state, r in reads._servers.items() if state is server._server.server_state]
        assert len(known) == 5
        await caller.ask(asking(cookie="0"))
        assert await segments.early() == 20
