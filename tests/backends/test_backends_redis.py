"""The Redis adapter keeps every promise of the port, on a real server, and says clearly what cannot work."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from redis.crc import key_slot

from backends.backend_processes import eventually
from engines.redis_server import RedisServer
from engines.tls_front import TlsFront, certificate
from restive.backends import open_backend
from restive.backends.port import LOST, Append, Save
from restive.backends.redis import RedisBackend
from restive.backends.redis.backend import _batch
from restive.backends.redis.keys import Keys
from restive.backends.redis.offsets import Offset
from restive.backends.redis.url import parse
from restive.backends.redis.wire import Wire
from restive.errors import BackendUnavailable, SettingError
from restive.testing import BACKEND_CHECKS, run_check
from restive.testing.stores import Ear
from scenarios.servers import free_port

Factory = Callable[[str], RedisBackend]
PASSWORD = "hidden-7f3a"


@pytest.fixture
def factory(redis_url: str) -> Factory:
    run = uuid4().hex
    return lambda store: RedisBackend(redis_url, name=f"{run}/{store}")


@pytest.fixture
def backend(factory: Factory) -> Iterator[RedisBackend]:
    backend = factory("shop")
    yield backend
    backend.close()


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_redis_conforms(check: str, factory: Factory):
    run_check(check, factory)


def test_a_url_opens_it(redis_url: str):
    backend = open_backend(redis_url, name="shop")
    assert isinstance(backend, RedisBackend)
    backend.probe()
    backend.close()


# Keys


@pytest.mark.parametrize("app", ["", "shop", "a}b", "{a", "{}", "a{b}c", "Ü 1\n\0", "*", "\ud800", "x" * 300])
def test_all_keys_of_an_app_are_in_one_slot_of_a_cluster(app: str):
    keys = Keys(app)
    streams = ["s", "{other}", "}", "{", "{}", "a{b}c", "\0", "Ü\r\n", "*"]
    steps = [*(Append(name, [b"x"]) for name in streams), Save("{r}", b"")]
    named = _batch(keys, steps)[1 : len(keys.fixed) + len(streams) + 1]
    assert len({*named}) == len(keys.fixed) + len(streams)
    assert {key_slot(key) for key in named} == {key_slot(b"{" + keys.prefix[1:-2] + b"}")}


def test_apps_of_one_server_do_not_meet(factory: Factory):
    backends = [factory(name) for name in ("a", "a}:", "a:", "A", "a/b", "{a}")]
    for n, backend in enumerate(backends):
        backend.append("s", [b"%d" % n])
        backend.save("r", b"%d" % n, version=0)
    for n, backend in enumerate(backends):
        assert backend.read("s").items == (b"%d" % n,)
        assert [record.value for record in backend.scan("")] == [b"%d" % n]
        backend.close()


def test_no_app_can_be_named_so_that_it_meets_another():
    inside = Keys("a}:stream:b")
    assert inside.records != Keys("a").items("b}:records")
    assert not inside.prefix.startswith(Keys("a").prefix)


def test_an_offset_reads_as_it_was_written():
    offset = Offset("0123456789abcdef", 42, 2**31 - 1)
    assert Offset.parse(str(offset)) == offset


# What others wrote


def spoil(url: str, backend: RedisBackend, key: str, *command: object) -> None:
    """Let something else write under a key of the app."""
    with redis.Redis.from_url(url) as client:
        name = backend._keys.prefix + key.encode()
        if command[0] != "HSET" and command[0] != "XADD":
            client.delete(name)
        client.execute_command(command[0], name, *command[1:])


@pytest.mark.parametrize(
    ("key", "command", "calls"),
    [
        ("records", ("HSET", "r", "short"), ("load", "scan")),
        ("records", ("SET", "x"), ("load", "scan", "save")),
        ("records", ("DEL",), ("scan",)),
        ("names", ("SET", "x"), ("scan", "make")),
        ("names", ("ZADD", 0, b"\xff"), ("scan",)),
        ("versions", ("SET", "x"), ("save", "make")),
        ("streams", ("HSET", "s", "x"), ("read", "append")),
        ("streams", ("SET", "x"), ("read", "append")),
        ("stream:s", ("SET", "x"), ("read", "append")),
        ("stream:s", ("DEL",), ("read",)),
        ("stream:s", ("XADD", "99-9", "i", "x"), ("append", "page")),
        ("store", ("SET", "x"), ("probe", "save", "listen")),
    ],
)
def test_what_others_wrote_is_a_clear_error(
    redis_url: str, backend: RedisBackend, key: str, command: tuple[object, ...], calls: tuple[str, ...]
):
    version = backend.save("r", b"", version=0)
    start = backend.append("s", [b"0"])
    backend.append("s", [b"1"])
    spoil(redis_url, backend, key, *command)
    known: dict[str, Callable[[], object]] = {
        "load": lambda: backend.load("r"),
        "scan": lambda: backend.scan(""),
        "save": lambda: backend.save("r", b"", version=version),
        "make": lambda: backend.save("new", b"", version=0),
        "read": lambda: backend.read("s"),
        "page": lambda: backend.read("s", start, limit=9) and backend.append("s", [b"2"]),
        "append": lambda: backend.append("s", [b"2"]),
        "probe": backend.probe,
        "listen": lambda: backend.listen(Ear()),
    }
    for call in calls:
        with pytest.raises(BackendUnavailable, match=r"did not write|WRONGTYPE|refused"):
            known[call]()


@pytest.mark.parametrize("position", [1, 2, 3])
def test_items_that_others_removed_are_never_skipped_in_silence(
    redis_url: str, backend: RedisBackend, position: int
):
    ends = [backend.append("s", [b"%d" % n]) for n in range(3)]
    with redis.Redis.from_url(redis_url) as client:
        key = backend._keys.items("s")
        client.xdel(key, client.xrange(key)[position - 1][0])
    for limit in (3, 2):
        with pytest.raises(BackendUnavailable, match="lacks some"):
            backend.read("s", ends[0] if position == 3 and limit == 2 else "", limit)
    with pytest.raises((BackendUnavailable, ValueError)):
        backend.read("s", ends[0]) if position < 3 else backend.read("s", ends[1])


@pytest.mark.parametrize(
    "entry", [{"x": "y"}, {"d": "no end"}, {"p": "0-0", "d": "foreign"}, {b"\xff": b"\xff"}]
)
def test_foreign_announcements_end_no_listening(
    redis_url: str, backend: RedisBackend, entry: dict[object, object]
):
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(backend._keys.announcements, entry)
    backend.announce(b"after")
    ear.until(b"after")
    assert LOST in ear.heard


def test_a_foreign_key_in_place_of_the_announcements_ends_no_listening(redis_url: str, backend: RedisBackend):
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    spoil(redis_url, backend, "announcements", "SET", "x")
    with pytest.raises(BackendUnavailable, match="WRONGTYPE"):
        backend.announce(b"never")
    with redis.Redis.from_url(redis_url) as client:
        client.delete(backend._keys.announcements)
    backend.announce(b"after")
    ear.until(b"after")


# What cannot work

BAD_URLS = [
    "redis://host:70000",
    "redis://host:port",
    "redis://[::1",
    "redis://host/name",
    "redis://host/-1",
    "redis://host/0#x",
    "redis://host?no_such=1",
    "redis://host?timeout=soon",
    "redis://host?timeout=0",
    "redis://host?replicas=-1",
    "redis://host?ssl_ca_certs=/ca.pem",
    "rediss://host?ssl_cert_reqs=maybe",
    "rediss://host?ssl_check_hostname=maybe",
    "redis://a b",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_work_is_refused_at_once_without_its_password(url: str):
    with pytest.raises(SettingError) as caught:
        RedisBackend(url.replace("://", f"://user:{PASSWORD}@"), name="shop")
    assert PASSWORD not in str(caught.value)
    assert "redis://[user[:password]@]host" in str(caught.value)


def test_what_a_url_says():
    url = parse("rediss://us%40er:p%3Aw%2F@a,[::1]:7000,b:7001/3?timeout=0.5&replicas=2&ssl_cert_reqs=none")
    assert url.addresses == (("a", 6379), ("::1", 7000), ("b", 7001))
    assert (url.user, url.password, url.db, url.tls) == ("us@er", "p:w/", 3, True)
    assert (url.timeout, url.replicas, url.options) == (0.5, 2, {"ssl_cert_reqs": "none"})
    assert "p:w/" not in repr(url)
    plain = parse("redis://:word@host")
    assert (plain.addresses, plain.user, plain.password) == ((("host", 6379),), None, "word")


def refusal(url: str) -> str:
    backend = RedisBackend(url, name="shop")
    with pytest.raises(BackendUnavailable) as caught:
        backend.probe()
    with pytest.raises(BackendUnavailable) as heard:
        backend.listen(Ear())
    backend.close()
    text = f"{caught.value} {heard.value} {backend!r}"
    assert PASSWORD not in text
    return text


def test_a_host_or_port_that_is_not_there():
    assert "nowhere.invalid:6379" in refusal("redis://nowhere.invalid?timeout=0.2")
    assert "Connection refused" in refusal(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}?timeout=0.2")


def test_a_host_that_swallows_everything():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        assert "Timeout" in refusal(f"redis://:{PASSWORD}@127.0.0.1:{port}?timeout=0.2")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with a password."""
    server = RedisServer(tmp_path_factory.mktemp("guarded"), password="right")
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_wrong_password_or_none(guarded: RedisServer):
    host = f"127.0.0.1:{guarded.port}"
    assert "refuses the user or password" in refusal(f"redis://:{PASSWORD}@{host}")
    assert "refuses the user or password" in refusal(f"redis://somebody:{PASSWORD}@{host}")
    assert "asks for a password" in refusal(f"redis://{host}")
    assert "DB index is out of range" in refusal(f"redis://:right@{host}/4711")


DOCUMENTED = (Path(__file__).parents[2] / "docs/backends/redis.md").read_text(encoding="utf-8")


def test_the_permissions_that_the_documentation_names_are_enough(guarded: RedisServer):
    rule = next(line for line in DOCUMENTED.splitlines() if line.startswith("ACL SETUSER"))
    with redis.Redis.from_url(guarded.url) as client:
        assert client.execute_command(*rule.replace("a-long-secret", PASSWORD).split()) == b"OK"
    url = f"redis://shop:{PASSWORD}@127.0.0.1:{guarded.port}"
    for check in BACKEND_CHECKS:
        if "batches" in check or "announcements" in check or "keep" in check:
            run_check(check, lambda store: RedisBackend(url, name=f"shop/{store}"))
    stranger = RedisBackend(url, name="other")
    with pytest.raises(BackendUnavailable, match=r"refused: .*permi"):
        stranger.save("r", b"", version=0)
    stranger.close()


def test_a_server_that_drops_data_when_it_is_full_is_warned_of_once(
    guarded: RedisServer, caplog: pytest.LogCaptureFixture
):
    with redis.Redis.from_url(guarded.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        backend = RedisBackend(guarded.url, name="shop")
        try:
            for _ in range(2):
                backend.probe()
                backend.close()
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "allkeys-lru" in warnings[0]


def test_a_server_that_is_too_old():
    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"+PONG\r\n")
                connection.recv(1000)
                info = b"redis_version:5.0.14\r\nrole:master\r\n"
                connection.sendall(b"$%d\r\n%b\r\n" % (len(info), info))
                connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        assert "version 5.0.14; 6.2 is the oldest" in refusal(f"redis://127.0.0.1:{port}")


# TLS


def test_tls_with_and_without_a_certificate_that_is_known(redis_url: str, tmp_path: Path):
    files = certificate(tmp_path)
    front = TlsFront(int(redis_url.rpartition(":")[2].partition("/")[0]), files)
    try:
        url = f"rediss://127.0.0.1:{front.port}?timeout=2"
        backend, ear = RedisBackend(f"{url}&ssl_ca_certs={files[0]}", name=uuid4().hex), Ear()
        backend.listen(ear)
        backend.announce(b"over TLS")
        ear.until(b"over TLS")
        backend.append("s", [bytes(1 << 20)])
        assert backend.read("s").items == (bytes(1 << 20),)
        backend.close()
        assert "certificate verify failed" in refusal(url)
    finally:
        front.stop()


# Forks and closing


def test_a_connection_that_was_closed_does_not_open_itself_again(redis_url: str):
    url = parse(redis_url)
    wire = Wire(url, url.addresses[0])
    assert wire.ask(b"PING") == b"PONG"
    wire.close()
    with pytest.raises(redis.ConnectionError):
        wire.send(b"")
    assert not wire.rests()


def test_a_forked_child_has_connections_and_listeners_of_its_own(backend: RedisBackend):
    ear, own = Ear(), Ear()
    backend.listen(ear)
    connection = backend._line.ask(b"CLIENT", b"ID")
    child = os.fork()
    if child == 0:
        try:
            right = backend._line.ask(b"CLIENT", b"ID") != connection
            backend.listen(own)
            backend.announce(b"of the child")
            own.until(b"of the child")
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert backend._line.ask(b"CLIENT", b"ID") == connection
    backend.announce(b"after")
    assert ear.until(b"after") == [b"of the child", b"after"]
    assert LOST not in ear.heard


def connections(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return len(client.client_list()) - 1


def test_two_connections_at_most_and_none_after_closing(guarded: RedisServer):
    eventually(lambda: connections(guarded.url) == 0)
    backend, ear = RedisBackend(guarded.url, name="shop"), Ear()
    assert connections(guarded.url) == 0
    stops = [backend.listen(ear) for _ in range(3)]
    threads = [threading.Thread(target=backend.append, args=("s", [b"x"])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connections(guarded.url) == 2
    for stop in stops:
        stop()
    eventually(lambda: connections(guarded.url) == 1)
    backend.listen(ear)
    assert connections(guarded.url) == 2
    backend.close()
    eventually(lambda: connections(guarded.url) == 0)
    backend.announce(b"never heard")
    assert ear.heard == []
    backend.close()


@pytest.mark.timeout(15)
def test_closing_does_not_wait_for_the_server(guarded: RedisServer):
    backend = RedisBackend(guarded.url, name="shop")
    with redis.Redis.from_url(guarded.url) as client:
        for _ in range(12):  # a wait that closing does not end would take up to two seconds each
            backend.listen(Ear())
            eventually(lambda: client.info("clients")["blocked_clients"])
            backend.close()
            eventually(lambda: not client.info("clients")["blocked_clients"])
