"""How responses, events and times are read: tables."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.client.news import Announced, Ended, Failure, Kind, Snapshot, Unchanged, of_answer, of_sse
from restive.client.policy import TRANSPORTS, Policy, retry_after, rungs
from restive.client.state import State, same
from restive.client.watch import normal_target
from restive.wire.sse import SSEEvent

LIVE = ["sse", "ndjson", "long-poll"]
JSON = {"content-type": "application/json", "etag": '"e"'}


@pytest.mark.parametrize("transport", ["poll", "long-poll"])
@pytest.mark.parametrize(
    ("headers", "body", "state"),
    [
        (JSON, b'{"a": 1}', State({"a": 1}, '"e"')),
        ({"content-type": "application/vnd.x+json; charset=utf-8"}, b"[]", State([])),
        (JSON, b"{broken", State("{broken", '"e"', "{broken")),
        (JSON, b'"\xff"', State(b'"\xff"', '"e"')),
        (JSON, b"", State(None, '"e"')),
        (JSON, b"[" * 100_000, State("[" * 100_000, '"e"', "[" * 100_000)),
        ({"content-type": "text/plain"}, "ä".encode(), State("ä", None, "ä")),
        ({"content-type": "text/plain; charset=latin-1"}, b"\xe4", State("ä", None, "ä")),
        ({"content-type": 'text/plain; charset="latin-1"; x=y'}, b"\xe4", State("ä", None, "ä")),
        ({"content-type": "text/plain; charset=klingon"}, b"x", State(b"x")),
        ({"content-type": "application/atom+xml"}, b"<x/>", State("<x/>", None, "<x/>")),
        ({"content-type": "image/png"}, b"\x89", State(b"\x89")),
        ({}, b"\x00", State(b"\x00")),
    ],
)
def test_a_representation_becomes_a_state(transport, headers, body, state):
    assert of_answer(transport, 200, headers, body, 0) == Snapshot(state)


@pytest.mark.parametrize(
    ("transport", "status", "expected"),
    [
        *(
            (t, s, Ended)
            for t in TRANSPORTS
            for s in (401, 403, 404, 405, 406, 410, 451, 301, 302, 303, 307, 308)
        ),
        *((t, s, Kind.BUSY) for t in TRANSPORTS for s in (408, 425, 429, 500, 502, 503, 599)),
        *((t, 504, Kind.SILENT) for t in LIVE),
        ("poll", 504, Kind.BUSY),
        *((t, s, Kind.REFUSED) for t in LIVE for s in (400, 411, 414, 422, 431)),
        *(("poll", s, Ended) for s in (400, 411, 414, 422, 431)),
        ("poll", 204, Snapshot),
        ("poll", 304, Unchanged),
        ("long-poll", 204, Unchanged),
        ("long-poll", 304, Unchanged),
        ("sse", 204, Ended),
        ("ndjson", 204, Ended),
    ],
)
def test_a_status_says_who_is_at_fault(transport, status, expected):
    """The resource (the watch ends), the server (come back), or the transport (take another)."""
    found = of_answer(transport, status, {}, b"", 0)
    assert (found.kind if isinstance(found, Failure) else type(found)) == expected


def test_a_problem_document_is_told_with_the_status_of_the_response():
    body = json.dumps({"status": 200, "title": "Gone", "detail": "Yesterday.", "when": 1}).encode()
    found = of_answer("poll", 410, {"content-type": "application/problem+json"}, body, 0)
    assert (found.problem.status, found.problem.detail, found.problem.members) == (
        410,
        "Yesterday.",
        {"when": 1},
    )
    moved = of_answer("sse", 301, {"location": "/b", "content-type": "application/json"}, b"{", 0)
    assert (moved.problem.status, moved.problem.members) == (301, {"location": "/b"})


@pytest.mark.parametrize(
    ("cache_control", "final"),
    [
        ("immutable, max-age=31536000", True),
        ("private, max-age=99999999, IMMUTABLE", True),
        ('immutable, max-age="31536000"', True),
        ("immutable, max-age=31535999", False),
        ("max-age=31536000", False),
        ("immutable", False),
        ("immutable, max-age=soon", False),
        ("immutable, max-age=" + "9" * 5000, True),
        ("", False),
    ],
)
def test_what_never_changes_is_final(cache_control, final):
    headers = {**JSON, "cache-control": cache_control}
    assert of_answer("poll", 200, headers, b"1", 0).final is final
    assert of_answer("poll", 304, headers, b"", 0).final is final


@pytest.mark.parametrize(
    ("event", "news"),
    [
        (SSEEvent("message", '{"a":1}', '"e"'), Snapshot(State({"a": 1}, '"e"'))),
        (SSEEvent("message", "no json", '"e"'), Snapshot(State("no json", '"e"', "no json"))),
        (SSEEvent("message", "null", '"e"'), Snapshot(State(None, '"e"'))),
        (SSEEvent("current", "{}", '"e"'), Unchanged('"e"')),
        (SSEEvent("fetch", "{}", '"e"'), Announced('"e"')),
        (SSEEvent("end", '{"status":200}', '"e"'), Ended(None)),
        (SSEEvent("news of next year", "{}", ""), None),
    ],
)
def test_events_of_a_stream(event, news):
    assert of_sse(event, text=False) == news


def test_what_was_text_stays_text():
    """A stream does not tell the text 12 from the number."""
    assert of_sse(SSEEvent("message", "12", '"e"'), text=True) == Snapshot(State("12", '"e"', "12"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("999999999999", 3600),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 100),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:01:40 -0000", 100),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after({"retry-after": value}, 0.0) == seconds


@given(st.integers(0, 2000), st.floats(0, 1))
def test_a_pause_is_a_random_part_of_a_bounded_time(failures, random):
    policy = Policy()
    assert 0 <= policy.delay(failures, random) <= policy.most_backoff
    assert policy.delay(failures, 1.0) >= policy.delay(max(0, failures - 1), 1.0)
    assert policy.better_delay(failures, random) <= 1.25 * policy.most_better_after


def test_the_names_of_transports():
    assert rungs("auto") == ("websocket", "sse", "long-poll", "poll")
    assert [rungs(name) for name in TRANSPORTS] == [(name,) for name in TRANSPORTS]
    with pytest.raises(ValueError, match="not 'smoke'"):
        rungs("smoke")


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("/a%7eb", "/a~b"),
        ("/a%2fb?x=%c3%a4", "/a%2Fb?x=%C3%A4"),
        ("/%41%2D%5f?%7E", "/A-_?~"),
        ("/100%25?a=b%20c+d", "/100%25?a=b%20c+d"),
    ],
)
def test_targets_are_put_in_normal_form(raw, normal):
    assert normal_target(raw) == normal
    assert normal_target(normal) == normal


def test_states_are_the_same_when_tag_and_content_are():
    assert same(State(1, '"a"'), State(1, 'W/"a"'))
    assert same(State({"a": 1}), State({"a": 1}, '"a"'))
    assert not same(State(1, '"a"'), State(1, '"b"'))
    assert not same(State(1, '"a"'), State(True, '"a"'))
    assert not same(State(b"1", '"a"'), State(b"2", '"a"'))
