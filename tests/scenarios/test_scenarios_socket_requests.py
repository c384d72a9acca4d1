"""Requests over the socket: off by default; with ``requests=True`` the app's own answers, as frames."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from apps import office as office_app
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.sockets import Socket
from scenarios.waiting import until
from scenarios.watches import Client


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, office_app.Office]]:
    app, _, office = office_app.make(**CALM, requests=True, max_requests=3)
    server = ThreadServer(app)
    yield server, office
    office.go_on.set()
    server.stop()


@pytest.fixture
def server(running: tuple[ThreadServer, office_app.Office]) -> ThreadServer:
    return running[0]


@pytest.fixture
def office(running: tuple[ThreadServer, office_app.Office]) -> office_app.Office:
    office = running[1]
    office.document = {"n": 1}
    office.done.clear()
    office.go_on.clear()
    return office


def request(method: str, target: str, number: int | str = 7, **members: Any) -> dict[str, Any]:
    return {"id": number, "request": {"method": method, "target": target, **members}}


async def test_off_by_default(serve: Serve, http: Client) -> None:
    app, _, office = office_app.make(**CALM)
    server = serve(app)
    async with Socket(server) as socket:
        answer = await socket.error(request("PUT", "/document", body={"n": 2}))
        assert answer["id"] == 7
        assert "requests" in answer["error"].get("detail", "")
        assert office.done == []
        assert (await socket.ask({"watch": "/document"}))["data"] == {"n": 1}


async def test_get(server: ThreadServer, office: office_app.Office) -> None:
    async with Socket(server) as socket:
        answer = await socket.ask(request("GET", "/document"))
    assert (answer["id"], answer["status"], answer["body"]) == (7, 200, {"n": 1})
    assert answer["headers"]["content-type"] == "application/json"
    assert answer["headers"]["etag"].startswith('"r-')


async def test_conditional_get(server: ThreadServer, office: office_app.Office) -> None:
    """The front door's own behaviour holds inside: 304 for a tag, 412 for another one."""
    async with Socket(server) as socket:
        etag = (await socket.ask(request("GET", "/document")))["headers"]["etag"]
        again = await socket.ask(request("GET", "/document", headers={"if-none-match": etag}))
        assert again["status"] == 304
        await socket.ask(request("PUT", "/document", body={"n": 5}))
        stale = await socket.ask(request("PUT", "/document", body={"n": 6}, headers={"if-match": etag}))
        assert stale["status"] == 412
        assert office.document == {"n": 5}


async def test_put_is_pushed_to_every_watcher(server: ThreadServer, office: office_app.Office) -> None:
    async with Socket(server) as one, Socket(server) as two:
        await one.ask({"watch": "/document"})
        await two.ask({"watch": "/document"})
        await one.send(request("PUT", "/document", number="a", body={"n": 2}))
        frames = [await one.frame(), await one.frame()]
        assert {frame.get("id") for frame in frames} == {"a", None}
        assert next(f for f in frames if "on" in f)["data"] == {"n": 2}
        assert (await two.frame())["data"] == {"n": 2}


@pytest.mark.parametrize("value", [{"a": [1, "ü", None]}, 0, "", [], False])
async def test_json_body(value: Any, server: ThreadServer) -> None:
    async with Socket(server) as socket:
        seen = (await socket.ask(request("POST", "/reflect", body=value)))["body"]
    assert json.loads(seen["body"].encode("latin-1")) == value
    assert seen["fields"]["content-type"] == ["application/json"]
    assert seen["fields"]["content-length"] == [str(len(seen["body"]))]


@pytest.mark.parametrize(
    ("members", "body", "media_type"),
    [
        ({"text": "a\nb"}, "a\nb", "text/plain"),
        ({"text": ""}, "", "text/plain"),
        ({"base64": base64.b64encode(b"\x00\xff").decode()}, "\x00\xff", "application/octet-stream"),
        ({"text": "<a/>", "headers": {"content-type": "application/xml"}}, "<a/>", "application/xml"),
        ({}, "", ""),
    ],
)
async def test_other_bodies(
    members: dict[str, Any], body: str, media_type: str, server: ThreadServer
) -> None:
    async with Socket(server) as socket:
        seen = (await socket.ask(request("POST", "/reflect", **members)))["body"]
    assert seen["body"] == body
    assert seen["fields"].get("content-length", ["0"]) == [str(len(body))]
    assert seen["fields"].get("content-type", [""])[0].startswith(media_type)


async def test_fields_of_a_request(server: ThreadServer) -> None:
    """Those of the handshake but the handshake's own, and those of the frame in their place."""
    handshake = {"x-forwarded-user": "ann", "authorization": "Bearer old", "cookie": "sid=1"}
    fields = {"authorization": "Bearer new", "if-none-match": '"x"', "idempotency-key": "k"}
    async with Socket(server, headers=handshake, origin=server.url) as socket:
        seen = (await socket.ask(request("GET", "/reflect", headers=fields)))["body"]["fields"]
    for name, value in {**handshake, **fields, "host": server.host}.items():
        assert seen[name] == [value]
    assert not [n for n in seen if n.startswith("sec-websocket")]
    assert not {"upgrade", "connection"} & set(seen)


@pytest.mark.parametrize(
    "name", ["x-forwarded-user", "cookie", "host", "content-length", "transfer-encoding", "origin"]
)
async def test_forged_fields_refuse_the_request(
    name: str, server: ThreadServer, office: office_app.Office
) -> None:
    async with Socket(server) as socket:
        answer = await socket.error(request("PUT", "/document", body={"n": 9}, headers={name: "admin"}))
        assert answer["id"] == 7
    assert office.done == []


async def test_text_and_errors(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        assert (await socket.ask(request("GET", "/text")))["text"] == "grüße\n"
        refused = await socket.ask(request("GET", "/refused"))
        assert (refused["status"], refused["body"]) == (403, {"detail": "no"})
        assert (await socket.ask(request("GET", "/nowhere")))["status"] == 404
        assert (await socket.ask(request("DELETE", "/document")))["status"] == 204
        assert (await socket.ask(request("HEAD", "/document")))["status"] in {200, 405}
        assert (await socket.ask(request("GET", "/not-json")))["text"] == '{"a": NaN}'


async def test_exception_of_the_app(server: ThreadServer) -> None:
    """A 500 without internals; the socket lives."""
    async with Socket(server) as socket:
        answer = await socket.ask(request("GET", "/broken"))
        problem = answer.get("error") or answer
        assert problem["status"] == 500
        assert "s3cret" not in str(answer)
        assert (await socket.ask(request("GET", "/document")))["status"] == 200


async def test_redirects_are_returned(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        answer = await socket.ask(request("GET", "/redirect"))
    assert (answer["status"], answer["headers"]["location"]) == (307, "/document")


@pytest.mark.parametrize("target", ["/bytes", "/large", "/endless"])
async def test_truncated(target: str, server: ThreadServer) -> None:
    """Binary, too large or endless: ask for it over HTTP."""
    async with Socket(server) as socket:
        answer = await socket.ask(request("GET", target))
        assert (answer["status"], answer["body"], answer["truncated"]) == (200, None, True)
        assert (await socket.ask(request("GET", "/document")))["status"] == 200


async def test_no_cookie_enters_a_frame(server: ThreadServer) -> None:
    async with Socket(server) as socket:
        await socket.send(request("GET", "/cookies"))
        raw = await socket.connection.recv()
    assert "s3cret" not in raw
    answer = json.loads(raw)
    assert answer["cookies"] is True
    assert "set-cookie" not in answer["headers"]
    assert answer["headers"]["x-many"] == ["1", "2"]


BAD = [
    {"request": {"method": "GET", "target": "/document"}},
    {"id": 7, "request": {"method": "GET"}},
    {"id": 7, "request": {"target": "/document"}},
    {"id": 7, "request": {"method": "GET /x HTTP/1.1\r\n", "target": "/document"}},
    {"id": 7, "request": {"method": "", "target": "/document"}},
    {"id": 7, "request": {"method": 3, "target": "/document"}},
    {"id": 7, "request": {"method": "CONNECT", "target": "/document"}},
    {"id": 7, "request": {"method": "GET", "target": "http://evil.test/document"}},
    {"id": 7, "request": {"method": "GET", "target": "//evil/document"}},
    {"id": 7, "request": {"method": "GET", "target": "/%2e%2e/document"}},
    {"id": 7, "request": {"method": "GET", "target": "/document", "more": 1}},
    {"id": 7, "request": {"method": "PUT", "target": "/document", "body": 1, "text": "a"}},
    {"id": 7, "request": {"method": "PUT", "target": "/document", "base64": "%%%"}},
    {"id": 7, "request": "GET /document"},
    {"id": None, "request": {"method": "GET", "target": "/document"}},
    {"id": {"a": 1}, "request": {"method": "GET", "target": "/document"}},
    {"id": True, "request": {"method": "GET", "target": "/document"}},
    {"id": "x" * 5000, "request": {"method": "GET", "target": "/document"}},
]


@pytest.mark.parametrize("frame", BAD, ids=lambda f: str(f)[:60])
async def test_bad_request_frames(
    frame: dict[str, Any], server: ThreadServer, office: office_app.Office
) -> None:
    async with Socket(server) as socket:
        await socket.error(frame)
        assert (await socket.ask(request("GET", "/document")))["body"] == {"n": 1}
    assert office.done == []


async def test_restives_own_uris_are_not_called_from_inside(server: ThreadServer) -> None:
    """A stream or a socket of Restive's inside a socket would never end."""
    async with Socket(server) as socket:
        for target in ("/-/live?live=sse&watch=/document", "/document?live=sse", "/document?live=ndjson"):
            answer = await socket.ask(request("GET", target))
            assert (
                answer.get("truncated")
                or "error" in answer
                or answer["status"] >= 400
                or answer["body"] == {"n": 1}
            )
        assert (await socket.ask(request("GET", "/document")))["status"] == 200


async def test_too_many_requests_in_flight(server: ThreadServer, office: office_app.Office) -> None:
    """The one too many is refused; the others are answered, in whatever order they finish."""
    async with Socket(server) as socket:
        for number in range(3):
            await socket.send(request("GET", "/slow", number=number))
        await until(lambda: office.running == 3)
        refused = await socket.error(request("GET", "/document", number=3))
        assert refused["id"] == 3
        office.go_on.set()
        answers = [await socket.frame() for _ in range(3)]
        assert {answer["id"] for answer in answers} == {0, 1, 2}
        assert (await socket.ask(request("GET", "/document", number=3)))["status"] == 200


async def test_a_slow_request_holds_nothing_up(server: ThreadServer, office: office_app.Office) -> None:
    async with Socket(server) as socket:
        await socket.send(request("GET", "/slow", number=1))
        assert (await socket.ask({"watch": "/document"}))["data"] == {"n": 1}
        assert (await socket.ask(request("GET", "/document", number=2)))["id"] == 2
        office.go_on.set()
        assert (await socket.frame())["id"] == 1


async def test_a_request_outlives_its_socket(server: ThreadServer, office: office_app.Office) -> None:
    async with Socket(server) as socket:
        await socket.send(request("POST", "/slow"))
        await until(lambda: office.running == 1)
    await asyncio.sleep(0)
    office.go_on.set()
    await until(lambda: office.done == ["slow POST"])


async def test_a_request_keeps_its_socket_open(serve: Serve) -> None:
    """A socket that is only asked things is in use, until linger after the answer."""
    app, _, office = office_app.make(**CALM, requests=True, hello=0.2, linger=0.2)
    async with Socket(serve(app)) as socket:
        await socket.send(request("GET", "/slow"))
        await socket.silent(0.5)
        office.go_on.set()
        assert (await socket.frame())["status"] == 200
        assert (await socket.closed())[0] == 1000


async def test_a_cookie_replaced_over_the_socket(serve: Serve) -> None:
    """The answer comes, and says cookies: true: nothing was replaced in the browser yet."""
    app, _, _ = office_app.make(**CALM, requests=True)
    server = serve(app)
    async with Socket(server, headers={"cookie": "sid=old"}, origin=server.url) as socket:
        answer = await socket.ask(request("GET", "/cookies"))
        assert answer["cookies"] is True
        assert "s3cret" not in str(answer)
