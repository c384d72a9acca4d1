"""permessage-deflate (RFC 7692) without context takeover: each message stands alone, none grows too big."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode

from restive.wire.websocket import Message, Opcode, deflated
from wire.websocket_client import BINARY, CONTINUATION, PING, TEXT, frame, octets, packed, read


def theirs() -> PerMessageDeflate:
    """The library's side of the same agreement."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("data", [b"", b"Hello", b"hello " * 500])
def test_a_packed_message(data: bytes, final: bool) -> None:
    sent = frame(TEXT, packed(data, final=final), rsv=4)
    for pieces in ([sent], octets(sent)):
        assert read(pieces, deflate=True) == ([Message(Opcode.TEXT, data)], None)


def test_the_examples_of_the_rfc() -> None:
    """Section 7.2.3: one block, fragments, no compression, a last block, two blocks."""
    hello = ([Message(Opcode.TEXT, b"Hello")], None)
    one = bytes.fromhex("f248cdc9c90700")
    assert read([frame(TEXT, one, rsv=4)], deflate=True) == hello
    parts = [frame(TEXT, one[:3], rsv=4, fin=False), frame(PING), frame(CONTINUATION, one[3:])]
    assert read(parts, deflate=True)[0][1:] == hello[0]
    for example in ("000500faff48656c6c6f00", "f348cdc9c9070000", "f248050000 00ffffcac9c90700"):
        assert read([frame(TEXT, bytes.fromhex(example), rsv=4)], deflate=True) == hello


def test_a_plain_message_beside_packed_ones() -> None:
    sent = [frame(TEXT, packed(b"a"), rsv=4), frame(TEXT, b"b"), frame(BINARY, packed(b"c"), rsv=4)]
    told = [Message(Opcode.TEXT, b"a"), Message(Opcode.TEXT, b"b"), Message(Opcode.BINARY, b"c")]
    assert read(sent, deflate=True) == (told, None)


def test_only_the_first_frame_of_a_message_says_so() -> None:
    sent = frame(TEXT, packed(b"hello")[:2], rsv=4, fin=False)
    assert read([sent, frame(CONTINUATION, packed(b"hello")[2:], rsv=4)], deflate=True) == ([], 1002)
    assert read([frame(PING, rsv=4)], deflate=True) == ([], 1002)


@pytest.mark.parametrize("payload", [b"\x07", b"\xff" * 50, b"\x06\x00\x00garbage"])
def test_broken(payload: bytes) -> None:
    """What zlib refuses."""
    assert read([frame(TEXT, payload, rsv=4)], deflate=True) == ([], 1007)


def test_text_is_judged_inflated() -> None:
    assert read([frame(TEXT, packed(b"\xff"), rsv=4)], deflate=True) == ([], 1007)


def test_the_bound_holds_for_what_comes_out() -> None:
    fits, bursts = packed(b"x" * 1000), packed(b"x" * 1001)
    assert read([frame(BINARY, fits, rsv=4)], most=1000, deflate=True)[1] is None
    assert read([frame(BINARY, bursts, rsv=4)], most=1000, deflate=True) == ([], 1009)


@pytest.mark.parametrize("fragments", [1, 50])
def test_a_bomb(fragments: int) -> None:
    """64 MiB of zeros in 64 KiB: refused without being made, in memory or in time."""
    bomb = frame_of_bomb(fragments)
    tracemalloc.start()
    begun = time.process_time()
    messages, failed = read(bomb, most=2**19, deflate=True)
    spent = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (messages, failed) == ([], 1009)
    assert peak < 4 * 2**20
    assert spent < 1


def frame_of_bomb(fragments: int) -> list[bytes]:
    data = packed(bytes(2**26))
    step = len(data) // fragments + 1
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    last = len(parts) - 1
    return [
        frame(BINARY if n == 0 else CONTINUATION, part, rsv=4 if n == 0 else 0, fin=n == last)
        for n, part in enumerate(parts)
    ]


@given(st.sampled_from([TEXT, BINARY]), st.text(max_size=2000))
@settings(max_examples=100)
def test_the_library_and_we_understand_each_other(opcode: int, text: str) -> None:
    """Message after message, with no memory of those before."""
    client, data = theirs(), text.encode()
    for _ in range(2):
        sent = client.encode(Frame(TheirOpcode(opcode), data))
        assert read([frame(opcode, bytes(sent.data), rsv=4)], deflate=True) == (
            [Message(Opcode(opcode), data)],
            None,
        )
        head, payload = split(deflated(opcode, data))
        got = client.decode(Frame(TheirOpcode(opcode), payload, True, bool(head & 0x40)))
        assert bytes(got.data) == data


def split(sent: bytes) -> tuple[int, bytes]:
    """The first byte of a server's frame, and its payload."""
    start = {126: 4, 127: 10}.get(sent[1], 2)
    return sent[0], sent[start:]


def test_what_does_not_shrink_goes_plain() -> None:
    assert deflated(TEXT, b"abc") == b"\x81\x03abc"
    assert deflated(TEXT, b"a" * 1000)[0] == 0xC1
