"""How responses, events of streams and objects of the socket are read: rows of the ``vectors``."""

from __future__ import annotations

from typing import Any

from recording import in_words

from restive.client.news import of_answer, of_event, of_sse
from restive.client.policy import TRANSPORTS
from restive.wire.messages import parse_event
from restive.wire.sse import Parser, SSEEvent

__all__ = ["events_of_streams", "readings"]

UNIX_NOW = 1_000_000.0
JSON = {"content-type": "application/json", "etag": '"e"'}
YEAR = "31536000"

BODIES: list[tuple[dict[str, str], bytes]] = [
    (JSON, b'{"a": 1}'),
    (JSON, b"null"),
    ({"content-type": "application/vnd.x+json; charset=utf-8"}, b"[]"),
    ({"content-type": "Application/JSON ; x=y"}, b"[]"),
    (JSON, b"{broken"),
    (JSON, b'"\xff"'),
    (JSON, b""),
    (JSON, "\ufeff1".encode()),
    ({"content-type": "text/plain"}, "ä".encode()),
    ({"content-type": "text/plain"}, "\ufeffä".encode()),
    ({"content-type": "text/plain; charset=iso-8859-1"}, b"\xe4"),
    ({"content-type": 'text/plain; charset="iso-8859-1"; x=y'}, b"\xe4"),
    ({"content-type": "text/plain; charset="}, b"x"),
    ({"content-type": "text/plain; charset=klingon"}, b"x"),
    ({"content-type": "text/plain"}, b"\xe4"),
    ({"content-type": "application/atom+xml"}, b"<x/>"),
    ({"content-type": "application/xml; charset=utf-8"}, b"<x/>"),
    ({"content-type": "image/png"}, b"\x89"),
    ({"content-type": "image/png; a=+json"}, b"1"),
    ({"content-type": "application/jsonx"}, b"1"),
    ({}, b"\x00"),
]

CACHE_CONTROLS = [
    f"immutable, max-age={YEAR}",
    "private, max-age=99999999, IMMUTABLE",
    f'immutable ,max-age="{YEAR}"',
    "immutable, max-age=31535999",
    f"max-age={YEAR}",
    f"x-immutable, max-age={YEAR}",
    f"immutable, s-max-age={YEAR}",
    "immutable",
    "immutable, max-age=soon",
    "immutable, max-age=" + "9" * 400,
]

RETRY_AFTERS = [
    "120",
    " 0 ",
    "999999999999",
    "Mon, 12 Jan 1970 13:48:20 GMT",
    "Mon, 12 Jan 1970 13:46:39 GMT",
    "Monday, 12-Jan-70 13:48:20 GMT",
    "Mon, 12 Jan 1970 13:48:20 -0000",
    "-5",
    "1.5",
    "²",
    "soon",
    "",
]

STATUSES = [
    200,
    203,
    204,
    206,
    301,
    304,
    308,
    400,
    401,
    403,
    404,
    405,
    406,
    408,
    410,
    411,
    414,
    422,
    425,
    429,
]
STATUSES += [431, 451, 500, 502, 503, 504, 599]

SSE_EVENTS = [
    SSEEvent("message", '{"a":1}', '"e"'),
    SSEEvent("message", "no json", '"e"'),
    SSEEvent("message", "null", ""),
    SSEEvent("message", "12", '"e"'),
    SSEEvent("current", "{}", '"e"'),
    SSEEvent("fetch", "{}", '"e"'),
    SSEEvent("end", '{"status":200}', '"e"'),
    SSEEvent("end", '{"status":404,"title":"None"}', '"e"'),
    SSEEvent("end", '{"more":1,"title":"Odd"}', '"e"'),
    SSEEvent("news of next year", "{}", ""),
]

FRAMES = [
    '{"on":"/r","etag":"\\"e\\"","data":{"a":1}}',
    '{"on":"/r","etag":"\\"e\\"","data":null}',
    '{"on":"/r","etag":"\\"e\\"","text":"12"}',
    '{"on":"/r","etag":"\\"e\\"","base":"\\"d\\"","patch":[]}',
    '{"on":"/r","etag":"\\"e\\"","fetch":true}',
    '{"on":"/r","etag":"\\"e\\"","current":true,"new":1}',
    '{"on":"/r","end":{"status":200}}',
    '{"on":"/r","end":{"status":410,"title":"Odd","more":1}}',
    '{"on":"/r","closed":true}',
    '{"on":"/r","offset":"1","items":[1]}',
    '{"error":{"status":400},"on":"/r"}',
    '{"retry":1500}',
]


def readings() -> list[Any]:
    """Rows of a function, its arguments and what it returned."""
    rows = [_answer("poll", 200, headers, body) for headers, body in BODIES]
    rows += [_answer(transport, status, {}, b"") for transport in TRANSPORTS[1:] for status in STATUSES]
    for value in CACHE_CONTROLS:
        rows += [_answer("poll", status, {**JSON, "cache-control": value}, b"1") for status in (200, 304)]
    rows += [_answer("poll", 503, {"retry-after": value}, b"") for value in RETRY_AFTERS]
    rows += [
        _answer("long-poll", status, {**JSON, "retry-after": "3"}, b"1") for status in (200, 204, 304, 504)
    ]
    problem = {"content-type": "application/problem+json"}
    told = b'{"status":200,"title":"Odd","detail":"Yesterday.","when":1}'
    rows += [
        _answer("poll", 410, problem, told),
        _answer("sse", 400, problem | {"location": "/b"}, told),
        _answer("sse", 301, {"location": "/b", "content-type": "application/json"}, b"{"),
        _answer("sse", 308, {"location": "/b", **problem}, b'{"location":"/c"}'),
        _answer("ndjson", 404, problem, b"[1]"),
        _answer("ndjson", 404, problem, b"null"),
        _answer("ndjson", 404, {"content-type": "text/html"}, told),
    ]
    for event in SSE_EVENTS:
        rows += [
            ["ofSse", [in_words(event), text], in_words(of_sse(event, text=text))] for text in (False, True)
        ]
    return rows + [["ofEvent", [frame], in_words(of_event(parse_event(frame)))] for frame in FRAMES]


def _answer(transport: Any, status: int, headers: dict[str, str], body: bytes) -> Any:
    answer = of_answer(transport, status, headers, body, UNIX_NOW)
    return ["ofAnswer", [transport, status, headers, in_words(body), int(UNIX_NOW * 1000)], in_words(answer)]


STREAMS: list[tuple[str, bytes]] = [
    ("", b"data: 1\n\ndata:2\n\ndata:  3\n\n"),
    ("", b"data: a\rdata: b\r\ndata: c\n\r\nid: 7\n\n:\n\ndata\n\n"),
    ("", b"\xef\xbb\xbfdata: bom\n\n\xef\xbb\xbfdata: no field\n\n"),
    ('"x"', b'event: current\ndata: {}\n\nid\ndata: 1\n\nid: "y"\ndata: 2\n\ndata: 3\n\n'),
    ("", b"id: a\0b\ndata: 1\n\nid: c\n\ndata: 2\n\ndata: lost"),
    ("", b"event: fetch\nevent:\ndata: {}\n\nevent: end\n\ndata: plain\n\n"),
    ("", b"retry: 1500\ndata: 1\n\nretry: 15x\n\nretry:\n\nretry: -1\n\n"),
    ("", b"retry: 0007\n\n"),
    ("", b"retry: " + b"9" * 300 + b"\n\n"),
    ("", "data: ä\u2028\u20ac😀\nunknown: 1\ndata : 2\n: data: 3\n\n".encode()),
    ("", b"data: \xff\xfe\nid: \xe4\n\n"),
    ("", b"\n\n\r\r\n\ndata:\ndata:\n\n"),
]


def events_of_streams() -> list[Any]:
    """Rows of a first event ID, a stream, the size of its chunks, its events, and its reconnection time.

    A stream has a character for each byte; an event stands behind the number of the chunk that completed it.
    """
    return [_stream(first, stream, size) for first, stream in STREAMS for size in (1, 3, len(stream))]


def _stream(first: str, stream: bytes, size: int) -> Any:
    parser = Parser(last_event_id=first)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = [[n, in_words(event)] for n, chunk in enumerate(chunks) for event in parser.feed(chunk)]
    return [first, stream.decode("latin-1"), size, events, parser.retry]
