"""The socket on a bare transport, from a client's side: RFC 6455, its limits, and how connections end."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from apps import kinds
from apps import shop as shop_app
from apps.shop import TEA
from restive.transports.bare import Bare
from restive.transports.bare_socket import BareSocket
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import UPGRADE, Raw, request
from transports.conftest import Carriage
from wire.test_websocket_reading import MALFORMED
from wire.websocket_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, octets, packed

WATCH = {"watch": "/orders/3"}


def connections(server: ThreadServer) -> list[Any]:
    return list(server._server.server_state.connections)


@pytest.fixture
def shop(serve: Serve) -> ThreadServer:
    """The shop, served on uvloop."""
    return serve(shop_app.make(**CALM)[0], loop="uvloop")


async def test_watching(carriage: Carriage) -> None:
    """A watch, changes, a second watch on the same connection."""
    app, live, orders = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        assert (await raw.open(Sec_WebSocket_Protocol="restive.v1")).status == 101
        raw.say(WATCH)
        assert (await raw.told())["data"] == TEA
        for count in range(2, 5):
            orders.orders[3] = {"count": count}
            live.changed("/orders/3")
            assert (await raw.told())["data"] == {"count": count}
        raw.say({"watch": "/orders"})
        assert (await raw.told())["on"] == "/orders"


async def test_nothing_is_left_but_a_small_protocol(carriage: Carriage) -> None:
    """No task for a client, no protocol of uvicorn's; and nothing at all once it has gone."""
    app, live, _ = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as first, carriage.raw(server) as second:
        await first.open()
        first.say(WATCH)
        await first.told()
        second.request("/orders/3?live=sse")
        await second.until(b"tea")
        await until(lambda: not server._server.server_state.tasks)
        assert len(connections(server)) == 2
        assert all(isinstance(each, Bare) for each in connections(server))
    await until(lambda: not connections(server))
    await until(lambda: "hubs=[]" in repr(live))


async def test_one_byte_at_a_time(shop: ThreadServer) -> None:
    """The handshake as well."""
    async with Raw(shop.port) as raw:
        for octet in octets(request("/-/live", UPGRADE)):
            raw.send(octet)
            await asyncio.sleep(0.0005)
        assert (await raw.head()).status == 101
        for octet in octets(frame(TEXT, json.dumps(WATCH).encode())):
            raw.send(octet)
            await asyncio.sleep(0.0005)
        assert (await raw.told())["data"] == TEA


async def test_fragments_with_a_ping_between(carriage: Carriage) -> None:
    server = carriage.start(shop_app.make(**CALM)[0])
    text = json.dumps(WATCH).encode()
    async with carriage.raw(server) as raw:
        await raw.open()
        raw.send(frame(TEXT, text[:5], fin=False) + frame(PING, b"are you there?"))
        assert (await raw.frame())[:2] == (PONG, b"are you there?")
        raw.send(frame(CONTINUATION, b"", fin=False) + frame(PONG) + frame(CONTINUATION, text[5:]))
        assert (await raw.told())["data"] == TEA


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed(case: str, shop: ThreadServer) -> None:
    """A close with its code, then the end of the connection: the close is not lost by a reset."""
    sent, code = MALFORMED[case]
    async with Raw(shop.port) as raw:
        await raw.open()
        raw.say(WATCH)
        await raw.told()
        raw.send(sent + frame(TEXT, b"{}") * 1000)
        assert (await raw.closed()).code == code
        assert await raw.rest() == b""


async def test_malformed_however_it_is_carried(carriage: Carriage) -> None:
    server = carriage.start(shop_app.make(**CALM)[0])
    async with carriage.raw(server) as raw:
        await raw.open()
        raw.send(frame(PING, b"1") + frame(TEXT, b"\xff"))
        assert (await raw.frame())[:2] == (PONG, b"1")
        assert (await raw.frame()).code == 1007
        assert await raw.rest() == b""


@pytest.mark.parametrize("sent", [close(1000, b"bye"), close(4321), frame(CLOSE)])
async def test_the_client_closes(sent: bytes, carriage: Carriage) -> None:
    """Its code comes back, and the server ends the connection (RFC 6455, 5.5.1 and 7.1.1)."""
    server = carriage.start(shop_app.make(**CALM)[0])
    async with carriage.raw(server) as raw:
        await raw.open()
        raw.say(WATCH)
        await raw.told()
        raw.send(sent + frame(TEXT, json.dumps({"watch": "/orders"}).encode()))
        got = await raw.frame()
        assert got.opcode == CLOSE
        assert got.code == (int.from_bytes(sent[6:8], "big") ^ 0x0102 if len(sent) > 6 else None)
        assert await raw.rest() == b""


async def test_half_closed(carriage: Carriage) -> None:
    """A client that ends its side is gone."""
    app, live, _ = shop_app.make(**CALM)
    server = carriage.start(app)
    async with carriage.raw(server) as raw:
        await raw.open()
        raw.say(WATCH)
        await raw.told()
        if raw.writer.can_write_eof():
            raw.writer.write_eof()
        else:
            raw.writer.close()
        await until(lambda: not connections(server))
        await until(lambda: "hubs=[]" in repr(live))


# Limits

FLOODS = {
    "binary": (frame(BINARY, b"x"), 1003),
    "a message too big": (frame(TEXT, b"x" * 66_000), 1009),
    "fragments": (frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * 10**5, 1009),
    "empty fragments": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 10**5, 1009),
    "pings": (frame(PING, b"x" * 100) * 10**5, 1008),
    "pongs": (frame(PONG) * 10**5, 1008),
    "messages": (frame(TEXT, b'{"unwatch": "/x"}') * 10**5, 1008),
    "messages not understood": (frame(TEXT, b"{}") * 100, 1008),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_floods(case: str, carriage: Carriage) -> None:
    """Each ends in a close, while another client is told of changes."""
    app, live, orders = shop_app.make(**CALM)
    server = carriage.start(app)
    sent, code = FLOODS[case]
    async with carriage.raw(server) as raw, carriage.raw(server) as other:
        await other.open()
        other.say(WATCH)
        await other.told()
        await raw.open()
        raw.send(sent)
        closing = asyncio.ensure_future(raw.closed())
        for count in range(10):
            orders.orders[3] = {"count": count}
            live.changed("/orders/3")
            assert (await other.told())["data"] == {"count": count}
        assert (await closing).code == code
        await raw.lost()
        await until(lambda: len(connections(server)) == 1)


async def test_pings_that_nobody_reads_the_answers_of(shop: ThreadServer) -> None:
    """A flood without an end, never read: the connection is over soon, and keeps next to nothing."""
    async with Raw(shop.port, room=4096) as raw:
        await raw.open()
        raw.stop_reading()
        (bare,) = connections(shop)
        async with asyncio.timeout(10):
            while bare in connections(shop):
                if not raw.writer.transport.is_closing():
                    raw.send(frame(PING, b"x" * 125) * 1000)
                transport = bare._transport
                assert transport is None or transport.get_write_buffer_size() < 200_000
                await asyncio.sleep(0.01)


async def test_a_packed_bomb(serve: Serve) -> None:
    server = serve(shop_app.make(**CALM)[0])
    async with Raw(server.port) as raw:
        await raw.open(Sec_WebSocket_Extensions="permessage-deflate")
        raw.send(frame(TEXT, packed(bytes(2**24)), rsv=4))
        assert (await raw.closed()).code == 1009


# Time

QUICK = {"hello": 0.1, "linger": 0.1}


async def test_a_socket_that_says_nothing(carriage: Carriage) -> None:
    """The hello does not wait for a heartbeat."""
    server = carriage.start(shop_app.make(**CALM, **QUICK)[0])
    async with carriage.raw(server) as raw:
        await raw.open()
        assert (await raw.closed()).code == 1000
        raw.send(close(1000))
        assert await raw.rest() == b""


@pytest.mark.parametrize("how", ["unwatch", "end"])
async def test_a_socket_with_nothing_to_do(how: str, serve: Serve) -> None:
    """Nor does the linger after the last watch, whoever ended it."""
    app, live, orders = shop_app.make(**CALM, **QUICK)
    server = serve(app)
    async with Raw(server.port) as raw:
        await raw.open()
        raw.say(WATCH)
        await raw.told()
        if how == "unwatch":
            raw.say({"unwatch": "/orders/3"})
        else:
            del orders.orders[3]
            live.changed("/orders/3")
            assert (await raw.told())["end"]["status"] == 404
        assert (await raw.frame()).code == 1000


async def test_the_lifetime(serve: Serve) -> None:
    server = serve(shop_app.make(**CALM, socket_lifetime=0.2)[0])
    async with Raw(server.port) as raw:
        await raw.open()
        raw.say(WATCH)
        await raw.told()
        assert (await raw.told())["retry"] > 0
        assert (await raw.frame()).code == 1012


async def test_a_close_that_is_not_answered(carriage: Carriage) -> None:
    """The server does not wait for ever for the client's."""
    server = carriage.start(shop_app.make(**CALM, **QUICK)[0])
    async with carriage.raw(server) as raw:
        await raw.open()
        assert (await raw.closed()).code == 1000
        await raw.lost()
        await until(lambda: not connections(server))


async def test_a_client_that_shows_no_sign_of_life(serve: Serve) -> None:
    """Pings, and after some of them the end."""
    server = serve(shop_app.make(**CALM, heartbeat=0.1)[0])
    async with Raw(server.port) as dead, Raw(server.port) as alive:
        for raw in (dead, alive):
            await raw.open()
            raw.say(WATCH)
            await raw.told()
        pings = 0
        while len(connections(server)) == 2:
            if (await alive.frame()).opcode == PING:
                alive.send(frame(PONG))
                pings += 1
        assert pings >= 3
        assert (await dead.frame()).opcode == PING
        await dead.lost()


# permessage-deflate

OFFERS = {
    "permessage-deflate": True,
    "permessage-deflate; client_max_window_bits": True,
    "permessage-deflate; client_max_window_bits=10; server_no_context_takeover": True,
    'permessage-deflate; client_max_window_bits="12"': True,
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": True,
    "foo, permessage-deflate": True,
    "permessage-deflate; server_max_window_bits=10": False,
    "permessage-deflate; unknown": False,
    "permessage-deflate; client_max_window_bits=7": False,
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover": False,
    "permessage-deflate; server_no_context_takeover=1": False,
    "x-webkit-deflate-frame": False,
    "permessage-deflate-not": False,
}


@pytest.mark.parametrize("offer", OFFERS)
async def test_offers(offer: str, serve: Serve) -> None:
    app, _, shelf = kinds.make(**CALM)
    shelf.results["x"] = ["tea"] * 500
    server = serve(app)
    async with Raw(server.port) as raw:
        head = await raw.open(Sec_WebSocket_Extensions=offer)
        agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        assert head.fields.get("sec-websocket-extensions") == (agreed if OFFERS[offer] else None)
        raw.say({"watch": "/results/x"})
        got = await raw.frame()
        assert got.packed is OFFERS[offer]
        data = zlib.decompressobj(-15).decompress(got.data) if got.packed else got.data
        assert json.loads(data)["data"] == ["tea"] * 500


async def test_one_rendering_is_packed_once(carriage: Carriage) -> None:
    """The same bytes go to all who agreed on it, the plain ones to the others."""
    app, live, shelf = kinds.make(**CALM)
    server = carriage.start(app)
    shelf.results["x"] = ["tea"] * 500
    scheme = "wss" if carriage.tls else "ws"
    url = f"{scheme}://{server.host}/-/live"
    options: dict[str, Any] = {"proxy": None, "ssl": carriage.tls}
    offer = [ClientPerMessageDeflateFactory(client_max_window_bits=True)]
    async with (
        connect(url, extensions=offer, compression=None, **options) as first,
        connect(url, **options) as second,
        connect(url, compression=None, **options) as third,
    ):
        for client in (first, second, third):
            await client.send('{"watch": "/results/x"}')
            assert json.loads(await client.recv())["data"] == ["tea"] * 500
        for n in range(3):
            shelf.results["x"] = [n] * 500
            live.changed("/results/x")
            for client in (first, second, third):
                assert json.loads(await client.recv())["data"] == [n] * 500
        packing = [each._deflates for each in connections(server) if isinstance(each, BareSocket)]
        assert sorted(packing) == [False, True, True]


# Books

WAYS_TO_GO = ["cut", "close", "nonsense", "half", "refused"]


async def test_each_connection_is_counted_until_it_is_over(serve: Serve) -> None:
    """``max_connections`` of one address: whoever goes, in whatever way, makes room."""
    server = serve(shop_app.make(**CALM, max_connections=2)[0])
    for n in range(10):
        async with Raw(server.port) as raw, Raw(server.port) as stream, Raw(server.port) as third:
            assert (await raw.open()).status == 101
            stream.request("/orders/3?live=sse")
            assert (await stream.head()).status == 200
            assert (await third.open()).status == 429
            how = WAYS_TO_GO[n % len(WAYS_TO_GO)]
            if how == "close":
                raw.send(close(1000))
                await raw.lost()
            elif how == "nonsense":
                raw.send(frame(15))
                await raw.lost()
            elif how == "half":
                raw.writer.write_eof()
                stream.writer.write_eof()
                await raw.lost()
                await stream.lost()
        await until(lambda: not connections(server))
