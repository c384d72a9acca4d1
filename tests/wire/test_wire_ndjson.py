"""Lines: one object each, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.wire.ndjson import EMPTY, Splitter, line


def fed(pieces, max_line=100):
    splitter = Splitter(max_line)
    return [found for piece in pieces for found in splitter.feed(piece)]


def test_a_line_ends_with_a_newline():
    assert line(b'{"on":"/a"}') == b'{"on":"/a"}\n'


def test_what_has_a_newline_is_no_line():
    with pytest.raises(ValueError):
        line(b'{\n"on":"/a"}')


STREAM = b'{"a":1}\n\n{"b":"\xe2\x82\xac"}\r\n\r\n\n[1,\r2]\n"begun'
LINES = [b'{"a":1}', b'{"b":"\xe2\x82\xac"}', b"[1,\r2]"]


def test_every_split_gives_the_same_lines():
    for first in range(len(STREAM) + 1):
        for second in range(first, len(STREAM) + 1):
            assert fed([STREAM[:first], STREAM[first:second], STREAM[second:]]) == LINES


def test_byte_by_byte_gives_the_same_lines():
    assert fed(STREAM[i : i + 1] for i in range(len(STREAM))) == LINES


@given(
    st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda obj: b"\n" not in obj and not obj.endswith(b"\r"))
    ),
    st.data(),
)
def test_what_was_written_is_read_whatever_the_pieces(objects, data):
    stream = EMPTY.join(line(obj) for obj in objects)
    pieces = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        pieces.append(stream[:cut])
        stream = stream[cut:]
    assert fed(pieces) == objects


@pytest.mark.parametrize("cut", range(12))
@pytest.mark.parametrize("end", [b"", b"\n", b"\nmore"])
def test_a_line_that_is_too_long_is_an_error_before_it_ends(cut, end):
    stream = b"x" * 11 + end
    with pytest.raises(ValueError):
        fed([stream[:cut], stream[cut:]], max_line=10)


def test_the_longest_line_is_none_too_long():
    assert fed([b"x" * 10, b"\n", b"y" * 10 + b"\n"], max_line=10) == [b"x" * 10, b"y" * 10]


def test_a_megabyte_in_single_bytes_takes_linear_time():
    """Joining at each byte would need minutes here."""
    splitter = Splitter(1 << 20)
    for _ in range(1 << 20):
        splitter.feed(b"x")
    assert splitter.feed(b"\n") == [b"x" * (1 << 20)]
