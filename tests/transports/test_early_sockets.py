"""Handshakes that come again in the same bytes but for their key open a socket as an ASGI call would."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from restive.transports.uvicorn import Http, handshakes, reads
from scenarios.servers import Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Head, Raw, request
from transports.conftest import Carriage
from transports.early_shop import Shop
from transports.early_users import (
    DEFLATE,
    SUBPROTOCOL,
    WATCH,
    Socket,
    Users,
    cookie,
    handshake,
    joined,
    known,
    new_key,
    unpacked,
)
from transports.test_early_reads import mounted, outside, overridden, stacked, wrapped
from wire.websocket_client import CLOSE, PING, PONG, TEXT, close, frame, packed


@contextlib.contextmanager
def logged(name: str, level: int = logging.INFO) -> Iterator[list[str]]:
    """What a logger is told."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger(name), Lines(level)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def timeless(head: Head) -> Any:
    return head.status, {k: v for k, v in head.fields.items() if k not in {"date", "sec-websocket-accept"}}


def knows(server: ThreadServer) -> int:
    """How many handshakes."""
    (found,) = [r for state, r in reads._servers.items() if state is server._server.server_state]
    return len(found.handshakes)


# As the first one


async def test_what_comes_again_needs_no_call(carriage: Carriage, calls: list[str]) -> None:
    """On every loop, with and without TLS; and all of them work as the first does."""
    users = Users()
    server = carriage.start(users.app)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(Socket(server.port, tls=carriage.tls)) for _ in range(6)]
        heads = [timeless(await socket.shake()) for socket in sockets]
        assert calls == ["/-/live"]
        assert heads == [heads[0]] * 6
        for socket in sockets:
            socket.say({**WATCH, "patch": True})
            assert (await socket.state())["n"] == 0
        users.padding = "x" * 500
        for n in range(1, 4):
            users.set(n)
            for socket in sockets:
                told = await socket.told()
                assert told["data"]["n"] == n if n == 1 else told["patch"][0]["value"] == n
        for socket in sockets:
            socket.send(frame(PING, b"there?"))
            assert (await socket.frame())[:2] == (PONG, b"there?")
            socket.send(close(4321))
            assert (await socket.frame()).code == 4321
            assert await socket.rest() == b""
    await until(lambda: not server._server.server_state.connections)
    await until(lambda: "hubs=[]" in repr(users.live))
    assert calls == ["/-/live"]


@pytest.mark.parametrize("subprotocol", [{}, SUBPROTOCOL])
@pytest.mark.parametrize("deflate", [{}, DEFLATE])
async def test_what_was_agreed_on_is_agreed_on_again(
    deflate: dict[str, str], subprotocol: dict[str, str], serve: Serve, calls: list[str]
) -> None:
    users = Users()
    users.padding = "x" * 1000
    server = serve(users.app)
    fields = {**deflate, **subprotocol}
    for turn in range(3):
        async with Socket(server.port) as socket:
            head = await socket.shake(fields)
            assert ("sec-websocket-extensions" in head.fields) == bool(deflate)
            assert head.fields.get("sec-websocket-protocol") == subprotocol.get("Sec-WebSocket-Protocol")
            socket.say(WATCH)
            for n in range(2):
                if n:
                    users.set(turn * 2 + n)
                got = await socket.frame()
                assert got.packed == bool(deflate)
                assert unpacked(got)["data"]["padding"] == users.padding
            socket.send(frame(TEXT, packed(b'{"watch": "/me"}'), rsv=4))
            got = await socket.frame()
            assert (got.opcode, got.code) == (CLOSE, 1002) if not deflate else got.opcode == TEXT
    assert len(calls) == 1


async def test_many_at_once(carriage: Carriage, calls: list[str]) -> None:
    """Forty, more than are told of a change one by one."""
    users = Users()
    server = carriage.start(users.app)
    await known(server, tls=carriage.tls)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(Socket(server.port, tls=carriage.tls)) for _ in range(40)]
        heads = await asyncio.gather(*(socket.shake() for socket in sockets))
        assert {head.status for head in heads} == {101}
        for socket in sockets:
            socket.say(WATCH)
            assert (await socket.state())["n"] == 0
        for n in range(1, 6):
            users.set(n)
            assert [(await socket.state())["n"] for socket in sockets] == [n] * 40
    assert len(calls) == 1


async def test_a_socket_behind_other_requests(serve: Serve, calls: list[str]) -> None:
    """A connection may have been used: what was answered early is over, what was called for may not be."""
    shop = Shop()
    server = serve(shop.app)
    read = request("/a", {"Host": "shop.test"})
    await known(server)
    async with joined(server) as watcher, Socket(server.port) as socket:
        watcher.say({"watch": "/a"})
        await watcher.state()
        async with Raw(server.port) as reader:
            reader.send(read)
            await reader.until(b'{"n":0}')
        del calls[:]
        socket.send(read)  # known by its bytes
        await socket.until(b'{"n":0}')
        assert (await socket.shake()).status == 101
        assert calls == []
        socket.say({"watch": "/a"})
        assert (await socket.state())["n"] == 0
    async with Socket(server.port) as socket:
        socket.request("/b")
        await socket.until(b'{"n":0}')
        assert (await socket.shake()).status == 101


# Whose bytes they are


async def test_another_origin_is_refused(serve: Serve, calls: list[str]) -> None:
    server = serve(Users().app)
    for _ in range(3):
        async with Socket(server.port) as socket:
            assert (await socket.shake({"Origin": "https://evil.test"})).status == 403
        await known(server)
    assert len(calls) == 4


async def test_nobody_sees_what_is_anothers(serve: Serve, calls: list[str]) -> None:
    users = Users()
    server = serve(users.app)
    names, chance = ["ann", "bob", "", "cyd"], random.Random(1)
    async with contextlib.AsyncExitStack() as stack:
        sockets = []
        for name in chance.sample(names * 15, 60):
            socket = await stack.enter_async_context(joined(server, cookie(name)))
            socket.say(WATCH)
            sockets.append((name, socket))
        assert len(calls) == len(names)
        for n in range(5):
            if n:
                users.set(n)
            for name, socket in sockets:
                told = await socket.state()
                assert (told["user"], told["n"]) == (name, n)


async def test_a_cookie_that_is_replaced_ends_them_too(serve: Serve, calls: list[str]) -> None:
    server = serve(Users(retry=0.01).app)
    async with contextlib.AsyncExitStack() as stack:
        mine = [await stack.enter_async_context(joined(server, cookie("ann"))) for _ in range(3)]
        other = await stack.enter_async_context(joined(server, cookie("bob")))
        for socket in (*mine, other):
            socket.say(WATCH)
            await socket.state()
        async with Raw(server.port) as browser:
            browser.request("/login?user=dan", {**cookie("ann"), "Content-Length": "0"}, method="POST")
            assert (await browser.head()).status == 204
        for socket in mine:
            assert (await socket.told())["retry"] >= 0
            assert (await socket.frame()).code == 1012
        other.send(frame(PING))
        assert (await other.frame()).opcode == PONG
    assert len(calls) == 2


# Who has to be asked each time


async def test_one_address_has_so_many_and_no_more(serve: Serve, calls: list[str]) -> None:
    server = serve(Users(max_connections=2).app)
    await known(server)
    await until(lambda: not server._server.server_state.connections)
    for _ in range(3):
        async with joined(server) as first, joined(server), Socket(server.port) as third:
            with logged("restive.door", logging.WARNING) as lines:
                assert (await third.shake()).status == 429
            assert len(lines) == 1
            first.cut()
            await until(lambda: len(server._server.server_state.connections) == 1)
            async with joined(server) as fourth:
                fourth.say(WATCH)
                await fourth.state()
        await until(lambda: not server._server.server_state.connections)
    assert len(calls) == 1 + 3


async def test_a_server_that_drains_takes_no_more(serve: Serve) -> None:
    users = Users()
    server = serve(users.app)
    await known(server)
    users.live.draining = True
    async with Socket(server.port) as socket:
        assert (await socket.shake()).status == 503
    users.live.draining = False
    await known(server)


async def test_a_server_that_stops_answers_nobody(serve: Serve) -> None:
    server = serve(Users().app)
    await known(server)
    async with Socket(server.port) as idle, joined(server) as open_already:
        await until(lambda: len(server._server.server_state.connections) == 2)
        server.stopping()
        await open_already.lost()
        with contextlib.suppress(ConnectionError):
            idle.send(handshake(new_key()))
        await idle.lost()
    server._thread.join(10)
    assert not server._thread.is_alive()


@pytest.mark.parametrize("settings", [{"key": ("client",)}, {"requests": True}])
async def test_what_the_bytes_do_not_say(settings: dict[str, Any], serve: Serve, calls: list[str]) -> None:
    server = serve(Users(**settings).app)
    for _ in range(3):
        await known(server)
    assert len(calls) == 3


@pytest.mark.parametrize("build", [outside, mounted, stacked, overridden, wrapped])
async def test_what_stands_in_between_is_called_each_time(build: Any, serve: Serve, calls: list[str]) -> None:
    shop = Shop()
    server = serve(build(shop))
    for _ in range(3):
        async with joined(server) as socket:
            socket.say({"watch": "/a"})
            assert (await socket.state())["n"] == 0
    assert len(calls) == 3


async def test_the_apps_own_sockets_are_its_own(serve: Serve, calls: list[str]) -> None:
    users = Users()
    server = serve(users.app)
    for _ in range(3):
        async with Socket(server.port) as socket:
            assert (await socket.shake(target="/echo")).status == 101
            socket.send(frame(TEXT, b"hello"))
            assert (await socket.frame()).data == b"hello"
    assert knows(server) == 0


# Proxies


async def test_whom_a_proxy_names_is_counted(serve: Serve, calls: list[str]) -> None:
    server = serve(Users(max_connections=1).app)
    ann, bob = ({"X-Forwarded-For": f"203.0.113.{n}"} for n in (1, 2))
    for turn in range(2):
        async with joined(server, ann), joined(server, bob), Socket(server.port) as third:
            assert (await third.shake(ann)).status == 429
            assert len(calls) == 3 * (turn + 1)
        await until(lambda: not server._server.server_state.connections)


async def test_a_proxy_that_is_believed_names_the_scheme(serve: Serve, calls: list[str]) -> None:
    """The same bytes from an address that is no proxy are another handshake."""
    server = serve(Users().app, forwarded_allow_ips="127.0.0.1")
    secure = {"X-Forwarded-Proto": "https"}
    for n, source, scheme in [
        (1, 1, "https"),
        (1, 1, "https"),
        (2, 2, "http"),
        (2, 2, "http"),
        (3, 1, "https"),
    ]:
        async with joined(server, secure, source=f"127.0.0.{source}") as socket:
            assert len(calls) == n
            socket.say(WATCH)
            assert (await socket.state())["scheme"] == scheme


# What uvicorn does besides


async def test_each_is_logged(serve: Serve) -> None:
    server = serve(Users().app, log_level="info")
    with logged("uvicorn.error") as lines:
        ports = []
        for _ in range(3):
            async with joined(server) as socket:
                ports.append(socket.writer.get_extra_info("sockname")[1])
    accepted = [line for line in lines if "accepted" in line]
    assert accepted == [f'127.0.0.1:{port} - "WebSocket /-/live" [accepted]' for port in ports]


async def test_the_log_names_whom_the_proxy_named(serve: Serve) -> None:
    server = serve(Users().app, log_level="info")
    with logged("uvicorn.error") as lines:
        for _ in range(2):
            await known(server, {"X-Forwarded-For": "203.0.113.7"})
    assert [line for line in lines if "accepted" in line] == [
        '203.0.113.7:0 - "WebSocket /-/live" [accepted]'
    ] * 2


async def test_the_servers_own_fields_are_those_of_the_moment(serve: Serve, calls: list[str]) -> None:
    server = serve(Users().app, headers=[("X-Node", "7")])
    for n in range(3):
        async with Socket(server.port) as socket:
            head = await socket.shake()
            assert head.fields["x-node"] == ("8" if n == 2 else "7")
        fields = server._server.server_state.default_headers
        fields[:] = [(k, b"8" if k == b"x-node" and n == 1 else v) for k, v in fields]
    assert len(calls) == 1


async def test_the_server_forgets_the_oldest(
    serve: Serve, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 5)
    server = serve(Users().app)
    for n in range(20):
        await known(server, {"X": str(n)})
        assert knows(server) == min(n + 1, 5)
    await known(server, {"X": "19"})
    assert len(calls) == 20
    await known(server, {"X": "0"})
    assert len(calls) == 21


async def test_what_is_known_keeps_nothing_of_its_sockets(serve: Serve) -> None:
    """A handshake is known by bytes that are bounded; what its sockets have watched is not."""
    users = Users(heartbeat=0.1)  # after which nothing of a connection that is over stays
    server = serve(users.app)
    sockets = users.live._door._sockets  # type: ignore[union-attr]
    for n in range(3):
        async with joined(server, {"X": str(n)}) as socket, joined(server, {"X": str(n)}) as another:
            for each in (socket, another):
                each.say({"watch": f"/me?{n}=" + 4000 * "x"})
                await each.state()
            assert len(sockets._reaches) == 1
        await until(lambda: not sockets._reaches)
    assert knows(server) == 3


@pytest.mark.parametrize("kind", ["socket", "stream"])
async def test_nothing_of_http_stays(kind: str, carriage: Carriage) -> None:
    """Not even until the next collection of garbage."""
    made: weakref.WeakSet[Http] = weakref.WeakSet()

    class Noted(Http):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            made.add(self)

    server = carriage.start(Users().app, http=Noted)
    gc.collect()
    gc.disable()
    try:
        async with contextlib.AsyncExitStack() as stack:
            for n in range(6):
                if kind == "socket":
                    fields = {"X": str(n)} if n < 3 else {}  # those are not known yet
                    await stack.enter_async_context(joined(server, fields, tls=carriage.tls))
                else:
                    raw = await stack.enter_async_context(carriage.raw(server))
                    raw.request("/me?live=sse")
                    await raw.until(b"padding")
            await until(lambda: not made)
            assert len(server._server.server_state.connections) == 6
            assert not server._server.server_state.tasks
    finally:
        gc.enable()
