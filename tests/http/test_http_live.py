"""The two spellings of a watch over HTTP, and many targets in one query (design 4.2)."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.errors import Problem
from restive.http.live import LiveRequest, header_live, live_of_many, multi, query_live
from restive.http.validators import valid


def by_query(mode, etag=None, wait=None):
    return LiveRequest(mode, etag, wait, "query")


def by_header(mode, etag=None, wait=None):
    return LiveRequest(mode, etag, wait, "header")


@pytest.mark.parametrize(
    ("query", "asked", "rest"),
    [
        (b"", None, b""),
        (b"x=1", None, b"x=1"),
        (b"live=sse", by_query("sse"), b""),
        (b"live=ndjson", by_query("ndjson"), b""),
        (b"live=long-poll&etag=%22a%22&wait=30&n=0.5", by_query("long-poll", '"a"', 30), b""),
        (b"live=long-poll&n=1&wait=0.5&etag=a", by_query("long-poll", '"a"', 0.5), b""),
        (b"x=1&live=sse&y=2", by_query("sse"), b"x=1&y=2"),
        (b"live=sse&etag=", by_query("sse"), b""),
        (b"live=sse&wait=", by_query("sse"), b""),
        # what stands before it, or not right behind it, is the app's
        (b"etag=x&wait=y&n=z&live=sse", by_query("sse"), b"etag=x&wait=y&n=z"),
        (b"n=10&live=sse&etag=a&page=2&n=3&etag=b", by_query("sse", '"a"'), b"n=10&page=2&n=3&etag=b"),
        (b"live=sse&n=1&n=2", by_query("sse"), b"n=2"),
        (b"live=sse&live=ndjson", by_query("sse"), b"live=ndjson"),
        # an unknown value is the app's too
        (b"live=true", None, b"live=true"),
        (b"live=", None, b"live="),
        (b"live", None, b"live"),
        (b"live=SSE&etag=%zz", None, b"live=SSE&etag=%zz"),
        (b"live=1&live=sse", by_query("sse"), b"live=1"),
        (b"alive=sse", None, b"alive=sse"),
        (b"%6cive=sse", None, b"%6cive=sse"),
        (b"&&a=%zz&live=sse&&b=+%c3&", by_query("sse"), b"&&a=%zz&&b=+%c3&"),
    ],
)
def test_query_spelling(query, asked, rest):
    assert query_live(query) == (asked, rest)


@pytest.mark.parametrize(
    ("raw", "etag"),
    [
        (b"%22a%22", '"a"'),
        (b'"a"', '"a"'),
        (b"W/%22a%22", 'W/"a"'),
        (b"W%2F%22a%22", 'W/"a"'),
        (b"a", '"a"'),
        (b"W/a", 'W/"a"'),
        (b"%22%22", '""'),
        (b"a+b", '"a+b"'),
        (b"%22a%2Bb%22", '"a+b"'),
        (b"%22%C3%A9%22", '"é"'),
        (b"%22%E9%22", '"é"'),
    ],
)
def test_the_etag_of_a_query(raw, etag):
    asked, _ = query_live(b"live=sse&etag=" + raw)
    assert asked is not None
    assert asked.etag == etag


@pytest.mark.parametrize(
    "query",
    [
        b"etag=%22a",
        b"etag=a%22",
        b"etag=%22a%22%22b%22",
        b"etag=a%20b",
        b"etag=%0d%0aid:x",
        b"etag=%00",
        b"etag=%22a%0A%22",
        b"etag=%E2%82%AC",
        b"etag=" + b"a" * 2000,
        b"wait=soon",
        b"wait=-1",
        b"wait=1e9",
        b"wait=inf",
        b"wait=nan",
        b"wait=%31",
        b"wait=9999999999",
        b"wait=1.",
    ],
)
def test_malformed_parameters_are_refused(query):
    with pytest.raises(Problem) as refused:
        query_live(b"live=sse&" + query)
    assert refused.value.status == 400


part = st.text(alphabet="livesnwatg=%20+[]", max_size=8).map(str.encode)
app_query = st.lists(part.filter(lambda p: not p.startswith(b"live=")), max_size=5).map(b"&".join)
own = st.fixed_dictionaries(
    {},
    optional={
        "etag": st.sampled_from(['"a"', 'W/"b"', '"é+"']),
        "wait": st.sampled_from(["1", "30"]),
        "n": st.just("0.1"),
    },
)


@settings(max_examples=200)
@given(app_query, st.sampled_from(["sse", "ndjson", "long-poll"]), own, app_query)
def test_the_app_gets_its_query_byte_for_byte(before, mode, parameters, behind):
    mine = urlencode({"live": mode, **parameters}).encode()
    behind = b"x=1&" + behind
    asked, rest = query_live(before + b"&" + mine + b"&" + behind)
    assert rest == before + b"&" + behind
    assert asked == by_query(
        mode, parameters.get("etag"), float(parameters["wait"]) if "wait" in parameters else None
    )


@given(st.binary(max_size=40))
def test_a_query_without_live_is_untouched(query):
    if b"live=" not in query:
        assert query_live(query) == (None, query)


def fields(**values: str):
    return tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items())


@pytest.mark.parametrize(
    ("accept", "mode"),
    [
        ("text/event-stream", "sse"),
        ("Text/Event-Stream; charset=utf-8", "sse"),
        ("application/x-ndjson", "ndjson"),
        ("application/jsonl", "ndjson"),
        ("text/event-stream, */*", "sse"),
        ("*/*, text/event-stream", "sse"),
        ("*/*;q=0.8, text/event-stream;q=0.9", "sse"),
        ("text/event-stream, application/x-ndjson", "sse"),
        ("application/x-ndjson, application/json;q=0.5", "ndjson"),
        ("application/json, text/event-stream", None),
        ("application/json, text/event-stream;q=0.9", None),
        ("text/event-stream;q=0.9, application/json", None),
        ("text/event-stream;q=0", None),
        ("text/event-stream;q=x", None),
        ("text/event-streams", None),
        ("*/*", None),
        ("text/*", None),
        ("application/json", None),
        ("", None),
        ('application/json;x="text/event-stream"', None),
    ],
)
def test_accept(accept, mode):
    asked = header_live(fields(accept=accept))
    assert asked == (by_header(mode) if mode else None)


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        ('"a"', '"a"'),
        ('W/"a"', 'W/"a"'),
        ('"Ã©"', '"é"'),  # a browser sends UTF-8
        ('"é"', '"é"'),
        ("", None),
        ("a", None),
        ("5", None),
        ('"a b"', None),
        ('"a"\n', None),
        ('"a", "b"', None),
        ('"' + "a" * 2000 + '"', None),
    ],
)
def test_a_malformed_last_event_id_is_ignored(value, etag):
    assert header_live(fields(accept="text/event-stream", last_event_id=value)) == by_header("sse", etag)


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (fields(prefer="wait=30", if_none_match='"a"'), by_header("long-poll", '"a"', 30)),
        (fields(prefer="respond-async, wait=30", if_none_match='W/"a"'), by_header("long-poll", 'W/"a"', 30)),
        (fields(prefer="wait=999999", if_none_match='"a"'), by_header("long-poll", '"a"', 999_999)),
        (fields(prefer="wait=0", if_none_match='"a"'), by_header("long-poll", '"a"', 0)),
        (fields(prefer="wait=30"), None),
        (fields(prefer="wait=30", if_none_match="*"), None),
        (fields(prefer="wait=30", if_none_match='"a", "b"'), None),
        (fields(prefer="wait=30", if_none_match="nonsense"), None),
        (fields(prefer="wait=soon", if_none_match='"a"'), None),
        (fields(prefer="wait", if_none_match='"a"'), None),
        (fields(if_none_match='"a"'), None),
        (fields(accept="text/event-stream", prefer="wait=30", if_none_match='"a"'), by_header("sse")),
        ((), None),
    ],
)
def test_long_poll_by_headers(sent, asked):
    assert header_live(sent) == asked


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["accept", "last-event-id", "prefer", "if-none-match"]),
        st.text(st.characters(max_codepoint=0xFF)),
    )
)
def test_no_header_is_refused(sent):
    asked = header_live(fields(**sent))
    assert asked is None or asked.etag is None or valid(asked.etag)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", []),
        (b"live=sse&x=1", []),
        (b"watch=/a", [("/a", None)]),
        (b"watch=/a&etag=%22E%22&watch=/b", [("/a", '"E"'), ("/b", None)]),
        (b"live=sse&watch=%2Fa%3Fx%3D1%26y%3D%252F&etag=E&n=1", [("/a?x=1&y=%2F", '"E"')]),
        (b"watch=/a&live=sse&watch=/a", [("/a", None), ("/a", None)]),
        (b"watch=/a?q=x+y", [("/a?q=x+y", None)]),
        (b"watch=/a&etag=", [("/a", None)]),
        (b"watch=", [("", None)]),
    ],
)
def test_multi(query, found):
    assert multi(query) == found


@pytest.mark.parametrize(
    "query",
    [
        b"etag=a",
        b"etag=a&watch=/a",
        b"watch=/a&etag=a&etag=b",
        b"watch=/a&n=1&etag=a",
        b"watch=%ff",
        b"watch=/a&etag=%00",
    ],
)
def test_multi_refuses(query):
    with pytest.raises(Problem) as refused:
        multi(query)
    assert refused.value.status == 400


@given(
    st.lists(
        st.tuples(st.text(max_size=8), st.none() | st.sampled_from(['"a"', 'W/"b"', '"+&="'])), max_size=4
    )
)
def test_multi_leads_back(wanted):
    parts = []
    for target, etag in wanted:
        parts.append("watch=" + quote(target, safe=""))
        parts += ["etag=" + quote(etag, safe="")] if etag else []
    assert multi("&".join(["live=sse", *parts]).encode()) == wanted
    assert query_live("&".join(["live=sse", *parts]).encode())[0] == by_query("sse")


@pytest.mark.parametrize(
    ("query", "fields", "asked"),
    [
        (b"live=sse&watch=/a", (), by_query("sse")),
        (b"watch=/a&live=ndjson", (), by_query("ndjson")),
        (b"watch=/a&etag=b&live=long-poll&n=1&wait=2.5", (), by_query("long-poll", wait=2.5)),
        (b"live=long-poll", ((b"prefer", b"wait=9"),), by_query("long-poll")),
        (b"watch=/a", ((b"accept", b"text/event-stream"), (b"prefer", b"wait=9")), by_header("sse")),
        (b"live=&watch=/a", ((b"prefer", b"wait=9"),), by_header("long-poll", wait=9)),
        (b"live=other&watch=/a", ((b"prefer", b"wait=9"),), None),
        (b"watch=/a", (), None),
    ],
)
def test_how_many_are_told(query, fields, asked):
    assert live_of_many(query, fields) == asked


def test_how_many_are_told_refuses_what_is_no_time():
    with pytest.raises(Problem):
        live_of_many(b"live=long-poll&wait=soon", ())
