"""The server's side of RFC 6455: what a client may send, however it is cut, and what ends the connection."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import CloseCode
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import State
from websockets.uri import parse_uri

from restive.wire.websocket import Failure, Message, Opcode, Reader, close_frame
from restive.wire.websocket import frame as served
from wire.websocket_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, octets, read

HELLO = Message(Opcode.TEXT, b"hello")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_one_message(size: int, opcode: int) -> None:
    data = b"x" * size
    whole = frame(opcode, data)
    for pieces in ([whole], [whole[:1], whole[1:]], [whole[:11], whole[11:]], octets(whole)):
        assert read(pieces, most=65_536) == ([Message(Opcode(opcode), data)], None)


def test_a_fragmented_message_with_controls_between() -> None:
    sent = (
        frame(TEXT, b"hel", fin=False)
        + frame(PING, b"1")
        + frame(CONTINUATION, b"", fin=False)
        + frame(PONG)
        + frame(CONTINUATION, b"lo")
    )
    told = [Message(Opcode.PING, b"1"), Message(Opcode.PONG, b""), HELLO]
    assert read([sent]) == (told, None)
    assert read(octets(sent)) == (told, None)


def test_utf8_may_be_cut_between_fragments() -> None:
    parts = [frame(TEXT, "€".encode()[:1], fin=False), frame(CONTINUATION, "€".encode()[1:])]
    assert read(parts) == ([Message(Opcode.TEXT, "€".encode())], None)


def test_many_frames_in_one_segment() -> None:
    sent = b"".join(frame(TEXT, b"%d" % n) for n in range(20_000))
    messages, failed = read([sent])
    assert failed is None
    assert [int(message.data) for message in messages] == list(range(20_000))


MALFORMED = {
    "not masked": (frame(TEXT, b"hello", mask=None), 1002),
    "not masked and empty": (frame(TEXT, mask=None), 1002),
    "a control not masked": (frame(PING, mask=None), 1002),
    **{f"reserved bits {rsv:03b}": (frame(TEXT, rsv=rsv), 1002) for rsv in range(1, 8)},
    "compressed without agreement": (frame(TEXT, b"x", rsv=4), 1002),
    **{f"opcode {n}": (frame(n), 1002) for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping in fragments": (frame(PING, fin=False), 1002),
    "a close in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "an unfinished continuation of nothing": (frame(CONTINUATION, b"x", fin=False), 1002),
    "a message within a message": (frame(TEXT, fin=False) + frame(TEXT), 1002),
    "a binary message within a text": (frame(TEXT, fin=False) + frame(BINARY), 1002),
    "a continuation after the last": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c"),
        1002,
    ),
    "a length in two bytes for one": (frame(TEXT, b"x" * 125, form=2), 1002),
    "a length in eight bytes for two": (frame(TEXT, b"x" * 200, form=8), 1002),
    "a length in eight bytes for one": (frame(TEXT, b"x", form=8), 1002),
    "a length of 64 bits": (frame(TEXT, size=1 << 63, form=8), 1002),
    "a length of 63 bits": (frame(TEXT, size=(1 << 63) - 1, form=8), 1009),
    "one byte too big": (frame(TEXT, size=65_537), 1009),
    "too big in fragments": (
        frame(BINARY, b"x" * 40_000, fin=False) + frame(CONTINUATION, b"x" * 40_000),
        1009,
    ),
    "not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "UTF-8 cut off": (frame(TEXT, "€".encode()[:2]), 1007),
    "a surrogate": (frame(TEXT, "\ud800".encode(errors="surrogatepass")), 1007),
    "an overlong slash": (frame(TEXT, b"\xc0\xaf"), 1007),
    "beyond Unicode": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "not UTF-8 in fragments": (frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"x"), 1007),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a reason that is not UTF-8": (close(1000, b"\xff"), 1007),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    """What came before counts, nothing after; cut anywhere, the code is the same."""
    sent, code = MALFORMED[case]
    sent = frame(TEXT, b"hello") + sent + frame(TEXT, b"never")
    told, failed = read([sent])
    assert told[0] == HELLO
    assert Message(Opcode.TEXT, b"never") not in told
    assert failed == code
    assert read(octets(sent)) == (told, failed)


@pytest.mark.parametrize("case", MALFORMED)
def test_nothing_is_read_after_a_failure(case: str) -> None:
    reader = Reader(65_536, 1024)
    with pytest.raises(Failure):
        list(reader.feed(MALFORMED[case][0]))
    for piece in (frame(TEXT, b"hello"), frame(15), b"\x00"):
        assert list(reader.feed(piece)) == []


def test_a_head_is_refused_before_its_payload_comes() -> None:
    """Nothing is collected for a message that will be too big."""
    for size, form in ((65_537, 8), (1 << 40, 8)):
        assert read([frame(TEXT, size=size, form=form)]) == ([], 1009)
    sent = frame(TEXT, b"x" * 60_000, fin=False) + frame(CONTINUATION, size=6_000)
    assert read([sent]) == ([], 1009)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1014, 3000, 4999])
def test_close_codes(code: int) -> None:
    assert read([close(code, b"why")]) == ([Message(Opcode.CLOSE, b"why", code)], None)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_codes_that_nobody_may_send(code: int) -> None:
    assert read([close(code)]) == ([], 1002)


def test_a_close_without_a_code() -> None:
    assert read([frame(CLOSE)]) == ([Message(Opcode.CLOSE, b"", None)], None)


def test_fragments_are_counted() -> None:
    """Empty ones too; the next message begins at none."""
    whole = [frame(TEXT, fin=False), *[frame(CONTINUATION, fin=False)] * 8, frame(CONTINUATION, b"x")]
    assert read(whole * 3, fragments=10) == ([Message(Opcode.TEXT, b"x")] * 3, None)
    assert read(whole, fragments=9) == ([], 1009)


def test_stop() -> None:
    """Whoever takes the messages may end the reading, in the middle of a segment too."""
    reader = Reader(100, 10)
    for message in reader.feed(frame(TEXT, b"hello") * 3 + frame(15)):
        assert message == HELLO
        reader.stop()
    assert list(reader.feed(frame(TEXT, b"hello"))) == []


def test_idle_holds_nothing() -> None:
    reader = Reader(100, 10)
    sent = frame(TEXT, b"he", fin=False) + frame(PING) + frame(CONTINUATION, b"llo")
    for octet in octets(sent)[:-1]:
        list(reader.feed(octet))
        assert not reader.idle
    assert list(reader.feed(sent[-1:])) == [HELLO]
    assert reader.idle


def test_one_byte_at_a_time_is_linear() -> None:
    """No byte is looked at again for every one that follows."""

    def seconds(size: int) -> float:
        pieces = octets(frame(BINARY, b"x" * size))
        begun = time.process_time()
        assert read(pieces, most=size)[1] is None
        return time.process_time() - begun

    assert min(seconds(400_000) for _ in range(2)) < 30 * min(seconds(50_000) for _ in range(2))


# Against the websockets library

data_frames = st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=300), st.integers(1, 5))
control_frames = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
conversations = st.lists(st.tuples(data_frames, st.lists(control_frames, max_size=3)), max_size=8)


def their_client() -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://shop.test/"), state=State.OPEN, max_size=None)


def spoken(
    conversation: list[tuple[tuple[int, str, int], list[tuple[int, bytes]]]],
) -> tuple[bytes, list[Message]]:
    """What the library's client writes, and what it meant."""
    client, meant = their_client(), []
    for (opcode, text, count), controls in conversation:
        data = text.encode()
        step = len(data) // count + 1
        parts = [data[at : at + step] for at in range(0, len(data) + 1, step)]
        pending = list(controls)
        for n, part in enumerate(parts):
            last = n == len(parts) - 1
            kind = opcode if n == 0 else CONTINUATION
            client.send_frame(TheirFrame(TheirOpcode(kind), part, last))
            if pending and not last:
                control, payload = pending.pop()
                client.send_frame(TheirFrame(TheirOpcode(control), payload))
                meant.append(Message(Opcode(control), payload))
        meant.append(Message(Opcode(opcode), data))
    client.send_close(CloseCode.NORMAL_CLOSURE, "done")
    meant.append(Message(Opcode.CLOSE, b"done", 1000))
    return b"".join(client.data_to_send()), meant


@given(conversations, st.data())
@settings(max_examples=150)
def test_any_conversation_cut_anyhow(conversation: list[object], data: st.DataObject) -> None:
    """What the library's client writes is read as it meant it, wherever the segments end."""
    sent, meant = spoken(conversation)  # type: ignore[arg-type]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=40)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert read(pieces) == (meant, None)
    assert read(octets(sent)) == (meant, None)


@given(st.lists(st.binary(max_size=60), max_size=12), st.booleans())
@settings(max_examples=200)
def test_nonsense_never_raises_anything_else(pieces: list[bytes], deflate: bool) -> None:
    """Any bytes end in messages or in a failure, the same ones however they were cut."""
    whole = read([b"".join(pieces)], most=40, fragments=3, deflate=deflate)
    assert read(pieces, most=40, fragments=3, deflate=deflate) == whole
    assert read(octets(b"".join(pieces)), most=40, fragments=3, deflate=deflate) == whole


@given(
    st.lists(
        st.builds(
            frame,
            st.integers(0, 15),
            st.binary(max_size=50),
            fin=st.booleans(),
            rsv=st.sampled_from([0, 0, 0, 4, 1]),
            mask=st.sampled_from([b"abcd", b"abcd", b"abcd", None]),
            size=st.sampled_from([None, None, None, 70_000, 1 << 62]),
        ),
        max_size=8,
    ),
    st.booleans(),
)
@settings(max_examples=200)
def test_odd_frames_end_the_same_however_cut(frames: list[bytes], deflate: bool) -> None:
    sent = b"".join(frames)
    assert read(octets(sent), deflate=deflate) == read([sent], deflate=deflate)


@given(st.sampled_from([TEXT, BINARY]), st.binary(max_size=70_000))
@settings(max_examples=30)
def test_the_library_reads_what_is_written(opcode: int, data: bytes) -> None:
    """And the close after it."""
    data = data if opcode == BINARY else data.hex().encode()
    client = their_client()
    client.receive_data(served(opcode, data) + close_frame(1012, "come back"))
    first, last = client.events_received()
    assert isinstance(first, TheirFrame)
    assert (first.opcode, bytes(first.data)) == (opcode, data)
    assert isinstance(last, TheirFrame)
    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.close_rcvd.reason) == (1012, "come back")


def test_a_close_never_is_too_long() -> None:
    """A reason is cut between characters."""
    for reason in ("x" * 200, "€" * 200):
        sent = close_frame(1008, reason)
        assert len(sent) <= 127
        assert reason.startswith(sent[4:].decode())
    assert close_frame(None) == b"\x88\x00"
