"""Event streams: the parser against the WHATWG algorithm, however the bytes are cut, and the encoder."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.wire import sse
from restive.wire.sse import Parser, SSEEvent


def by_the_letter(stream: bytes) -> tuple[list[SSEEvent], str, int | None]:
    """HTML 9.2.6 read word for word, on the whole stream at once: the oracle."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events: list[SSEEvent] = []
    data = event_type = id_buffer = last_event_id = ""
    retry: int | None = None
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data:
                events.append(SSEEvent(event_type or "message", data.removesuffix("\n"), last_event_id))
            data = event_type = ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
        elif field == "retry" and value and all(c in "0123456789" for c in value):
            retry = 10**15 if len(value.lstrip("0")) > 15 else int(value)
    return events, last_event_id, retry


def parse(chunks: Iterable[bytes]) -> tuple[list[SSEEvent], str, int | None]:
    parser = Parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.last_event_id, parser.retry


HOSTILE = {
    "plain": b"data: a\n\ndata: b\n\n",
    "carriage returns": b"data: a\r\rdata: b\r\r",
    "both": b"data: a\r\n\r\ndata: b\r\n\r\n",
    "mixed ends": b"data: a\rdata: b\ndata: c\r\n\r\n\r\ndata: d\n\r",
    "lf cr is two ends": b"data: a\n\rdata: b\n\r\n",
    "bom": b"\xef\xbb\xbfdata: a\n\n",
    "two boms": b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n",
    "bom later": b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n",
    "bom and an empty line": b"\xef\xbb\xbf\r\ndata: a\r\n\r\n",
    "half a bom": b"\xef\xbbdata: a\n\n",
    "comments": b":\n\n: data: no\n\n:data: no\ndata: yes\n:\n\n",
    "no space": b"data:a\nevent:e\nid:1\n\n",
    "two spaces": b"data:  a\n\n",
    "tab": b"data:\ta\n\n",
    "no colon": b"data\n\ndata\ndata\n\n",
    "empty values": b"data:\ndata: \n\nid:\nevent:\ndata: x\n\n",
    "colons in values": b"data: a:b: c\n\n",
    "nul in id": b"id: a\ndata: 1\n\nid: b\0c\ndata: 2\n\n",
    "nul elsewhere": b"event: a\0b\ndata: \0\n\n",
    "id stays": b"id: 1\ndata: a\n\ndata: b\n\n",
    "id alone": b"id: 7\n\ndata: a\n\n",
    "id emptied": b"id: 1\ndata: a\n\nid\ndata: b\n\n",
    "id without end": b"id: 1\n\nid: 2\ndata: lost",
    "event without data": b"event: lost\n\ndata: a\n\n",
    "retry": b"retry: 1500\n\n",
    "retry not digits": b"retry: 12a\nretry: -1\nretry: 1.5\nretry:  7\nretry\nretry:\n\ndata: a\n\n",
    "retry other digits": "retry: ١٢\nretry: ²\n\ndata: a\n\n".encode(),
    "retry zeros": b"retry: 000000000000000000000012\n\n",
    "retry huge": b"retry: " + b"9" * 5000 + b"\n\n",
    "unknown fields": b"Data: no\nDATA: no\n data: no\ndata : no\nfoo: bar\nfoo\n\ndata: yes\n\n",
    "unfinished": b"data: a\n\ndata: lost\n",
    "unfinished line": b"data: a\n\ndata: lost",
    "unfinished by cr": b"data: lost\r",
    "umlauts": "data: äöü€😀\nid: ä\nevent: ü\n\n".encode(),
    "broken utf-8": b"data: \xff\xfe a\xe2\x82\ndata: \xf0\x9f\n\nid: \xc3\ndata: x\n\n",
    "line separators of unicode": "data: a\u2028b\u2029c\x0bd\x0ce\x85f\n\n".encode(),
    "many ends": b"\n\n\r\r\r\n\r\n\n\rdata: a\n\n\n\n\n",
    "html says so": b"data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata: first event\nid: 1\n\n"
    b"data:second event\nid\n\ndata:  third event\n\ndata\n\ndata\ndata\n\ndata:",
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_streams_parse_by_the_letter_however_they_are_cut(stream):
    """Whole, byte by byte, and cut into two at every place: the same events, ID and retry."""
    expected = by_the_letter(stream)
    assert parse([stream]) == expected
    assert parse(stream[i : i + 1] for i in range(len(stream))) == expected
    for cut in range(len(stream) + 1):
        assert parse([stream[:cut], b"", stream[cut:]]) == expected, cut


def test_two_ends_in_the_example_of_the_standard():
    """What the standard says of its own example (HTML 9.2.6)."""
    events, _, _ = parse([HOSTILE["html says so"]])
    assert [(e.data, e.id) for e in events] == [
        ("YHOO\n+2\n10", ""),
        ("first event", "1"),
        ("second event", ""),
        (" third event", ""),
        ("", ""),
        ("\n", ""),
    ]


pieces = st.sampled_from(
    [
        b"data",
        b"id",
        b"event",
        b"retry",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff",
        b"7",
        b"x",
        "ä".encode(),
    ]
)
streams = st.lists(st.one_of(pieces, pieces, st.binary(max_size=4)), max_size=60).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(streams, st.lists(st.integers(1, 9), max_size=60))
def test_any_stream_in_any_pieces_parses_by_the_letter(stream, sizes):
    """Random soup of fields and line ends, cut at random."""
    chunks, at = [], 0
    for size in sizes:
        chunks.append(stream[at : at + size])
        at += size
    assert parse([*chunks, stream[at:]]) == by_the_letter(stream)


lines = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=20)


@settings(max_examples=200, deadline=None)
@given(lines, plain, plain)
def test_what_the_encoder_writes_the_parser_reads(data, name, tag):
    """Data comes back with its line ends as LF; name and ID come back as they are."""
    written = sse.event(data.encode(), name=name, id=tag)
    expected = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parse([sse.COMMENT, written, sse.COMMENT])[0] == [SSEEvent(name or "message", expected, tag)]


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "\n", "x\r\ndata: forged"])
@pytest.mark.parametrize("field", ["name", "id"])
def test_no_line_end_and_no_nul_enters_a_field(bad, field):
    with pytest.raises(ValueError, match="cannot enter"):
        sse.event(b"{}", **{field: bad})


def test_data_cannot_forge_a_field_or_an_event():
    """Whatever ends a line in the data begins another data line."""
    forged = b'1\n\nevent: end\rdata: {"status":200}\r\n\r\nid: x'
    events, last_id, _ = parse([sse.event(forged)])
    assert [e.name for e in events] == ["message"]
    assert last_id == ""


def test_retry_is_a_field_of_its_own():
    events, _, retry = parse([sse.retry(1500)])
    assert (events, retry) == ([], 1500)
    assert parse([sse.retry(-5)])[2] == 0


def test_an_empty_state_is_an_event():
    assert [e.data for e in parse([sse.event(b"")])[0]] == [""]


def _seconds(chunks: list[bytes]) -> float:
    parser = Parser()
    began = time.process_time()
    for chunk in chunks:
        parser.feed(chunk)
    return time.process_time() - began


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_megabyte_line_takes_linear_time(piece):
    """Four times the length may not take the 16 times of a parser that joins what it has at each chunk."""
    long = b"data: " + b"x" * 1_000_000 + b"\n\n"
    short = b"data: " + b"x" * 250_000 + b"\n\n"
    took = [
        min(_seconds([s[i : i + piece] for i in range(0, len(s), piece)]) for _ in range(3))
        for s in (short, long)
    ]
    assert took[1] < 10 * took[0] + 0.05
    assert [len(e.data) for e in parse([long])[0]] == [1_000_000]


def test_a_megabyte_of_short_lines_is_one_event():
    events, _, _ = parse([b"data: x\n" * 150_000 + b"\n"])
    assert events[0].data == "\n".join("x" * 150_000)


@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 2000, b"data: x\n" * 600, b"data: " + b"x" * 2000 + b"\n\n", b":" + b"x" * 2000],
)
@pytest.mark.parametrize("piece", [1, 5000])
def test_what_is_too_big_is_refused(stream, piece):
    """The bound holds for one line, for many lines of one event, and for comments, in one chunk or many."""
    parser = Parser(max_event=1000)
    chunks = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        list(map(parser.feed, chunks))


def test_many_events_are_not_one_big_one():
    parser = Parser(max_event=1000)
    assert len(parser.feed(sse.event(b"x" * 500) * 50)) == 50


def test_an_id_to_resume_from_goes_with_events_that_have_none():
    parser = Parser(last_event_id='"e"')
    assert parser.feed(b"data: a\n\n") == [SSEEvent("message", "a", '"e"')]
