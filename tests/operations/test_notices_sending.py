"""Sending to real receivers: whom it reaches, whom it must not, and what it puts up with."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import httpx2
import pytest
from hook_receivers import HookReceiver, Reply, resolver

from restive.operations.notices import sending
from restive.operations.notices.receiver import parse_receiver
from restive.operations.notices.sending import Answer, Refused, Resolve, Sender

LOOPBACK = [ip_network("127.0.0.0/8")]
FIRST = [ip_network("127.0.0.1/32")]


@pytest.fixture
def receive() -> Iterator[Callable[..., HookReceiver]]:
    receivers: list[HookReceiver] = []

    def start(*replies: Reply, **options: object) -> HookReceiver:
        receivers.append(HookReceiver(*replies, **options))  # type: ignore[arg-type]
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.stop()


Receive = Callable[..., HookReceiver]


async def post(url: str, resolve: Resolve, networks: object = LOOPBACK) -> Answer:
    sender = Sender(networks, resolve)  # type: ignore[arg-type]
    return await sender.post(parse_receiver(url), {"webhook-id": "msg_1"}, b'{"n":1}')


async def test_it_connects_to_the_address_and_speaks_to_the_name(receive: Receive) -> None:
    hook = receive(Reply(202))
    answer = await post(f"http://hooks.test:{hook.port}/a?token=b", resolver(hooks_test=["127.0.0.1"]))
    assert answer.status == 202
    (got,) = hook.got
    assert (got.path, got.body) == ("/a?token=b", b'{"n":1}')
    assert got.headers["host"] == f"hooks.test:{hook.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"
    assert got.headers["content-length"] == "7"


INSIDE = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "169.254.169.254",
    "10.0.0.7",
    "fd00:ec2::254",
    "fe80::1%lo",
    "0.0.0.0",
    "::",
    "not an address",
]


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_of_an_address_that_is_not_public_is_refused(receive: Receive, address: str) -> None:
    hook = receive()
    with pytest.raises(Refused):
        await post(f"http://hooks.test:{hook.port}/", resolver(hooks_test=[address]), ())
    assert hook.got == []


async def test_an_address_in_the_url_is_judged_too(receive: Receive) -> None:
    """Also where a URL was stored while another network was open."""
    hook = receive()
    with pytest.raises(Refused):
        await post(f"http://127.0.0.1:{hook.port}/", resolver(), ())
    assert hook.got == []


async def test_one_bad_address_refuses_the_name(receive: Receive) -> None:
    hook = receive()
    names = resolver(hooks_test=["127.0.0.1", "169.254.169.254"])
    with pytest.raises(Refused, match=r"169\.254"):
        await post(f"http://hooks.test:{hook.port}/", names)
    assert hook.got == []


async def test_a_name_that_changes_its_address_gets_what_was_judged(receive: Receive) -> None:
    """DNS rebinding: the second answer leads elsewhere, and nobody asks for it."""
    hook = receive()
    secret = receive(host="127.0.0.2", port=hook.port)
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    assert (await post(f"http://hooks.test:{hook.port}/", rebinding, FIRST)).status == 204
    assert len(hook.got) == 1
    with pytest.raises(Refused):
        await post(f"http://hooks.test:{hook.port}/", rebinding, FIRST)
    assert secret.got == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receive: Receive, status: int) -> None:
    secret = receive()
    hook = receive(Reply(status, {"location": f"http://127.0.0.1:{secret.port}/"}))
    assert (await post(f"http://127.0.0.1:{hook.port}/", resolver())).status == status
    assert secret.got == []


async def test_proxies_of_the_environment_are_not_used(
    receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, hook = receive(), receive()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    await post(f"http://hooks.test:{hook.port}/", resolver(hooks_test=["127.0.0.1"]))
    assert (len(proxy.got), len(hook.got)) == (0, 1)


async def test_the_next_address_is_tried_where_one_is_dead(receive: Receive) -> None:
    hook = receive()
    names = resolver(hooks_test=["127.0.0.9", "127.0.0.1"])
    assert (await post(f"http://hooks.test:{hook.port}/", names)).status == 204
    assert hook.got[0].headers["host"] == f"hooks.test:{hook.port}"


async def test_a_receiver_that_is_away_is_an_error() -> None:
    with socket.socket() as bound:  # not listening
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(httpx2.ConnectError):
            await post(f"http://127.0.0.1:{bound.getsockname()[1]}/", resolver())
    with pytest.raises(OSError, match="no such name"):
        await post("http://nowhere.test/", resolver())
    with pytest.raises(OSError, match="no address"):
        await post("http://hooks.test/", resolver(hooks_test=[]))


def _drip(handler: BaseHTTPRequestHandler) -> None:
    """A header that never ends, a byte at a time: each arrives well within the time for a read."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    try:
        while True:
            handler.wfile.write(b"a")
            handler.wfile.flush()
            handler.connection.settimeout(0.02)
            try:
                if not handler.connection.recv(1):
                    return
            except TimeoutError:
                continue
    except OSError:
        return


async def test_a_slow_answer_is_cut_off(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WHOLE", 0.3)
    hook = receive(Reply(act=_drip))
    with pytest.raises(TimeoutError):
        await post(f"http://127.0.0.1:{hook.port}/", resolver())


async def test_a_resolver_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WHOLE", 0.1)
    loop, release = asyncio.get_running_loop(), asyncio.Event()

    def hanging(host: str, port: int) -> list[str]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return ["127.0.0.1"]

    with pytest.raises(TimeoutError):
        await post("http://hooks.test/", hanging)
    release.set()


async def test_a_huge_answer_is_not_read_to_its_end(receive: Receive) -> None:
    written: list[int] = []
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
                written.append(65536)
        except OSError:
            loop.call_soon_threadsafe(over.set)

    hook = receive(Reply(act=endless))
    assert (await post(f"http://127.0.0.1:{hook.port}/", resolver())).status == 200
    await asyncio.wait_for(over.wait(), 10)
    assert sum(written) < 100_000_000


async def test_the_status_counts_where_the_body_is_broken_off(receive: Receive) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")

    hook = receive(Reply(act=broken))
    assert (await post(f"http://127.0.0.1:{hook.port}/", resolver())).status == 200


async def test_what_is_no_http_is_an_error(receive: Receive) -> None:
    hook = receive(Reply(act=lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n") and None))
    with pytest.raises(httpx2.HTTPError):
        await post(f"http://127.0.0.1:{hook.port}/", resolver())


async def test_nothing_below_writes_the_url_into_the_log(
    receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook = receive()
    await post(f"http://127.0.0.1:{hook.port}/?token=planted", resolver())
    assert "planted" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own for hooks.test, with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    path = folder / "both.pem"
    subject = ["-subj", "/CN=hooks.test", "-addext", "subjectAltName=DNS:hooks.test"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*made, *subject, *files, "-days", "2"], check=True, capture_output=True)
    path.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return path


@pytest.fixture
def secure(receive: Receive, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> HookReceiver:
    """A receiver by https, whose certificate the environment trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return receive(tls=context)


async def test_the_certificate_is_the_names_not_the_addresss(secure: HookReceiver) -> None:
    names = resolver(hooks_test=["127.0.0.1"], other_test=["127.0.0.1"])
    assert (await post(f"https://hooks.test:{secure.port}/", names)).status == 204
    for host in ("other.test", "127.0.0.1"):
        with pytest.raises(httpx2.ConnectError, match="certificate"):
            await post(f"https://{host}:{secure.port}/", names)
    assert len(secure.got) == 1


async def test_a_certificate_that_nobody_signed_is_refused(
    secure: HookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(httpx2.ConnectError, match="certificate"):
        await post(f"https://hooks.test:{secure.port}/", resolver(hooks_test=["127.0.0.1"]))
    assert secure.got == []


async def test_the_systems_resolver_gives_each_address_once() -> None:
    assert sending.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    found = sending.resolve("localhost", 80)
    assert found
    assert len(found) == len(set(found))
