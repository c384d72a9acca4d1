"""How a handshake's bytes may come, so that it is known again; and what is never known by its bytes."""

from __future__ import annotations

import asyncio

import pytest

from scenarios.servers import Serve
from transports.bare_client import request
from transports.conftest import Carriage
from transports.early_users import HELLO, WATCH, Socket, Users, cookie, handshake, known, new_key, proof
from wire.websocket_client import PING, PONG, TEXT, frame

HELLO_FRAME = frame(TEXT, b'{"watch": "/me"}')


def spelled(change: str, key: str) -> bytes:
    """A handshake whose field of the key is written in another way."""
    line = f"Sec-WebSocket-Key: {key}\r\n".encode()
    plain = request("/-/live", HELLO)
    head, _, rest = plain.partition(b"\r\n")
    first = head + b"\r\n" + line + rest
    return {
        "first": first,
        "last": handshake(key),
        "lower": first.replace(b"Sec-WebSocket-Key", b"sec-websocket-key"),
        "upper": first.replace(b"Sec-WebSocket-Key", b"SEC-WEBSOCKET-KEY"),
        "no space": first.replace(b"Key: ", b"Key:"),
        "spaces": first.replace(b"Key: ", b"Key:  \t "),
        "long": handshake(key, {"X": "x" * 1500}),
    }[change]


@pytest.mark.parametrize("change", ["first", "last", "lower", "upper", "no space", "spaces", "long"])
async def test_however_the_key_is_written(change: str, serve: Serve, calls: list[str]) -> None:
    server = serve(Users().app)
    for _ in range(3):
        async with Socket(server.port) as socket:
            key = new_key()
            socket.send(spelled(change, key))
            assert (await socket.agreed(key)).status == 101
            socket.say(WATCH)
            assert (await socket.state())["n"] == 0
    assert len(calls) == 1


KEYS = {
    "15 bytes": "AAAAAAAAAAAAAAAAAAAA",
    "17 bytes": "AAAAAAAAAAAAAAAAAAAAAAA=",
    "one char less": "AAAAAAAAAAAAAAAAAAAAA==",
    "none": "",
    "no base64": "!!!!!!!!!!!!!!!!!!!!!!==",
    "padding within": "AAAAAAAAAAAAAAAAAAAA==A=",
    "two": "AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBA==",
    "the same twice": "AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-key:AAAAAAAAAAAAAAAAAAAAAA==",
    "two in one": "AAAAAAAAAAAAAAAAAAAAAA==, AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_that_is_none(name: str, serve: Serve, calls: list[str]) -> None:
    """Refused as ever, however well the rest of the handshake is known."""
    server = serve(Users().app)
    await known(server)
    for _ in range(2):
        async with Socket(server.port) as socket:
            socket.send(handshake(KEYS[name]))
            assert (await socket.head()).status == 400
    assert len(calls) == 1


async def test_a_key_of_which_two_bits_say_nothing(serve: Serve, calls: list[str]) -> None:
    """Sixteen bytes, if not as an encoder writes them: accepted, but not early."""
    server = serve(Users().app)
    await known(server)
    key = "AAAAAAAAAAAAAAAAAAAAAB=="
    async with Socket(server.port) as socket:
        socket.send(handshake(key))
        assert (await socket.head()).fields["sec-websocket-accept"] == proof(key)
    assert len(calls) == 2


LINES = frame(PING, b"\r\n\r\n", mask=bytes(4))
"""A frame that ends like a head does."""


@pytest.mark.parametrize("early", [frame(PING, b"1"), LINES, LINES * 3, HELLO_FRAME + LINES, LINES[:5]])
async def test_frames_behind_the_handshake_in_one_segment(
    early: bytes, carriage: Carriage, calls: list[str]
) -> None:
    server = carriage.start(Users().app)
    for turn in range(3):
        async with carriage.raw(server) as raw:
            key = new_key()
            raw.send(handshake(key) + early)
            assert (await raw.head()).fields["sec-websocket-accept"] == proof(key)
            raw.send(LINES[5:] if early == LINES[:5] else frame(PING, b"last"))
            pongs, wanted = 0, early.count(b"\r\n\r\n") + (early != LINES[:5])
            while pongs < max(wanted, 1):
                pongs += (await raw.frame()).opcode == PONG
        assert len(calls) == turn + 1


async def test_frames_behind_it_in_the_next_segment(carriage: Carriage, calls: list[str]) -> None:
    """Sent without waiting for the answer; they may come with it or not."""
    server = carriage.start(Users().app)
    await known(server, tls=carriage.tls)
    for _ in range(20):
        async with Socket(server.port, tls=carriage.tls) as socket:
            key = new_key()
            socket.send(handshake(key))
            await asyncio.sleep(0)
            socket.send(HELLO_FRAME)
            assert (await socket.agreed(key)).status == 101
            assert (await socket.state())["n"] == 0


async def test_a_handshake_in_pieces(serve: Serve, calls: list[str]) -> None:
    server = serve(Users().app)
    await known(server)
    data = handshake("x" * 24)
    for cut in (1, 3, 4, 30, data.find(b"x" * 24), data.find(b"x" * 24) + 9, len(data) - 2, len(data) - 1):
        async with Socket(server.port) as socket:
            key = new_key()
            data = handshake(key)
            socket.send(data[:cut])
            await asyncio.sleep(0.02)
            socket.send(data[cut:])
            assert (await socket.agreed(key)).status == 101
            socket.say(WATCH)
            assert (await socket.state())["n"] == 0
    await known(server)
    assert len(calls) == 9


BODIES = {
    "length": {"Content-Length": "5"},
    "chunked": {"Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("how", BODIES)
async def test_a_handshake_that_promises_a_body(how: str, apart: bool, serve: Serve) -> None:
    """Whatever the parser makes of what follows its head, it is the same each time."""
    server = serve(Users().app)
    body = b"hello" if how == "length" else b"5\r\nhello\r\n0\r\n\r\n"
    ends = set()
    for _ in range(3):
        async with Socket(server.port) as socket:
            socket.send(handshake(new_key(), BODIES[how]) + (b"" if apart else body))
            assert (await socket.head()).status == 101
            socket.send((body if apart else b"") + frame(PING, b"1"))
            ends.add((await socket.frame()).opcode)
    assert len(ends) == 1


async def test_the_key_of_what_is_no_handshake_opens_nothing(serve: Serve, calls: list[str]) -> None:
    """Bytes are known by what came of them, not by what came next on their connection.

    Behind a proxy that takes ``Upgrade`` out, somebody's handshake is a plain GET.
    """
    users = Users()
    server = serve(users.app)
    hidden = {name: value for name, value in HELLO.items() if name not in {"Connection", "Upgrade"}}

    data = request("/me", {**hidden, "Sec-WebSocket-Key": new_key()})
    async with Socket(server.port) as socket:
        socket.send(data)
        await socket.until(b'"padding":""}')
        assert (await socket.shake(cookie("ann"))).status == 101
    async with Socket(server.port) as socket:
        socket.send(data)
        assert (await socket.head()).status == 200
