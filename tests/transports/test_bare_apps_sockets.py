"""The app's own WebSockets are served as uvicorn serves them, where connections may be taken over as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from restive import Restive
from scenarios.servers import CALM, FAST_PATH, Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import UPGRADE, Raw, request
from transports.conftest import Carriage
from wire.websocket_client import PING, PONG, TEXT, close, frame

PLAIN = {"http": "httptools", "ws": "websockets-sansio"}


class Seen:
    """What the app saw."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.messages: list[Any] = []
        self.ended: list[str] = []
        self.pause = 0.0


def make() -> tuple[FastAPI, Seen]:
    """An app with sockets of its own."""
    app, seen = FastAPI(), Seen()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        offered = socket.scope["subprotocols"] or [None]
        await socket.accept(subprotocol=offered[-1], headers=[(b"x-a", b"b")])
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message["code"])
                await socket.send({**message, "type": "websocket.send"})
        except WebSocketDisconnect as gone:
            seen.ended.append(f"echo {gone.code}")

    @app.websocket("/refuse")
    async def refuse(socket: WebSocket) -> None:
        await socket.close()

    @app.websocket("/respond")
    async def respond(socket: WebSocket) -> None:
        await socket.send_denial_response(JSONResponse({"no": 1}, 418, {"x-why": "tea"}))

    @app.websocket("/raise")
    async def raises(socket: WebSocket) -> None:
        raise RuntimeError("before accept")

    @app.websocket("/accept-raise")
    async def accept_raise(socket: WebSocket) -> None:
        await socket.accept()
        raise RuntimeError("after accept")

    @app.websocket("/nothing")
    async def nothing(socket: WebSocket) -> None:
        pass

    @app.websocket("/close")
    async def closes(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(3456, "enough")

    return app, seen


class Bare:
    """An app without a framework: it sees every message, and accepts after a pause."""

    def __init__(self) -> None:
        self.seen = Seen()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            raise NotImplementedError
        seen = self.seen
        seen.scopes.append(scope)
        await asyncio.sleep(seen.pause)
        try:
            while not seen.messages or seen.messages[-1]["type"] != "websocket.disconnect":
                seen.messages.append(await receive())
                if seen.messages[-1]["type"] == "websocket.connect":
                    await send({"type": "websocket.accept"})
        finally:
            seen.ended.append("bare")


async def tried(server: ThreadServer, path: str, **options: Any) -> Any:
    """What became of a handshake and of an exchange of messages."""
    try:
        async with connect(server.ws + path, proxy=None, **options) as client:
            assert client.response is not None
            got: list[Any] = [client.subprotocol, client.response.headers.get("x-a")]
            got.append([each.name for each in client.protocol.extensions])
            try:
                for message in ("text", b"bytes", "x" * 100_000):
                    await client.send(message)
                    got.append(await client.recv())
                await (await client.ping())
            except ConnectionClosed:
                pass
            await client.close(3333)
            return [*got, client.close_code, client.close_reason]
    except InvalidStatus as refused:
        answer = refused.response
        return answer.status_code, answer.body, answer.headers.get("x-why")


CASES: list[tuple[str, dict[str, Any]]] = [
    ("/echo", {}),
    ("/echo", {"subprotocols": ["a", "b"]}),
    ("/echo", {"compression": None}),
    ("/refuse", {}),
    ("/respond", {}),
    ("/raise", {}),
    ("/accept-raise", {}),
    ("/nothing", {}),
    ("/close", {}),
    ("/not-there", {}),
]


@pytest.mark.parametrize(("path", "options"), CASES)
async def test_like_uvicorn(path: str, options: dict[str, Any], serve: Serve) -> None:
    """The same answers, messages and closes, whether the app is live or not."""
    expected = await tried(serve(make()[0], **PLAIN), path, **options)
    app, _ = make()
    Restive(app, **CALM)
    server = serve(app)
    assert await tried(server, path, **options) == expected
    await until(lambda: not server._server.server_state.connections)
    await until(lambda: not server._server.server_state.tasks)


async def test_on_every_loop(carriage: Carriage) -> None:
    app, seen = make()
    Restive(app, **CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        assert (await raw.open("/echo")).status == 101
        raw.send(frame(TEXT, b"hello") + frame(PING, b"1"))
        assert {(await raw.frame())[:2], (await raw.frame())[:2]} == {(TEXT, b"hello"), (PONG, b"1")}
        raw.send(close(3000))
        assert (await raw.closed()).code == 3000
        await until(lambda: seen.ended == ["echo 3000"])


TARGETS = ["/", "/a%20b?c=d%20e&f", "/%E2%82%AC/%2F/x", "/a//b/?", "/-/live?x=1"]


@pytest.mark.parametrize("target", TARGETS)
async def test_the_scope(target: str, serve: Serve) -> None:
    """What the app is told about a handshake is what uvicorn tells, and one thing more."""
    fields = {"Sec-WebSocket-Protocol": "a, b", "X-Odd": "\xe4: b", "X-Empty": "", "Cookie": "a=b"}
    scopes = []
    for config in (PLAIN, FAST_PATH):
        app = Bare()
        server = serve(app, root_path="/root", **config)
        async with Raw(server.port) as raw:
            raw.request(target, {**UPGRADE, **fields, "Host": "shop.test"})
            await raw.head()
        await until(lambda app=app: bool(app.seen.ended))  # type: ignore[misc]
        (scope,) = app.seen.scopes
        scopes.append({**scope, "server": None, "client": None})
        assert [type(scope["client"][0]), type(scope["client"][1])] == [str, int]
        assert scope["server"] == ("127.0.0.1", server.port)
    plain, taken = scopes
    extensions = dict(taken["extensions"])
    assert set(extensions) - set(plain["extensions"]) == {"restive.takeover"}
    assert {**taken, "extensions": plain["extensions"]} == plain


# Handshakes that are none

BAD: dict[str, tuple[str, dict[str, str]]] = {
    "no key": ("GET", {"Sec-WebSocket-Key": ""}),
    "a short key": ("GET", {"Sec-WebSocket-Key": "c2hvcnQ="}),
    "a key that is not base64": ("GET", {"Sec-WebSocket-Key": "????????????????????????"}),
    "version 8": ("GET", {"Sec-WebSocket-Version": "8"}),
    "no version": ("GET", {"Sec-WebSocket-Version": ""}),
    "POST": ("POST", {}),
    "200 fields": ("GET", {f"x-{n}": "y" for n in range(200)}),
    "a long field": ("GET", {"x-long": "y" * 20_000}),
}
TOLERATED = {"200 fields", "a long field"}
"""Left without an answer by uvicorn, for a bound of its library. Restive's socket has no need of that."""


async def answer_to(server: ThreadServer, path: str, method: str, fields: dict[str, str]) -> bytes:
    """The status line."""
    async with Raw(server.port) as raw:
        given = {name: value for name, value in {**UPGRADE, **fields}.items() if value}
        raw.request(path, given, method=method)
        try:
            return await raw.until(b"\r\n")
        except asyncio.IncompleteReadError as nothing:
            return nothing.partial


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_handshake(case: str, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Refused in uvicorn's own words, and nothing is left of it."""
    expected = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    if case not in TOLERATED:
        expected = await answer_to(serve(make()[0], **PLAIN), "/echo", *BAD[case])
        assert b" 101 " not in expected
    app, _ = make()
    live = Restive(app, **CALM)
    server = serve(app)
    assert await answer_to(server, "/echo", *BAD[case]) == expected
    of_restive = await answer_to(server, "/-/live", *BAD[case])
    assert of_restive == expected or (case in TOLERATED and b" 101 " in of_restive)
    await until(lambda: not server._server.server_state.connections)
    await until(lambda: not server._server.server_state.tasks)
    await until(lambda: "hubs=[]" in repr(live))
    assert "never retrieved" not in caplog.text


# Between the handshake and its answer


@pytest.mark.parametrize("apart", [False, True])
async def test_what_comes_before_the_answer(apart: bool, carriage: Carriage) -> None:
    """Nothing of it is lost, nothing overtaken: for the app's socket and for Restive's, whether it comes in
    one segment with the handshake or behind it."""
    app, _ = make()
    Restive(app, **CALM)
    server = carriage.start(app)
    for path, text, code in (("/echo", b"hello", 3000), ("/-/live", b'{"unwatch": "/x"}', 3001)):
        async with carriage.raw(server) as raw:
            sent = [request(path, UPGRADE), frame(TEXT, text), frame(PING, b"1"), close(code)]
            for piece in sent if apart else [b"".join(sent)]:
                raw.send(piece)
                await asyncio.sleep(0)
            assert (await raw.head()).status == 101
            assert (await raw.closed()).code == code


async def test_what_comes_as_it_is_answered_keeps_its_order(carriage: Carriage) -> None:
    """Forty clients that do not wait for the answer, a segment for each ping: the pongs come in order."""
    app, _ = make()
    Restive(app, **CALM)
    server = carriage.start(app)

    async def chatter() -> None:
        async with carriage.raw(server) as raw:
            raw.request("/-/live", UPGRADE)
            for n in range(60):
                raw.send(frame(PING, b"%d" % n))
                await asyncio.sleep(0)
            assert (await raw.head()).status == 101
            assert [int((await raw.frame()).data) for _ in range(60)] == list(range(60))

    await asyncio.gather(*(chatter() for _ in range(40)))


async def test_a_client_that_does_not_wait_is_held_back(carriage: Carriage) -> None:
    """However long the app takes, little is kept for it, and it gets all."""
    app = Bare()
    app.seen.pause = 0.5
    server = carriage.start(app)
    total = 300 * 50_000
    async with carriage.raw(server) as raw:
        raw.send(request("/", UPGRADE))
        for _ in range(300):
            raw.send(frame(2, bytes(50_000), mask=bytes(4)))
        await until(lambda: bool(app.seen.scopes))
        waiting = app.seen.scopes[0]["extensions"]["restive.takeover"]
        kept = 0
        while not app.seen.messages:
            kept = max(kept, len(waiting._early))
            await asyncio.sleep(0.005)
        assert 0 < kept < 2_000_000
        assert (await raw.head()).status == 101
        await until(lambda: sum(len(m.get("bytes", b"")) for m in app.seen.messages) == total, 20)


Leave = Callable[[Raw], Awaitable[None]]


async def cut(raw: Raw) -> None:
    raw.cut()


async def end(raw: Raw) -> None:
    raw.writer.close()


@pytest.mark.parametrize("leave", [cut, end])
async def test_a_client_that_goes_before_the_answer(leave: Leave, serve: Serve) -> None:
    """The app is told so, in the order of ASGI, and is not left waiting."""
    app = Bare()
    app.seen.pause = 0.2
    server = serve(app)
    async with Raw(server.port) as raw:
        raw.send(request("/", UPGRADE))
        await until(lambda: bool(app.seen.scopes))
        await leave(raw)
        await until(lambda: not server._server.server_state.connections)
    await until(lambda: not server._server.server_state.tasks)
    # It stops there: to accept raises, as uvicorn's own does.
    assert [message["type"] for message in app.seen.messages] == ["websocket.connect"]
    assert app.seen.ended == ["bare"]


async def test_a_framework_and_a_client_that_has_gone(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It is no error of the app's."""
    app = FastAPI()

    @app.websocket("/")
    async def slow(socket: WebSocket) -> None:
        await asyncio.sleep(0.2)
        await socket.accept()

    server = serve(app)
    async with Raw(server.port) as raw:
        raw.send(request("/", UPGRADE))
        await until(lambda: bool(server._server.server_state.tasks))
        raw.cut()
    await until(lambda: not server._server.server_state.tasks)
    assert not caplog.records


async def test_a_server_that_stops_before_the_answer(serve: Serve) -> None:
    app = Bare()
    app.seen.pause = 0.3
    server = serve(app)
    async with Raw(server.port) as raw:
        raw.send(request("/", UPGRADE))
        await until(lambda: bool(app.seen.scopes))
        await asyncio.to_thread(server.stop)
        await raw.lost()
    assert app.seen.ended == ["bare"]
