"""The WebSocket as a conversation: what a frame may say, what is refused, and when the socket is closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidHandshake

from apps import shop as shop_app
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.sockets import Socket
from scenarios.watches import Client

TEA = shop_app.TEA


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, shop_app.Shop]]:
    app, _, shop = shop_app.make(**CALM, max_watches=5)
    server = ThreadServer(app)
    yield server, shop
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, shop_app.Shop]) -> ThreadServer:
    running[1].orders = {3: dict(TEA), 4: {"n": 4}}
    return running[0]


@pytest.fixture
def shop(running: tuple[ThreadServer, shop_app.Shop]) -> shop_app.Shop:
    return running[1]


async def works(socket: Socket) -> None:
    """The socket still does what it is for."""
    answer = await socket.ask({"watch": "/orders/3"})
    assert (answer["on"], answer["data"]) == ("/orders/3", TEA)


# Subprotocol


@pytest.mark.parametrize("offered", [None, ("restive.v1",), ("other", "restive.v1")])
async def test_subprotocol(offered: Any, server: ThreadServer) -> None:
    """No subprotocol offered means v1."""
    async with Socket(server, subprotocols=offered) as socket:
        assert socket.connection.subprotocol == (None if offered is None else "restive.v1")
        await works(socket)


@pytest.mark.parametrize("offered", [("restive.v2",), ("graphql-ws",), ("RESTIVE.V1",)])
async def test_unknown_subprotocol_is_refused(offered: Any, server: ThreadServer) -> None:
    with pytest.raises(InvalidHandshake):
        async with Socket(server, subprotocols=offered):
            pass


# Frames that are not understood

MALFORMED = [
    "",
    "{",
    "null",
    "[]",
    "3",
    '"watch"',
    "{}",
    '{"watch": 3}',
    '{"watch": null}',
    '{"watch": ["/orders/3"]}',
    '{"watch": ""}',
    '{"subscribe": "/orders/3"}',
    '{"watch": "/orders/3", "unwatch": "/orders/3"}',
    '{"watch": "/orders/3", "more": 1}',
    '{"watch": "/orders/3", "etag": 3}',
    '{"watch": "/orders/3", "etag": "no quotes\\r\\n"}',
    '{"watch": "/orders/3", "patch": "yes"}',
    '{"watch": "/orders/3", "headers": []}',
    '{"watch": "/orders/3", "headers": {"accept": 3}}',
    '{"watch": "/orders/3"} {"watch": "/orders/4"}',
    '{"watch": "/orders/3"',
    '{"watch": "\\ud800"}',
    '{"watch": NaN}',
    '{"send": "/rooms/5", "data": ' + "[" * 500 + "]" * 500 + "}",
    "[" * 60_000,
    '{"unwatch": {}}',
    "\x00",
    "watch /orders/3",
]


@pytest.mark.parametrize("frame", MALFORMED, ids=lambda f: f[:40])
async def test_malformed_frame(frame: str, server: ThreadServer) -> None:
    """A problem for the frame alone; the next frame is understood."""
    async with Socket(server) as socket:
        await socket.error(frame)
        await works(socket)


async def test_too_many_errors(server: ThreadServer) -> None:
    """After twenty of them 1008; other clients stay."""
    async with Socket(server) as good, Socket(server) as bad:
        await works(good)
        for _ in range(21):
            await bad.send("{")
        code, frames = await bad.closed()
        assert code == 1008
        assert 19 <= len([frame for frame in frames if "error" in frame]) <= 21
        await good.ask({"watch": "/orders/4"})


async def test_binary_frame(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.send(b'{"watch": "/orders/3"}')
        assert await socket.closed() == (1003, [])


@pytest.mark.parametrize("length", [70_000, 3_000_000])
async def test_message_over_the_limit(length: int, server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.send(json.dumps({"watch": "/orders/3?" + "x" * length}))
        code, _ = await socket.closed()
        assert code == 1009


async def test_long_target_within_the_message_limit(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.error({"watch": "/orders/3?" + "x" * 8200})
        await works(socket)


async def test_channel_that_does_not_exist(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.error({"send": "/rooms/5", "data": {}})
        await works(socket)


async def test_unwatch_of_what_is_not_watched(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.send({"unwatch": "/orders/3"})
        await works(socket)


# Targets

ODD = [
    ("//evil", None),
    ("//evil/orders/3", None),
    ("http://evil.test/orders/3", None),
    ("https://127.0.0.1/orders/3", None),
    ("/%2e%2e/orders/3", "/orders/3"),
    ("/orders/%2E%2E/vault/3", "/vault/3"),
    ("/orders/../vault/3", "/vault/3"),
    ("/orders/./3", "/orders/3"),
    ("/orders%2f3", "/orders%2F3"),
    ("/%6frders/3", "/orders/3"),
    ("/orders/3#fragment", None),
    ("/orders/%00", None),
    ("/orders/\x00", None),
    ("/orders/3\r\nx: y", None),
    ("/orders/%zz", None),
    ("/orders/%", None),
    ("/orders/\u2603", None),
    ("/orders/3 ", None),
    ("\\\\evil\\share", None),
    ("/\\evil", None),
    ("javascript:alert(1)", None),
]


@pytest.mark.parametrize(("target", "normal"), ODD, ids=lambda v: repr(v)[:30])
async def test_odd_target(target: str, normal: str | None, server: ThreadServer, shop: shop_app.Shop) -> None:
    """Refused with its normal form where it has one; nothing is looked at."""
    before = sum(shop.looks.values())
    async with Socket(server) as socket:
        answer = await socket.error({"watch": target})
        assert answer["error"]["status"] == 400
        if normal is not None:
            assert normal in answer["error"]["detail"]
        assert sum(shop.looks.values()) == before
        await works(socket)


async def test_target_relative_to_the_socket(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": "../orders/3"})
        assert answer.get("data") == TEA, answer


async def test_restives_own_uris_cannot_be_watched(server: ThreadServer) -> None:
    """A look at /-/live would be a watch of a watch."""
    async with Socket(server) as socket:
        for target in ("/-/live?live=sse&watch=/orders/3", "/-/live", "/-/nothing"):
            answer = await socket.ask({"watch": target})
            problem = answer.get("error") or answer["end"]
            assert 400 <= problem["status"] < 500
        await works(socket)


async def test_live_parameters_in_a_target_do_not_start_a_stream(server: ThreadServer) -> None:
    """The look is the plain GET: live= is not obeyed a second time."""
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": "/orders/3?live=sse"})
        assert answer.get("data") == TEA or "error" in answer or "end" in answer


# One watch per URI


async def test_second_watch_replaces_the_first(server: ThreadServer, http: Client) -> None:
    async with Socket(server) as socket:
        first = await socket.ask({"watch": "/orders/3"})
        again = await socket.ask({"watch": "/orders/3"})
        assert again["data"] == first["data"]
        current = await socket.ask({"watch": "/orders/3", "etag": first["etag"]})
        assert current == {"on": "/orders/3", "etag": first["etag"], "current": True}
        await http.put(server.url + "/orders/3", json={"n": 2})
        assert (await socket.frame())["data"] == {"n": 2}
        await socket.silent(0.4)


async def test_new_credentials_are_looked_at_at_once(server: ThreadServer, http: Client) -> None:
    """What is told afterwards is the new one's; the old one's right is not used any more."""
    async with Socket(server) as socket:
        first = await socket.ask({"watch": "/vault/3", "headers": {"authorization": "Bearer ann"}})
        assert first["data"]["owner"] == "ann"
        second = await socket.ask({"watch": "/vault/3", "headers": {"authorization": "Bearer bob"}})
        assert second["data"]["owner"] == "bob"
        # Said with the tag of the state it has: a tag of ann's is no news for bob's watch but bob's own.
        third = await socket.ask(
            {"watch": "/vault/3", "etag": second["etag"], "headers": {"authorization": "Bearer ann"}}
        )
        assert third["data"]["owner"] == "ann"
        worse = await socket.ask({"watch": "/vault/3", "headers": {"authorization": "Bearer eve"}})
        assert worse["end"]["status"] == 403
        await http.put(server.url + "/orders/3", json={"n": 2})
        await socket.silent(0.3)


async def test_unwatch(server: ThreadServer, http: Client) -> None:
    async with Socket(server) as socket:
        await works(socket)
        await socket.send({"unwatch": "/orders/3"})
        await socket.ask({"watch": "/orders/4"})  # it has been read by now
        await http.put(server.url + "/orders/3", json={"n": 2})
        await socket.silent(0.3)
        await http.put(server.url + "/orders/4", json={"n": 2})
        assert (await socket.frame())["on"] == "/orders/4"


async def test_too_many_watches(server: ThreadServer, shop: shop_app.Shop, http: Client) -> None:
    """The one too many is refused, the others live; a place is free again after unwatch."""
    shop.orders.update({i: {"n": i} for i in range(10, 16)})
    async with Socket(server) as socket:
        for i in range(10, 15):
            await socket.ask({"watch": f"/orders/{i}"})
        refused = await socket.error({"watch": "/orders/15"})
        assert refused["on"] == "/orders/15"
        assert (await socket.ask({"watch": "/orders/14"}))["data"] == {
            "n": 14
        }  # a replacement is none too many
        await socket.send({"unwatch": "/orders/10"})
        assert (await socket.ask({"watch": "/orders/15"}))["data"] == {"n": 15}
        await http.put(server.url + "/orders/11", json={"n": 0})
        assert (await socket.frame())["on"] == "/orders/11"


async def test_many_watches_of_different_resources(server: ThreadServer, http: Client) -> None:
    async with Socket(server) as socket:
        for target in ("/orders/3", "/orders/4", "/orders", "/orders?limit=1"):
            await socket.send({"watch": target})
        got = {frame["on"]: frame["data"] for frame in [await socket.frame() for _ in range(4)]}
        assert set(got) == {"/orders/3", "/orders/4", "/orders", "/orders?limit=1"}
        await http.put(server.url + "/orders/3", json={"n": 5})
        changed = {frame["on"]: frame["data"] for frame in [await socket.frame() for _ in range(3)]}
        assert changed["/orders/3"] == {"n": 5}
        assert set(changed) == {"/orders/3", "/orders", "/orders?limit=1"}


# How long it is open


async def test_socket_that_never_watches(serve: Serve) -> None:
    app, _, _ = shop_app.make(**CALM, hello=0.2)
    async with Socket(serve(app)) as socket:
        assert await socket.closed() == (1000, [])


async def test_hello_is_not_prolonged_by_nonsense(serve: Serve) -> None:
    app, _, _ = shop_app.make(**CALM, hello=0.3, linger=60.0, max_errors=1000)
    async with Socket(serve(app)) as socket:

        async def chatter() -> None:
            while True:
                await socket.send("{")
                await asyncio.sleep(0.05)

        chattering = asyncio.ensure_future(chatter())
        assert (await socket.closed())[0] == 1000
        chattering.cancel()
        await asyncio.wait([chattering])


@pytest.mark.parametrize("how", ["unwatch", "end"])
async def test_linger_after_the_last_watch(how: str, serve: Serve, http: Client) -> None:
    app, _, _ = shop_app.make(**CALM, hello=0.1, linger=0.4)
    server = serve(app)
    async with Socket(server) as socket:
        await works(socket)
        await socket.silent(0.6)  # neither hello nor linger count while there is a watch
        if how == "unwatch":
            await socket.send({"unwatch": "/orders/3"})
        else:
            await http.delete(server.url + "/orders/3")
            assert "end" in await socket.frame()
        await http.put(server.url + "/orders/3", json=TEA)
        await works(socket)  # within linger: it is in use again
        await socket.silent(0.6)
        await socket.send({"unwatch": "/orders/3"})
        assert (await socket.closed())[0] == 1000


async def test_lifetime_of_a_socket(serve: Serve) -> None:
    """At its end: when to come back, then 1012."""
    app, _, _ = shop_app.make(**CALM, socket_lifetime=0.4)
    async with Socket(serve(app)) as socket:
        await works(socket)
        code, frames = await socket.closed()
        assert code == 1012
        assert isinstance(frames[-1]["retry"], int)
        assert frames[-1]["retry"] > 0


async def test_replaced_cookie_makes_the_socket_reconnect(serve: Serve) -> None:
    """A response over HTTP that gives a cookie another value, to the client with that very cookie."""
    app, _, _ = shop_app.make(**CALM)

    @app.post("/login")
    async def login(name: str) -> Any:
        from fastapi import Response

        response = Response()
        response.set_cookie("sid", name)
        return response

    server = serve(app)
    cookies = [{"cookie": f"sid={who}; theme=dark"} for who in ("ann", "bob")]
    sockets = [Socket(server, headers=c, origin=server.url) for c in cookies]
    async with sockets[0] as ann, sockets[1] as bob, Client(trust_env=False) as http:
        await works(ann)
        await works(bob)
        await http.post(server.url + "/login?name=ann", headers=cookies[0])
        await ann.silent(0.1)  # the same value: nothing is replaced
        await http.post(server.url + "/login?name=carl", headers=cookies[0])
        code, frames = await ann.closed()
        assert code == 1012
        assert "retry" in frames[-1]
        await bob.silent(0.1)
