"""The WebSocket as a way in: origins, fields in frames, paths that a proxy denies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from apps import mirror as mirror_app
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.sockets import Socket

COOKIE = {"cookie": "sid=1"}
SAME = {"sec-fetch-site": "same-origin"}
CROSS = {"sec-fetch-site": "cross-site"}


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadServer]:
    app, _, _ = mirror_app.make(**CALM, allow_origins=["https://page.test"], public_url="https://shop.test")
    server = ThreadServer(app)
    yield server
    server.stop()


ACCEPTED: list[tuple[str | None, dict[str, str]]] = [
    (None, {}),
    ("http://{host}", {}),
    ("http://{host}", COOKIE),
    ("http://{host}", {**COOKIE, **SAME}),
    ("https://page.test", COOKIE),
    ("https://page.test", {**COOKIE, **CROSS}),
    ("https://shop.test", COOKIE),
    ("https://proxied.test", {**COOKIE, **SAME}),
    (None, {**COOKIE, **SAME}),
]
REFUSED: list[tuple[str | None, dict[str, str]]] = [
    (None, COOKIE),
    ("https://evil.test", {}),
    ("https://evil.test", COOKIE),
    ("https://evil.test", {**COOKIE, **CROSS}),
    ("https://evil.test", {"sec-fetch-site": "same-site"}),
    ("https://evil.test", {"sec-fetch-site": "none"}),
    ("null", {}),
    ("null", COOKIE),
    ("null", {**COOKIE, **SAME}),
    ("http://{host}.evil.test", COOKIE),
    ("http://evil{host}", COOKIE),
    ("http://127.0.0.1", COOKIE),
    ("http://127.0.0.1:1", COOKIE),
    ("http://localhost:{port}", COOKIE),
    ("https://page.test.evil.test", COOKIE),
    ("https://evil.test/https://page.test", COOKIE),
    ("http://page.test", COOKIE),
    ("https://page.test:8443", COOKIE),
    ("https://sub.page.test", COOKIE),
    ("https://page.test, https://evil.test", COOKIE),
    ("https://shop.test.evil.test", COOKIE),
    ("{host}", COOKIE),
    ("file://", COOKIE),
    ("", COOKIE),
]


def spelled(origin: str | None, server: ThreadServer) -> str | None:
    return (
        None if origin is None else origin.replace("{host}", server.host).replace("{port}", str(server.port))
    )


@pytest.mark.parametrize(("origin", "headers"), ACCEPTED)
async def test_origin_accepted(origin: str | None, headers: dict[str, str], server: ThreadServer) -> None:
    async with Socket(server, origin=spelled(origin, server), headers=headers) as socket:
        assert "data" in await socket.ask({"watch": "/body"})


@pytest.mark.parametrize(("origin", "headers"), REFUSED)
async def test_origin_refused_before_accept(
    origin: str | None, headers: dict[str, str], server: ThreadServer, caplog: pytest.LogCaptureFixture
) -> None:
    """403, and the log names both values."""
    said = spelled(origin, server)
    with caplog.at_level(logging.INFO, logger="restive"), pytest.raises(InvalidStatus) as refused:
        async with Socket(server, origin=said, headers=headers):
            pass
    assert refused.value.response.status_code == 403
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("restive")]
    assert any(server.host in line and (said or "") in line for line in lines), lines


async def test_refusal_cannot_forge_a_log_line(
    server: ThreadServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Control characters of an Origin do not enter the log as they are."""
    handshake = (
        f"GET /-/live HTTP/1.1\r\nHost: {server.host}\r\nOrigin: https://\x1b[31mevil\x1b[0m.test\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with caplog.at_level(logging.INFO, logger="restive"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(handshake.encode())
        status = await reader.readline()
        writer.close()
    assert status.split()[1] in {b"400", b"403"}
    assert not [r for r in caplog.records if r.name.startswith("restive") and "\x1b" in r.getMessage()]


# Fields in a frame

FORBIDDEN = [
    "x-forwarded-user",
    "X-Forwarded-User",
    "x-remote-user",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-real-ip",
    "forwarded",
    "x-api-key",
    "cookie",
    "host",
    "origin",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "sec-fetch-site",
    "sec-websocket-protocol",
    "range",
    "te",
    "referer",
    "user-agent",
    "x_forwarded_user",
    "x-http-method-override",
]


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_identity_cannot_be_forged_in_a_frame(name: str, server: ThreadServer) -> None:
    """The whole frame is refused, naming the field; what the proxy said at the handshake still holds."""
    async with Socket(server, headers={"x-forwarded-user": "ann"}) as socket:
        answer = await socket.error({"watch": "/echo", "headers": {name: "admin"}})
        assert name.lower() in str(answer["error"]).lower()
        data = (await socket.ask({"watch": "/echo"}))["data"]
        assert data["fields"]["x-forwarded-user"] == "ann"
        assert "admin" not in str(data)


ALLOWED = {
    "accept": "application/json",
    "Accept-Language": "de",
    "AUTHORIZATION": "Bearer x",
    "if-something": "x",
    "prefer": "return=minimal",
    "content-type": "text/plain",
    "idempotency-key": "k",
}


@pytest.mark.parametrize("name", ALLOWED)
async def test_allowed_fields(name: str, server: ThreadServer) -> None:
    async with Socket(server) as socket:
        data = (await socket.ask({"watch": "/echo", "headers": {name: ALLOWED[name]}}))["data"]
    if name.lower() in {"accept", "accept-language", "authorization"}:
        assert data["fields"][name.lower()] == ALLOWED[name]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "a\r\nx-forwarded-user: admin"},
        {"authorization": "a\nb"},
        {"authorization": "a\x00b"},
        {"authorization": "\x7f"},
        {"authorization": " leading"},
        {"authorization": "\u2603"},
        {"authorization\r\nx-forwarded-user": "admin"},
        {"authorization ": "x"},
        {"": "x"},
        {"accept": None},
        {"accept": [1, 2]},
        {"accept": ["a", "b\n"]},
        {"accept": {"a": 1}},
        {"authorization": "x" * 60_000},
    ],
    ids=lambda h: repr(h)[:40],
)
async def test_field_syntax(headers: dict[str, Any], server: ThreadServer) -> None:
    """RFC 9110: nothing that could end a line or begin another one."""
    async with Socket(server) as socket:
        answer = await socket.ask({"watch": "/echo", "headers": headers})
        if headers == {"authorization": "x" * 60_000}:
            assert "data" in answer or "error" in answer
        else:
            assert answer["error"]["status"] == 400
        assert "data" in await socket.ask({"watch": "/body"})


async def test_field_twice_in_two_spellings(server: ThreadServer) -> None:
    """One of both counts, or the frame is refused; they are never joined to something new."""
    async with Socket(server) as socket:
        answer = await socket.ask(
            '{"watch": "/echo", "headers": {"authorization": "one", "Authorization": "two"}}'
        )
    assert "error" in answer or answer["data"]["fields"]["authorization"] in {"one", "two"}


async def test_named_fields_are_let_in(serve: Serve) -> None:
    app, _, _ = mirror_app.make(**CALM, socket_headers=["X-Tenant"])
    async with Socket(serve(app), headers={"x-tenant": "from the handshake"}) as socket:
        data = (await socket.ask({"watch": "/echo", "headers": {"x-tenant": "acme"}}))["data"]
        assert data["fields"]["x-tenant"] == "acme"
        await socket.error({"watch": "/echo", "headers": {"x-tenants": "acme"}})


async def test_credentials_of_the_frame_replace_those_of_the_handshake(server: ThreadServer) -> None:
    async with Socket(server, headers={"authorization": "Bearer handshake"}) as socket:
        data = (await socket.ask({"watch": "/echo?a"}))["data"]
        assert data["fields"]["authorization"] == "Bearer handshake"
        data = (await socket.ask({"watch": "/echo?b", "headers": {"authorization": "Bearer frame"}}))["data"]
        assert data["fields"]["authorization"] == "Bearer frame"


# Paths that the proxy in front denies


def allowed(path: str) -> bool:
    return not path.startswith("/hang")


SPELLINGS = [
    "/hang/x",
    "/%68ang/x",
    "/./hang/x",
    "/body/../hang/x",
    "//hang/x",
    "/hang%2Fx",
    "/hang/x?y=1",
    "hang/x",
]


@pytest.mark.parametrize("target", SPELLINGS)
@pytest.mark.parametrize("verb", ["watch", "request"])
async def test_denied_path_is_not_reached_over_the_socket(target: str, verb: str, serve: Serve) -> None:
    """``targets=`` limits watches and requests alike, in every spelling of the path."""
    app, _, mirror = mirror_app.make(**CALM, targets=allowed, requests=True)
    frame = (
        {"watch": target} if verb == "watch" else {"id": 1, "request": {"method": "GET", "target": target}}
    )
    async with Socket(serve(app)) as socket:
        answer = await socket.ask(frame)
        refused = answer.get("error") or answer.get("end") or answer
        assert 400 <= refused["status"] < 500, answer
        assert "data" in await socket.ask({"watch": "/body"})
    assert mirror.started == []


async def test_secrets_stay_out_of_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Credentials of handshakes and frames, refused or not, are in no log line."""
    app, _, _ = mirror_app.make(**CALM)
    server = serve(app)
    with caplog.at_level(logging.DEBUG, logger="restive"):
        async with Socket(server, headers={"cookie": "sid=s3cret"}, origin=server.url) as socket:
            await socket.ask({"watch": "/echo", "headers": {"authorization": "Bearer s3cret"}})
            await socket.ask({"watch": "/hang/../x", "headers": {"authorization": "Bearer s3cret"}})
            await socket.ask({"watch": "/nothing", "headers": {"authorization": "Bearer s3cret"}})
            await socket.ask({"watch": "/echo", "headers": {"authorization": "Bearer s3cret\n"}})
    assert not [r for r in caplog.records if "s3cret" in r.getMessage()]
