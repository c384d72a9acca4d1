"""Events from server to client: written by concatenation, read by clients."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.wire import messages
from restive.wire.messages import (
    ClosedEvent,
    CurrentEvent,
    EndEvent,
    ErrorEvent,
    FetchEvent,
    ItemsEvent,
    PatchEvent,
    ResponseEvent,
    RetryEvent,
    StateEvent,
    parse_event,
)

TAG = '"d\\ef"'


@pytest.mark.parametrize(
    ("made", "json"),
    [
        (messages.state("/o/3", TAG, b'{"n":1.0}'), rb'{"on":"/o/3","etag":"\"d\\ef\"","data":{"n":1.0}}'),
        (
            messages.text("/o/3", "t", 'a"\n\u20ac'),
            '{"on":"/o/3","etag":"t","text":"a\\"\\n\u20ac"}'.encode(),
        ),
        (messages.patched("/o", "b", "a", b"[]"), b'{"on":"/o","etag":"b","base":"a","patch":[]}'),
        (messages.fetch("/o", "b"), b'{"on":"/o","etag":"b","fetch":true}'),
        (messages.current("/o", "b"), b'{"on":"/o","etag":"b","current":true}'),
        (messages.end("/o", {"status": 200}), b'{"on":"/o","end":{"status":200}}'),
        (messages.items("/s", "9", [b"1", b'"x"']), b'{"on":"/s","offset":"9","items":[1,"x"]}'),
        (messages.items("/s", "9", []), b'{"on":"/s","offset":"9","items":[]}'),
        (messages.closed("/s"), b'{"on":"/s","closed":true}'),
        (messages.error({"status": 400}), b'{"error":{"status":400}}'),
        (messages.error({"status": 400}, on="/o"), b'{"error":{"status":400},"on":"/o"}'),
        (messages.error({"status": 400}, id=0), b'{"error":{"status":400},"id":0}'),
        (messages.retry(1500), b'{"retry":1500}'),
        (
            messages.response(7, 200, {"a": "b"}, b"[1]"),
            b'{"id":7,"status":200,"headers":{"a":"b"},"body":[1]}',
        ),
        (messages.response("q", 204, {}), b'{"id":"q","status":204,"headers":{},"body":null}'),
        (messages.response(7, 200, {}, text="x"), b'{"id":7,"status":200,"headers":{},"text":"x"}'),
        (messages.response(7, 200, {}, base64="AA=="), b'{"id":7,"status":200,"headers":{},"base64":"AA=="}'),
        (
            messages.response(7, 200, {}, truncated=True),
            b'{"id":7,"status":200,"headers":{},"body":null,"truncated":true}',
        ),
    ],
)
def test_an_event_is_compact_json_as_the_protocol_has_it(made, json):
    assert made == json
    assert msgspec.json.decode(made) is not None


@pytest.mark.parametrize("name", ["set-cookie", "Set-Cookie", "SET-COOKIE"])
def test_set_cookie_never_enters_a_response(name):
    made = messages.response(7, 200, {name: ["session=secret"], "etag": '"x"'}, b"1")
    assert b"secret" not in made
    assert parse_event(made) == ResponseEvent(7, 200, {"etag": '"x"'}, 1, cookies=True)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
documents = st.dictionaries(st.text(), json_values)
strings = st.text()
headers = st.dictionaries(
    strings.filter(lambda name: name.lower() != "set-cookie"), strings | st.lists(strings)
)
encode = msgspec.json.encode


@given(strings, strings, json_values)
def test_states_are_read_as_they_were_written(on, etag, data):
    assert parse_event(messages.state(on, etag, encode(data))) == StateEvent(on, etag, data)
    assert parse_event(messages.state(on, etag, encode(data)).decode()) == StateEvent(on, etag, data)


@given(strings, strings, strings, documents, st.lists(json_values), st.integers(0))
def test_events_are_read_as_they_were_written(on, etag, other, document, listed, ms):
    assert parse_event(messages.text(on, etag, other)) == StateEvent(on, etag, text=other)
    assert parse_event(messages.patched(on, etag, other, encode(listed))) == PatchEvent(
        on, etag, other, listed
    )
    assert parse_event(messages.fetch(on, etag)) == FetchEvent(on, etag)
    assert parse_event(messages.current(on, etag)) == CurrentEvent(on, etag)
    assert parse_event(messages.end(on, document)) == EndEvent(on, document)
    assert parse_event(messages.items(on, etag, [encode(item) for item in listed])) == ItemsEvent(
        on, etag, listed
    )
    assert parse_event(messages.closed(on)) == ClosedEvent(on)
    assert parse_event(messages.error(document, on=on)) == ErrorEvent(document, on)
    assert parse_event(messages.error(document, id=other)) == ErrorEvent(document, id=other)
    assert parse_event(messages.retry(ms)) == RetryEvent(ms)


@given(st.integers() | strings, st.integers(100, 599), headers, json_values, strings, st.booleans())
def test_responses_are_read_as_they_were_written(id_, status, fields, body, content, truncated):
    written = messages.response(id_, status, fields, encode(body), truncated=truncated)
    assert parse_event(written) == ResponseEvent(id_, status, fields, body, truncated=truncated)
    written = messages.response(id_, status, fields, text=content)
    assert parse_event(written) == ResponseEvent(id_, status, fields, text=content)
    written = messages.response(id_, status, fields, base64=content)
    assert parse_event(written) == ResponseEvent(id_, status, fields, base64=content)


def test_members_that_are_not_known_are_ignored():
    assert parse_event('{"on":"/a","etag":"x","data":1,"later":[2]}') == StateEvent("/a", "x", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"on":"/a"}',
        '{"on":"/a","etag":"x"}',
        '{"later":1}',
        '{"on":"/a","data":1}',
        '{"etag":"x","data":1}',
        '{"on":7,"etag":"x","data":1}',
        '{"on":"/a","etag":"x","text":1}',
        '{"on":"/a","etag":"x","patch":[]}',
        '{"on":"/a","etag":"x","base":"y","patch":{}}',
        '{"on":"/a","fetch":true}',
        '{"end":{"status":404}}',
        '{"on":"/a","end":404}',
        '{"error":"no"}',
        '{"retry":"soon"}',
        '{"retry":1.5}',
        '{"status":200,"headers":{}}',
        '{"id":1,"status":200}',
        '{"id":1,"status":200,"headers":{"a":1}}',
        '{"closed":true}',
        '{"on":"/s","items":[]}',
        '{"on":"/s","offset":"9","items":1}',
        b'{"on":"\xff","etag":"x","data":1}',
        '{"on":"/a","etag":"x","data":' + "[" * 100_000,
    ],
)
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_event(text)
