"""Bad input over HTTP: each gets a clear answer, and nothing else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.middleware.trustedhost import TrustedHostMiddleware

from apps import shop as shop_app
from restive import Restive
from scenarios.asgi import Call
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.watches import Client, State, watch

TEA = shop_app.TEA


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, shop_app.Shop]]:
    app, _, shop = shop_app.make(**CALM, max_wait=0.3, max_watches=3)
    server = ThreadServer(app)
    yield server, shop
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, shop_app.Shop]) -> ThreadServer:
    return running[0]


@pytest.fixture
def shop(running: tuple[ThreadServer, shop_app.Shop]) -> shop_app.Shop:
    running[1].orders[3] = dict(TEA)
    return running[1]


async def raw(server: ThreadServer, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the beginning of the answer to bytes that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode("latin-1") + b"\r\n\r\n" + body)
    async with asyncio.timeout(5):
        answer = await reader.read(4096)
    writer.close()
    return int(answer.split()[1]) if answer else 0, answer


# Prefer and Last-Event-ID: what is malformed is ignored, as RFC 7240 and the HTML standard say

PREFER = [
    "wait=abc",
    "wait=-1",
    "wait",
    "wait=",
    "wait=1e9",
    "wait=99999999999999999999",
    ";;;",
    '"',
    "wait=0",
]
PREFER += [
    "wait=5, wait=abc",
    "WAIT=1",
    'wait="1"',
    "respond-async; x=y, wait=1",
    "wait=1.5",
    "wait=\u00b2",
    "=1",
]


@pytest.mark.parametrize("prefer", PREFER)
async def test_odd_preference(prefer: str, server: ThreadServer, shop: shop_app.Shop, http: Client) -> None:
    """A state or, after at most max_wait, a 304: never an error, never longer."""
    tag = (await http.get(server.url + "/orders/3")).headers["etag"]
    for condition, status in ((tag, 304), ('"x"', 200)):
        headers = {"prefer": prefer.encode("latin-1"), "if-none-match": condition.encode()}
        answer = await http.get(server.url + "/orders/3", headers=headers, timeout=5)
        assert answer.status_code == status


@pytest.mark.parametrize("tag", ["abc", '"', '"a" "b"', "*", "W/", '"' + "x" * 9000 + '"', "", '"a", "b"'])
async def test_odd_last_event_id(tag: str, server: ThreadServer, shop: shop_app.Shop) -> None:
    """No tag of a state: a full state follows."""
    async with watch("sse-query", server.url, "/orders/3", headers={"last-event-id": tag}) as watching:
        assert isinstance(await watching.next(), State)
    headers = {"accept": "text/event-stream", "last-event-id": tag}
    async with Call(server.app, "/orders/3", headers=headers.items()) as call:
        await call.until(lambda c: b"tea" in c.raw)


# The query spelling

BAD_QUERIES = [
    "live=sse&etag=%0d%0aevent:%20end",
    "live=sse&etag=%00",
    "live=sse&etag=%22a%0ab%22",
    "live=sse&etag=%ff",
    "live=ndjson&etag=%22" + "x" * 9000 + "%22",
    "live=long-poll&wait=abc",
    "live=long-poll&wait=-1",
    "live=long-poll&wait=nan",
    "live=long-poll&wait=1e999",
    "live=long-poll&wait=",
    "live=long-poll&etag=%zz",
]


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda q: q[:40])
async def test_bad_query(query: str, server: ThreadServer, shop: shop_app.Shop, http: Client) -> None:
    """A problem, or a state as if nothing had been said: never a 5xx, never the bytes of it in a field."""
    async with http.stream("GET", f"{server.url}/orders/3?{query}", timeout=5) as answer:
        assert answer.status_code in {200, 400, 414}
        assert "\r\n" not in str(answer.headers)
        if answer.status_code == 400:
            await answer.aread()
            assert answer.json()["status"] == 400
            assert answer.json()["detail"]


# Many on one response


@pytest.mark.parametrize(
    "query",
    [
        "live=sse",
        "live=ndjson&watch=",
        "live=ndjson&watch=//evil/x",
        "live=ndjson&watch=http://evil.test/",
        "live=ndjson&watch=/%252e%252e/x%00",
        "live=ndjson&watch=/orders/../vault/3",
        "live=ndjson&watch=/a&watch=/b&watch=/c&watch=/d",
        "live=ndjson&watch=/orders/3&watch=//evil",
        "live=ndjson&watch=/orders/3&etag=%0d%0a",
        "watch=/orders/3",
        "live=long-poll&watch=/orders/3&wait=abc",
        "live=nothing&watch=/orders/3",
        "",
    ],
)
async def test_bad_list_of_watches(
    query: str, server: ThreadServer, shop: shop_app.Shop, http: Client
) -> None:
    """Refused as a whole, before anything is looked at."""
    looks = sum(shop.looks.values())
    answer = await http.get(f"{server.url}/-/live?{query}", timeout=5)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert sum(shop.looks.values()) == looks


async def test_many_watches_on_one_response(server: ThreadServer, shop: shop_app.Shop, http: Client) -> None:
    """Each with its own tag; the response is over when the last of them has ended."""
    shop.orders[4] = {"n": 4}
    tag = (await http.get(server.url + "/orders/3")).headers["etag"]
    query = f"live=ndjson&watch=/orders/3&etag={tag}&watch=/orders/4&watch=/orders/99"
    async with http.stream("GET", f"{server.url}/-/live?{query}", timeout=5) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = (json.loads(line) async for line in answer.aiter_lines() if line)
        first = {event["on"]: event for event in [await anext(lines) for _ in range(3)]}
        assert first["/orders/3"] == {"on": "/orders/3", "etag": tag, "current": True}
        assert first["/orders/4"]["data"] == {"n": 4}
        assert first["/orders/99"]["end"]["status"] == 404
        await http.delete(server.url + "/orders/3")
        await http.delete(server.url + "/orders/4")
        rest = [event async for event in lines]
    assert [event["end"]["status"] for event in rest] == [404, 404]


async def test_frames_by_post(server: ThreadServer, shop: shop_app.Shop, http: Client) -> None:
    """Watch frames as the body, with fields of their own."""
    frames = [{"watch": "/orders/3"}, {"watch": "/vault/3", "headers": {"authorization": "Bearer ann"}}]
    body = "\n".join(map(json.dumps, frames)).encode()
    async with http.stream("POST", f"{server.url}/-/live?live=ndjson", content=body, timeout=5) as answer:
        lines = (json.loads(line) async for line in answer.aiter_lines() if line)
        got = {event["on"]: event["data"] for event in [await anext(lines) for _ in range(2)]}
    assert got == {"/orders/3": TEA, "/vault/3": {"owner": "ann", **TEA}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"unwatch": "/orders/3"}',
        b'{"watch": "/orders/3", "headers": {"x-forwarded-user": "admin"}}',
        b'{"watch": "/orders/3"}\n{"watch": "//evil"}',
        b'{"watch": "/orders/3"}\nnonsense',
        b"[" * 100_000,
    ],
    ids=repr,
)
async def test_bad_frames_by_post(
    body: bytes, server: ThreadServer, shop: shop_app.Shop, http: Client
) -> None:
    answer = await http.post(f"{server.url}/-/live?live=ndjson", content=body, timeout=5)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"cookie": "sid=1", "sec-fetch-site": "same-origin"}, 200),
        ({"cookie": "sid=1", "sec-fetch-site": "none"}, 200),
        ({"cookie": "sid=1", "origin": "{url}"}, 200),
        ({"cookie": "sid=1", "sec-fetch-site": "cross-site", "origin": "https://evil.test"}, 403),
        ({"cookie": "sid=1", "origin": "https://evil.test"}, 403),
        ({"cookie": "sid=1", "origin": "null"}, 403),
        ({"cookie": "sid=1"}, 403),
    ],
)
async def test_cross_site_posts_are_refused(
    headers: dict[str, str], status: int, server: ThreadServer, shop: shop_app.Shop, http: Client
) -> None:
    """S24: an unsafe request to Restive's own URIs with a cookie must come from the same origin."""
    said = {name: value.replace("{url}", server.url) for name, value in headers.items()}
    frame = b'{"watch": "/orders/3"}'
    async with http.stream("POST", f"{server.url}/-/live?live=ndjson", content=frame, headers=said) as answer:
        assert answer.status_code == status


async def test_unsafe_methods_are_not_watches(
    server: ThreadServer, shop: shop_app.Shop, http: Client
) -> None:
    answer = await http.put(server.url + "/orders/3?live=sse", json={"n": 2}, timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"n": 2})
    for method in ("DELETE", "PUT", "PATCH"):
        assert (
            await http.request(method, server.url + "/-/live?live=sse&watch=/orders/3")
        ).status_code == 405


# Hosts and targets

HOSTS = [
    "evil.test",
    "",
    "a b",
    "evil.test/orders",
    "user@evil.test",
    "[::1]",
    "[::1",
    ":80",
    "h:99999",
    "h:x",
    "\xff",
]
HOSTS += ["evil.test#", "evil.test?x", "h\tx", "127.0.0.1\\evil"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("query", ["", "?live=ndjson"])
async def test_odd_host(
    host: str, query: str, server: ThreadServer, shop: shop_app.Shop, http: Client
) -> None:
    """An answer below 500 whatever the Host, and nobody else's watch is touched by it."""
    async with watch("websocket", server.url, "/orders/3") as watching:
        await watching.next()
        status, _ = await raw(server, f"GET /orders/3{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close")
        assert 200 <= status < 500
        await http.put(server.url + "/orders/3", json={"n": 2})
        await watching.state({"n": 2})


@pytest.mark.parametrize("hosts", [("127.0.0.1", "evil.test"), ("evil.test", "127.0.0.1")])
async def test_two_hosts_are_no_way_round_trusted_hosts(hosts: tuple[str, str], serve: Serve) -> None:
    """The app's own middleware sees the Host that it would have seen, or the watch is refused."""
    app, _, _ = shop_app.make(**CALM)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])
    server = serve(app)
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    plain, _ = await raw(server, f"GET /orders/3 HTTP/1.1\r\n{fields}Connection: close")
    live, _ = await raw(server, f"GET /orders/3?live=ndjson HTTP/1.1\r\n{fields}Connection: close")
    assert live == plain or live == 400


@pytest.mark.parametrize("head", ["GET /orders/3?live=ndjson HTTP/1.0", "GET /orders/3 HTTP/1.0"])
async def test_no_host_at_all(head: str, server: ThreadServer, shop: shop_app.Shop) -> None:
    status, answer = await raw(server, head)
    assert status == 200
    assert b"tea" in answer or b"ndjson" in answer


TARGETS = ["//evil/orders/3", "/%2e%2e/orders/3", "/public/../orders/3", "/orders/./3", "/orders/%00"]
TARGETS += ["/orders/3%0d%0ax:y", "/orders/..%2f3", "/%ff", "/\\evil", "http://evil.test/orders/3", "*"]
TARGETS += ["/orders/3#x", "/" + "a" * 9000, "/orders/%zz", "/orders//3", "?x", "/%6frders/3", "/orders%2f3"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t[:30])
async def test_odd_target(target: str, server: ThreadServer, shop: shop_app.Shop) -> None:
    """No 5xx; and a watch reaches what the GET reaches, or nothing: else it passes a proxy by."""
    plain, _ = await raw(server, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close")
    live = "&live=ndjson" if "?" in target else "?live=ndjson"
    watches = [(live, "*/*"), (live.replace("ndjson", "long-poll"), "*/*"), ("", "text/event-stream")]
    for query, accept in watches:
        head = f"GET {target}{query} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\nConnection: close"
        status, answer = await raw(server, head)
        assert status == plain or 400 <= status < 500 or (status, plain) == (0, 400), (query, accept)
        assert b"x:y" not in answer.split(b"\r\n\r\n")[0]
    assert plain < 500


# CR, LF and NUL never enter a field of an event stream

HOSTILE = [
    "a\rb",
    "a\r\nevent: end\r\ndata: x",
    "\n\nid: 7\n\n",
    "\x00",
    "\ufeff",
    "data: x\n",
    "\u2028",
    ":\r:",
    "retry: 1",
]


@st.composite
def hostile(draw: st.DrawFn) -> str:
    return "".join(draw(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=5)))


def events(raw_stream: str) -> list[dict[str, str]]:
    """The WHATWG algorithm, written down once more."""
    lines = raw_stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found, data, name, last = [], [], "", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                found.append({"name": name, "data": "\n".join(data), "id": last})
            data, name = [], ""
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\x00" not in value:
            last = value
    return found


@settings(max_examples=80, deadline=None)
@given(text=hostile(), tag=hostile())
def test_no_text_and_no_tag_breaks_out_of_its_field(text: str, tag: str) -> None:
    """Whatever body and ETag the app has: one event, its data the text, its id without controls."""
    etag = tag.encode("utf-8", "surrogatepass")
    body = text.encode("utf-8", "surrogatepass")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"etag", etag)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def play() -> None:
        live = Restive(app, backend="memory:")
        async with Call(live, "/x?live=sse") as call:
            await call.until(lambda c: len(events(c.raw.decode("utf-8", "replace"))) >= 1, 1.0)
        seen = events(call.raw.decode("utf-8", "replace"))
        assert len(seen) == 1
        if seen[0]["name"] == "":
            expected = text.replace("\r\n", "\n").replace("\r", "\n")
            assert seen[0]["data"] == expected
        assert not set(seen[0]["id"]) & {"\r", "\n", "\x00"}

    asyncio.run(play())
