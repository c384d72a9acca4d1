"""The protocol's events and cursor: what a reader of server-sent events gets of them."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.wire import durable
from restive.wire.sse import Parser

NOW = durable.EPOCH + 20 * 1000 + 7.5


def test_an_interval_is_20_seconds_from_9_october_2024():
    assert durable.interval(1_728_432_000) == 0
    assert durable.interval(1_728_432_019.9) == 0
    assert durable.interval(1_728_432_020) == 1


@pytest.mark.parametrize("given", [None, "", "999", "-5", "x", "1e9", "٣", "9" * 13])
def test_a_cursor_that_is_past_or_none_gets_the_interval_of_now(given: str | None):
    assert durable.cursor_after(given, NOW, 0.5) == 1000


@given(st.integers(1000, 10**11), st.floats(0, 1, exclude_max=True))
def test_a_cursor_that_is_not_past_is_passed_by_an_hour_at_most(given: int, jitter: float):
    after = durable.cursor_after(str(given), NOW, jitter)
    assert given < after <= given + 180


def events(data: bytes) -> list[tuple[str, str, str]]:
    return [(event.name, event.data, event.id) for event in Parser().feed(data)]


@given(st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists), min_size=1))
def test_json_items_come_as_one_array(items: list[object]):
    ((name, data, _),) = events(durable.data("json", [json.dumps(item, indent=1).encode() for item in items]))
    assert name == "data"
    assert json.loads(data) == items


@given(st.lists(st.binary(), min_size=1))
def test_bytes_come_as_base64(items: list[bytes]):
    ((name, data, _),) = events(durable.data("bytes", items))
    assert (name, b64decode(data, validate=True)) == ("data", b"".join(items))


@given(st.lists(st.text(st.characters(exclude_characters="\r", codec="utf-8")), min_size=1))
def test_text_comes_as_it_is(items: list[str]):
    ((_, data, _),) = events(durable.data("text", [item.encode() for item in items]))
    assert data == "".join(items)


def test_no_items_are_no_event():
    assert durable.data("json", []) == b""


def test_control_says_where_to_go_on():
    ((name, data, identity),) = events(durable.control("e_1", 1000, up_to_date=False, closed=False))
    assert (name, json.loads(data), identity) == (
        "control",
        {"streamNextOffset": "e_1", "streamCursor": "1000"},
        "e_1",
    )


def test_control_of_a_closed_stream_has_no_cursor():
    ((_, data, _),) = events(durable.control("e_1", 1000, up_to_date=True, closed=True))
    assert json.loads(data) == {"streamNextOffset": "e_1", "streamClosed": True, "upToDate": True}
