"""Ranges and conditions of a finished part, against RFC 9110 (13, 14) and a model of it."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.errors import Problem
from restive.operations.ranges import answer, parse

TAG = '"tag"'


@pytest.mark.parametrize(
    ("value", "size", "found"),
    [
        ("bytes=0-4", 10, [(0, 5)]),
        ("bytes=5-", 10, [(5, 10)]),
        ("bytes=5-99", 10, [(5, 10)]),
        ("bytes=-3", 10, [(7, 10)]),
        ("bytes=-99", 10, [(0, 10)]),
        ("Bytes=0-0", 10, [(0, 1)]),
        ("bytes= 0-0 , 2-3,", 10, [(0, 1), (2, 4)]),
        ("bytes=8-9,0-0", 10, [(8, 10), (0, 1)]),
        ("bytes=0-0,99-", 10, [(0, 1)]),
        # No range is there
        ("bytes=10-", 10, []),
        ("bytes=99-100,200-", 10, []),
        ("bytes=-0", 10, []),
        ("bytes=0-", 0, []),
        # Ignored
        ("bytes=", 10, None),
        ("bytes=,", 10, None),
        ("bytes=4-2", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=0x1-2", 10, None),
        ("bytes=\u0661-\u0662", 10, None),
        ("bytes=--1", 10, None),
        ("bytes=-", 10, None),
        ("bytes=1", 10, None),
        ("bytes=0-1 2-3", 10, None),
        ("items=0-1", 10, None),
        ("bytes", 10, None),
        ("", 10, None),
        ("bytes=-1", 0, None),
        ("bytes=0-5,3-9", 10, None),
        ("bytes=" + ",".join(f"{n * 2}-{n * 2}" for n in range(33)), 100, None),
        ("bytes=" + "9" * 19 + "-", 10, None),
        ("bytes=" + " " * 2000 + "0-1", 10, None),
    ],
)
def test_a_range_field(value, size, found):
    assert parse(value, size) == found


@given(st.text(alphabet="0123456789-,= bytes\t", max_size=60), st.integers(0, 100))
def test_whatever_is_asked_for_lies_in_the_part(value, size):
    for start, end in parse(f"bytes={value}", size) or []:
        assert 0 <= start < end <= size


PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=5)


@given(PAIRS, st.integers(1, 50))
def test_ranges_that_do_not_overlap_are_all_answered(asked, size):
    data = bytes(range(size))
    pairs = [(min(pair), max(pair)) for pair in asked]
    wanted = [data[first : last + 1] for first, last in pairs if first < size]
    covered = [place for first, last in pairs for place in range(first, min(last + 1, size))]
    value = "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs)
    found = parse(value, size)
    if len(covered) != len(set(covered)):
        assert found is None
    else:
        assert found is not None
        assert [data[start:end] for start, end in found] == wanted


def ask(method="GET", size=10, **fields):
    asked = {name.replace("_", "-"): value for name, value in fields.items()}
    return answer(method, asked, TAG, size, "text/plain", "boundary")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"range": "bytes=0-1"}, 206),
        ({"range": "bytes=0-1", "if_range": TAG}, 206),
        ({"range": "bytes=0-1", "if_range": f"W/{TAG}"}, 200),
        ({"range": "bytes=0-1", "if_range": '"other"'}, 200),
        ({"range": "bytes=0-1", "if_range": "Sat, 29 Oct 1994 19:43:31 GMT"}, 200),
        ({"if_range": '"other"'}, 200),
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f"W/{TAG}"}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": TAG, "range": "bytes=0-1"}, 304),
        ({"if_none_match": TAG, "range": "bytes=99-"}, 304),
        ({"if_match": TAG}, 200),
        ({"if_match": "*", "range": "bytes=0-1"}, 206),
        ({"if_modified_since": "Sat, 29 Oct 2044 19:43:31 GMT"}, 200),
        ({"if_unmodified_since": "Sat, 29 Oct 1994 19:43:31 GMT"}, 200),
    ],
)
def test_conditions(fields, status):
    assert ask(**fields).status == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"range": "bytes=99-"}, 416),
        ({"range": "bytes=99-", "if_range": TAG}, 416),
        ({"if_match": '"other"'}, 412),
        ({"if_match": f"W/{TAG}"}, 412),
        ({"if_match": '"other"', "if_none_match": TAG, "range": "bytes=99-"}, 412),
    ],
)
def test_refusals(fields, status):
    with pytest.raises(Problem) as caught:
        ask(**fields)
    assert caught.value.status == status
    if status == 416:
        assert caught.value.headers["Content-Range"] == "bytes */10"


def test_only_get_knows_ranges():
    head = ask("HEAD", range="bytes=0-1")
    assert (head.status, head.fields["Content-Length"]) == (200, "10")


def test_several_ranges_are_a_multipart_body():
    data = b"0123456789"
    reply = ask(range="bytes=8-9,0-2")
    body = b"".join(span.head + data[span.start : span.end] for span in reply.spans) + reply.tail
    assert (reply.status, int(reply.fields["Content-Length"])) == (206, len(body))
    assert "Content-Range" not in reply.fields
    head = f"Content-Type: {reply.fields['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    found = [(each["content-range"], each.get_content().strip()) for each in message.iter_parts()]
    assert found == [("bytes 8-9/10", "89"), ("bytes 0-2/10", "012")]
    assert {each["content-type"] for each in message.iter_parts()} == {"text/plain"}
