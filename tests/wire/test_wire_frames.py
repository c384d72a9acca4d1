"""Frames from client to server: what is read, and what is refused and how."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.wire.messages import (
    Limits,
    Rejected,
    Request,
    Send,
    Unwatch,
    Watch,
    parse,
    request_frame,
    unwatch_frame,
    watch_frame,
)

OFF = Limits()
ON = Limits(requests=True, socket_headers=["X-Tenant"])


def refused(text: str | bytes, limits: Limits = ON) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(text, limits=limits)
    return caught.value


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"watch":"/a"}', Watch("/a")),
        (b'{"watch":"/a"}', Watch("/a")),
        (' {"etag": "\\"x\\"", "watch": "/a?b=1", "patch": true} ', Watch("/a?b=1", etag='"x"', patch=True)),
        ('{"watch":"/a","etag":null,"headers":{}}', Watch("/a")),
        ('{"watch":"/a","etag":"unquoted"}', Watch("/a", etag="unquoted")),
        ('{"watch":"/s","offset":"now"}', Watch("/s", offset="now")),
        ('{"watch":"/s","offset":""}', Watch("/s", offset="")),
        (
            '{"watch":"/a","headers":{"Accept":["a/b","c/d"],"IF-Match":"*","x-tenant":"\u00e9"}}',
            Watch(
                "/a",
                headers=(
                    (b"accept", b"a/b"),
                    (b"accept", b"c/d"),
                    (b"if-match", b"*"),
                    (b"x-tenant", b"\xe9"),
                ),
            ),
        ),
        ('{"unwatch":"/a"}', Unwatch("/a")),
        ('{"send":"/r","data":{"x": [1, 2]}}', Send("/r", b'{"x": [1, 2]}')),
        ('{"send":"/r","data":null}', Send("/r", b"null")),
    ],
)
def test_a_good_frame_is_read(text, frame):
    assert parse(text, limits=ON) == frame


@pytest.mark.parametrize(
    ("members", "request_"),
    [
        ("", Request(7, "PUT", "/a")),
        (',"body":{"n": 1.0}', Request(7, "PUT", "/a", (), b'{"n": 1.0}', "application/json")),
        (',"body":null', Request(7, "PUT", "/a", (), b"null", "application/json")),
        (',"text":"h\u00e9"', Request(7, "PUT", "/a", (), "h\u00e9".encode(), "text/plain; charset=utf-8")),
        (',"base64":"AP8="', Request(7, "PUT", "/a", (), b"\x00\xff", "application/octet-stream")),
        (
            ',"text":"<a/>","headers":{"Content-Type":"text/xml","prefer":"x"}',
            Request(7, "PUT", "/a", ((b"prefer", b"x"),), b"<a/>", "text/xml"),
        ),
    ],
)
def test_a_good_request_is_read(members, request_):
    text = '{"id":7,"request":{"method":"PUT","target":"/a"' + members + "}}"
    assert parse(text, limits=ON) == request_


BAD = [
    # not JSON, not UTF-8, not an object
    "",
    " ",
    "nonsense",
    "{",
    '{"watch":"/a"',
    '{"watch":"/a"}}',
    '{"watch":"/a"}{"watch":"/b"}',
    "{'watch':'/a'}",
    '{"watch":"/a",}',
    '{"watch":"/a\n"}',
    '{"watch":NaN}',
    "\ufeff{}",
    b'{"watch":"\xff"}',
    b'{"send":"/r","data":"\xff"}',
    b'{"watch":"/\x00"}',
    '{"watch":"/\ud800"}',
    '{"watch":"/\\ud800"}',
    "[]",
    '["watch"]',
    '"watch"',
    "null",
    "7",
    # no verb, several, unknown members
    "{}",
    '{"etag":"x"}',
    '{"id":1}',
    '{"subscribe":"/a"}',
    '{"Watch":"/a"}',
    '{"watch":"/a","unwatch":"/a"}',
    '{"watch":"/a","send":"/a","data":1}',
    '{"watch":"/a","surprise":1}',
    '{"watch":"/a","id":1}',
    '{"unwatch":"/a","etag":"x"}',
    '{"send":"/r","data":1,"etag":"x"}',
    '{"id":1,"request":{"method":"GET","target":"/"},"etag":"x"}',
    '{"id":1,"request":{"method":"GET","target":"/","surprise":1}}',
    # wrong types
    '{"watch":null}',
    '{"watch":7}',
    '{"watch":["/a"]}',
    '{"watch":{}}',
    '{"watch":"/a","etag":7}',
    '{"watch":"/a","offset":7}',
    '{"watch":"/a","patch":1}',
    '{"watch":"/a","patch":"true"}',
    '{"watch":"/a","patch":null}',
    '{"watch":"/a","headers":null}',
    '{"watch":"/a","headers":[]}',
    '{"watch":"/a","headers":{"accept":7}}',
    '{"watch":"/a","headers":{"accept":null}}',
    '{"watch":"/a","headers":{"accept":["x",7]}}',
    '{"unwatch":true}',
    '{"send":"/r"}',
    '{"send":7,"data":1}',
    '{"id":1,"request":"/a"}',
    '{"id":1,"request":{"method":"GET"}}',
    '{"id":1,"request":{"target":"/"}}',
    '{"id":1,"request":{"method":7,"target":"/"}}',
    # cursors
    '{"watch":"/a","etag":"x","offset":"y"}',
    '{"watch":"/a","etag":"a\\r\\nset-cookie: x"}',
    '{"watch":"/a","etag":"a\\u0000"}',
    '{"watch":"/a","etag":" a"}',
    '{"watch":"/a","etag":"\u20ac"}',
    '{"watch":"/a","offset":"a\\n"}',
    # ids
    '{"request":{"method":"GET","target":"/"}}',
    '{"id":null,"request":{"method":"GET","target":"/"}}',
    '{"id":true,"request":{"method":"GET","target":"/"}}',
    '{"id":1.5,"request":{"method":"GET","target":"/"}}',
    '{"id":[1],"request":{"method":"GET","target":"/"}}',
    '{"id":9007199254740992,"request":{"method":"GET","target":"/"}}',
    '{"id":"%s","request":{"method":"GET","target":"/"}}' % ("x" * 129),
    # methods
    '{"id":1,"request":{"method":"","target":"/"}}',
    '{"id":1,"request":{"method":"get","target":"/"}}',
    '{"id":1,"request":{"method":"GET /x","target":"/"}}',
    '{"id":1,"request":{"method":"GET\\r\\n","target":"/"}}',
    '{"id":1,"request":{"method":"CONNECT","target":"/"}}',
    '{"id":1,"request":{"method":"TRACE","target":"/"}}',
    # bodies
    '{"id":1,"request":{"method":"PUT","target":"/","body":1,"text":"1"}}',
    '{"id":1,"request":{"method":"PUT","target":"/","text":"1","base64":"AA=="}}',
    '{"id":1,"request":{"method":"PUT","target":"/","text":null}}',
    '{"id":1,"request":{"method":"PUT","target":"/","text":7}}',
    '{"id":1,"request":{"method":"PUT","target":"/","base64":"A"}}',
    '{"id":1,"request":{"method":"PUT","target":"/","base64":"AA==\\n"}}',
    '{"id":1,"request":{"method":"PUT","target":"/","base64":"_-A="}}',
    '{"id":1,"request":{"method":"PUT","target":"/","base64":"\u00e9"}}',
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_frame_is_refused_with_a_problem_that_explains(text):
    problem = refused(text).problem
    assert problem.status == 400
    assert problem.title == "Bad frame"
    assert problem.detail
    msgspec.json.encode(problem.document())


@pytest.mark.parametrize(
    "name",
    [
        "cookie",
        "Cookie",
        "host",
        "x-forwarded-user",
        "x-forwarded-for",
        "x-real-ip",
        "x-api-key",
        "forwarded",
        "origin",
        "connection",
        "transfer-encoding",
        "content-length",
        "upgrade",
        "sec-websocket-protocol",
        "range",
        "if",
        "",
        "accept ",
        " accept",
        "accept:",
        "if-\r\nx",
        "if-\u0000",
        "if-\u00e9",
        "idempotency-\u212aey",  # the Kelvin sign, whose lower case is k
        "if-" + "x" * 300,
    ],
)
def test_a_header_that_is_not_allowed_refuses_the_frame(name):
    text = msgspec.json.encode({"watch": "/a", "headers": {name: "x"}})
    assert refused(text).problem.status == 400
    request = {"id": 1, "request": {"method": "GET", "target": "/a", "headers": {name: "x"}}}
    assert refused(msgspec.json.encode(request)).problem.status == 400


def test_the_problem_names_the_header():
    assert (
        "'x-forwarded-user'" in refused('{"watch":"/a","headers":{"X-Forwarded-User":"root"}}').problem.detail
    )


@pytest.mark.parametrize(
    "value", ["a\r\nb", "a\nb", "a\rb", "\u0000", "a\u0000b", "\u007f", " a", "a ", "\ta", "\u20ac"]
)
def test_a_header_value_that_is_no_field_value_refuses_the_frame(value):
    for given_value in (value, ["ok", value]):
        text = msgspec.json.encode({"watch": "/a", "headers": {"authorization": given_value}})
        assert "authorization" in refused(text).problem.detail


@pytest.mark.parametrize("value", ["", "a", "a b", "a\tb", "\u00ff", 'W/"\u00e9"'])
def test_a_field_value_is_kept_as_it_is(value):
    text = msgspec.json.encode({"watch": "/a", "headers": {"authorization": value}})
    assert parse(text, limits=OFF).headers == ((b"authorization", value.encode("latin-1")),)


def test_header_lines_are_bounded():
    text = msgspec.json.encode({"watch": "/a", "headers": {"accept": ["x"] * 100}})
    assert len(parse(text, limits=OFF).headers) == 100
    refused(msgspec.json.encode({"watch": "/a", "headers": {"accept": ["x"] * 100, "prefer": "y"}}))


def test_requests_are_off_by_default():
    wrong = refused('{"id":"q","request":{"method":"GET","target":"/"}}', OFF)
    assert (wrong.problem.status, wrong.id, wrong.on) == (403, "q", None)
    refused('{"id":"q","request":["whatever"]}', OFF)


@pytest.mark.parametrize(
    ("text", "on", "id_"),
    [
        ('{"watch":"/a","surprise":1}', "/a", None),
        ('{"unwatch":"/a","surprise":1}', "/a", None),
        ('{"send":"/a"}', "/a", None),
        ('{"watch":7}', None, None),
        ('{"watch":"%s","surprise":1}' % ("x" * 8193), None, None),
        ('{"id":7,"request":{}}', None, 7),
        ('{"id":"q","request":{}}', None, "q"),
        ('{"id":7.5,"request":{}}', None, None),
        ('{"id":7}', None, 7),
        ('{"watch":"/a","send":"/b"}', None, None),
        ("[]", None, None),
    ],
)
def test_a_refusal_says_what_it_is_about_where_the_frame_said_so(text, on, id_):
    wrong = refused(text)
    assert (wrong.on, wrong.id) == (on, id_)


def nested(levels: int) -> str:
    """A frame of that many levels; the frame itself is the first."""
    return '{"send":"/a","data":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


def test_depth_is_bounded():
    assert parse(nested(64), limits=OFF)
    assert "64 levels" in refused(nested(65)).problem.detail
    assert "64 levels" in refused(nested(100_000)).problem.detail
    assert "64 levels" in refused('{"watch":' * 65).problem.detail


@pytest.mark.parametrize(
    "data",
    [
        "[]," * 20_000 + "1",
        '"%s"' % ("[" * 60_000),
        '"%s"' % ('\\"[' * 20_000),
        '"\\\\",[[],[]]' + ",{}" * 99,
    ],
)
def test_many_brackets_are_not_depth(data):
    assert parse('{"send":"/a","data":[' + data + "]}", limits=OFF).data == b"[%b]" % data.encode()


@pytest.mark.parametrize("unit", ['\\"', '"', '"\\', "\\", '["', '"[', "[]", '\\"['])
def test_hostile_text_takes_linear_time(unit):
    """A reader that goes back for each quote would need minutes here."""
    refused('{"send":"' + "[" * 65 + unit * 500_000)


@given(
    st.text()
    | st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["watch", "etag", "id", "request", "send", "data", "headers", "accept"]),
                inner,
            )
        ),
    ).map(msgspec.json.encode)
)
def test_any_message_is_a_frame_or_refused(text):
    try:
        parse(text, limits=ON)
    except Rejected as wrong:
        msgspec.json.encode([wrong.problem.document(), wrong.on, wrong.id])


targets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
values = st.from_regex(r"\A[!-~]([ -~]*[!-~])?\Z")
headers = st.dictionaries(
    st.sampled_from(["accept", "authorization", "if-none-match"]), values | st.lists(values)
)


def as_lines(given_headers):
    return tuple(
        (name.encode(), value.encode())
        for name, listed in given_headers.items()
        for value in ([listed] if isinstance(listed, str) else listed)
    )


@given(targets, st.none() | values, headers, st.booleans())
def test_watch_frames_are_read_as_they_were_written(target, etag, given_headers, patch):
    written = watch_frame(target, etag, given_headers, patch)
    assert parse(written, limits=OFF) == Watch(target, etag, None, as_lines(given_headers), patch)


@given(targets)
def test_unwatch_frames_are_read_as_they_were_written(target):
    assert parse(unwatch_frame(target), limits=OFF) == Unwatch(target)


@given(
    st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=128), headers, st.binary(), st.sampled_from("jtb")
)
def test_request_frames_are_read_as_they_were_written(id_, given_headers, content, kind):
    readable = base64.b64encode(content).decode()
    if kind == "j":
        written = request_frame(id_, "PUT", "/a", given_headers, body=msgspec.json.encode(readable))
        body = msgspec.json.encode(readable)
    elif kind == "t":
        written, body = request_frame(id_, "PUT", "/a", given_headers, text=readable), readable.encode()
    else:
        written, body = request_frame(id_, "PUT", "/a", given_headers, base64=readable), content
    read = parse(written, limits=ON)
    assert (read.id, read.headers, read.body) == (id_, as_lines(given_headers), body)
