"""The NATS adapter keeps every promise of the port, on a real server, and says clearly what cannot work."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.backend_processes import eventually
from engines.nats_server import NatsServer
from engines.tls_front import certificate
from restive.backends import open_backend
from restive.backends.limits import MAX_VALUE
from restive.backends.nats import NatsBackend
from restive.backends.nats import lives as life
from restive.backends.nats.names import below, name_of, stream_name, tokens
from restive.backends.nats.offset import Offset, parse
from restive.backends.nats.url import NatsUrl
from restive.backends.port import LOST, Append, Record, Save, Step, Trimmed
from restive.errors import BackendUnavailable, Conflict, SettingError
from restive.testing import BACKEND_CHECKS, run_check
from restive.testing.stores import Ear, at_once
from scenarios.servers import free_port

Factory = Callable[[str], NatsBackend]
PASSWORD = "hidden-7f3a"
NAMES = st.text(min_size=1, max_size=40)


@pytest.fixture
def factory(nats_url: str) -> Factory:
    run = uuid4().hex[:8]
    return lambda store: NatsBackend(nats_url, name=f"{run}/{store}")


@pytest.fixture
def backend(factory: Factory) -> Iterator[NatsBackend]:
    backend = factory("shop")
    yield backend
    backend.close()


def ask(url: str, subject: str, question: Any = None) -> dict[str, Any]:
    """Ask the JetStream API, as an operator would."""
    data = b"" if question is None else json.dumps(question).encode()

    async def run() -> dict[str, Any]:
        client = await nats.connect(url)
        answer = await client.request(f"$JS.API.{subject}", data, timeout=5)
        await client.close()
        return json.loads(answer.data)

    return asyncio.run(run())


def publish(url: str, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
    """Publish what Restive never would."""

    async def run() -> None:
        client = await nats.connect(url)
        await client.request(subject, data, timeout=5, headers=headers)
        await client.close()

    asyncio.run(run())


def root(url: str, backend: NatsBackend, what: str = "") -> str:
    """What the subjects of an app begin with."""
    config = ask(url, f"STREAM.INFO.{stream_name(backend.name, what)}")["config"]
    return config["subjects"][0].removesuffix(".>")


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_nats_conforms(check: str, factory: Factory):
    run_check(check, factory)


def test_a_url_opens_it(nats_url: str):
    backend = open_backend(nats_url, name="shop")
    assert isinstance(backend, NatsBackend)
    backend.probe()
    backend.close()


# Names and numbers


@given(NAMES)
@settings(max_examples=200)
def test_a_name_is_a_subject_that_says_nothing_else(name: str):
    subject = tokens(name)
    assert name_of(subject) == name
    assert re.fullmatch(r"[0-9A-Za-z_=-]+(\.[0-9A-Za-z_=-]+)*", subject)


@given(NAMES, NAMES)
@settings(max_examples=200)
def test_names_that_start_alike_lie_below_the_filter(prefix: str, rest: str):
    wanted = re.escape(below(prefix)).replace(">", ".+")
    assert re.fullmatch(wanted, tokens(prefix + rest))


@pytest.mark.parametrize("text", ["a b", "=4", "=zz", "=41", "", "a..b", ">", "=C3", "a.b.c.d.e"])
def test_what_is_no_encoded_name_is_refused(text: str):
    with pytest.raises(ValueError, match=r".*"):
        name_of(text)


def test_apps_of_one_server_do_not_meet(factory: Factory):
    odd = ("a", "a=", "A", "a/b", "a.b", "a.*", ">", "x" * 300, "x" * 301, "a=announced", "ü")
    backends = [factory(name) for name in odd]
    for n, backend in enumerate(backends):
        backend.append("s", [b"%d" % n])
    for n, backend in enumerate(backends):
        assert backend.read("s").items == (b"%d" % n,)
        backend.close()
    assert stream_name("a=announced") != stream_name("a", "announced")
    assert len(stream_name("x" * 300)) < 200


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50), st.booleans(), st.floats(0, 0.999))))
def test_numbers_grow_whatever_is_lost_and_lead_to_nothing_else(
    restarts: list[tuple[int, int, bool, float]],
):
    lives = life.decode(life.encode([], "0", 1000), 1)
    last, given_before, held = 1, [lives.number(1)], {1: lives.number(1)}
    for n, (written, lost, clock, chance) in enumerate(restarts):
        for sequence in range(last + 1, last + 1 + written):
            held[sequence] = lives.number(sequence)
            assert held[sequence] > max(given_before)
            given_before.append(held[sequence])
        last = max(lives.firsts[-1], last + written - lost)
        held = {sequence: number for sequence, number in held.items() if sequence <= last}
        micros = max(given_before) + 50 if clock else 0  # the clock was set back
        lives = life.decode(lives.next(str(n + 1), micros, last, chance), last + 1)
        last += 1
        held[last] = lives.number(last)
        assert held[last] > max(given_before)
        given_before.append(held[last])
        for number in given_before:
            found = lives.sequence(number)
            assert (held.get(found) == number) if found is not None else number not in held.values()


def test_only_so_many_lives_are_remembered():
    lives = life.decode(life.encode([], "0", 1000), 1)
    for n in range(2, 2 * life.MOST):
        lives = life.decode(lives.next(str(n), 10_000 * n, n - 1, 0.0), n)
    assert len(lives.firsts) == life.MOST
    assert lives.sequence(lives.number(1)) == 1


def test_an_offset_reads_as_it_was_written():
    for offset in (Offset("0123456789abcdef", 42, 2**51), Offset("0" * 16, 0, 1, inside=True)):
        assert parse(str(offset)) == offset


# Calls that come together


def test_a_conflict_meets_one_alone_of_those_that_go_together(factory: Factory):
    backend = factory("together")
    backend.save("taken", b"", version=0)
    backend.append("s", [b""], close=True)
    conflicts: list[int] = []

    def write(writer: int) -> None:
        for n in range(20):
            name = f"{writer}/{n}"
            steps: list[Step] = [Save(f"{name}/a", b""), Append(f"{name}/s", [b"x"]), Save(f"{name}/b", b"")]
            if writer < 2:
                wrong = Save("taken", b"") if writer else Append("s", [b"x"])
                try:
                    backend.apply([*steps, wrong])
                except Conflict:
                    conflicts.append(writer)
            else:
                done = backend.apply(steps)
                assert backend.load(f"{name}/b") == Record(f"{name}/b", b"", int(str(done[2])))
                assert backend.read(f"{name}/s").next == done[1]

    at_once(*(partial(write, writer) for writer in range(6)))
    assert sorted(conflicts) == [0] * 20 + [1] * 20
    assert {record.name.partition("/")[0] for record in backend.scan("", limit=1000)} == {*"2345", "taken"}
    backend.close()


def test_a_large_value_is_read_whole_while_it_is_replaced(backend: NatsBackend):
    over = threading.Event()
    seen: set[int] = set()

    def write() -> None:
        for n in range(30):
            backend.apply([Save("r", bytes([n]) * MAX_VALUE, None)])
        over.set()

    def read() -> None:
        while not over.is_set():
            found = backend.load("r")
            if found is not None:
                assert (len(found.value), len(set(found.value))) == (MAX_VALUE, 1)
                seen.add(found.value[0])

    at_once(write, read, read)
    assert len(seen) > 1


# What others wrote


GARBAGE = [
    (b"x", None),
    (b"", {"Restive": "items"}),
    (b"\xff\xff\xff\xffx", {"Restive": "items 0123456789abcdef 1 2 open 2 1"}),
    (b"x", {"Restive": "record 3 2"}),
    (b"x", {"Restive": "record 0 0"}),
    (b"x", {"Restive": "announcement 9 9 9"}),
    (b'{"lives": [[5, 5], [4, 4]], "server": "x", "start": 1}', {"Restive": "lives"}),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_others_wrote_is_a_clear_error(
    nats_url: str, backend: NatsBackend, garbage: tuple[bytes, dict[str, str] | None]
):
    backend.save("r", b"", version=0)
    backend.append("s", [b"0"])
    start = root(nats_url, backend)
    for subject in ("record.r", "stream.s", "record.a=zz"):
        publish(nats_url, f"{start}.{subject}", *garbage)
    fresh = NatsBackend(nats_url, name=backend.name)
    for each in (backend, fresh):
        for call in (
            lambda each=each: each.load("r"),
            lambda each=each: each.scan(""),
            lambda each=each: each.read("s"),
            lambda each=each: each.append("s", [b"1"]),
        ):
            with pytest.raises(BackendUnavailable, match="not written by Restive"):
                call()
    publish(nats_url, f"{start}.lives", *garbage)
    fresh.close()
    with pytest.raises(BackendUnavailable, match="not written by Restive"):
        fresh.probe()


@pytest.mark.parametrize("garbage", [*GARBAGE, (b"x", {"Restive": "announcement 2 2"})])
def test_foreign_announcements_end_no_listening(
    nats_url: str, backend: NatsBackend, garbage: tuple[bytes, dict[str, str] | None]
):
    ear = Ear()
    backend.listen(ear)
    publish(nats_url, f"{root(nats_url, backend, 'announced')}.all", *garbage)
    backend.announce(b"after")
    assert ear.until(b"after") == [b"after"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_items_that_others_removed_are_never_skipped_in_silence(
    nats_url: str, backend: NatsBackend, position: int
):
    ends = ["", *(backend.append("s", [b"%d" % n]) for n in range(4))]
    sequence = backend.read("s", ends[position], 1).next
    store = stream_name(backend.name)
    question = {"last_by_subj": f"{root(nats_url, backend)}.stream.s"}
    last = ask(nats_url, f"STREAM.MSG.GET.{store}", question)["message"]["seq"]
    assert ask(nats_url, f"STREAM.MSG.DELETE.{store}", {"seq": last - 3 + position})["success"]
    assert backend.read("s", sequence).items == tuple(b"%d" % n for n in range(position + 1, 4))
    if position:
        assert backend.read("s").items == tuple(b"%d" % n for n in range(position))
        with pytest.raises(Trimmed):
            backend.read("s", ends[position])


def test_a_stream_of_another_make_is_left_as_it_is(nats_url: str):
    for name, config, said in (
        ("theirs", {"subjects": ["orders.>"]}, "lacks allow_direct, allow_atomic"),
        (
            "other",
            {
                "subjects": ["other.>"],
                "allow_atomic": True,
                "allow_direct": True,
                "allow_rollup_hdrs": True,
                "allow_msg_ttl": True,
            },
            "not made by Restive",
        ),
    ):
        stream = stream_name(name)
        ask(nats_url, f"STREAM.CREATE.{stream}", {"name": stream, **config})
        backend = NatsBackend(nats_url, name=name)
        with pytest.raises(BackendUnavailable, match=said):
            backend.save("r", b"", version=0)
        backend.close()
        ask(nats_url, f"STREAM.DELETE.{stream}")


def test_what_an_operator_has_changed_stays(nats_url: str, backend: NatsBackend):
    backend.save("r", b"", version=0)
    stream = stream_name(backend.name)
    config = ask(nats_url, f"STREAM.INFO.{stream}")["config"]
    changed = {**config, "max_bytes": 10**8, "description": "ours"}
    ask(nats_url, f"STREAM.UPDATE.{stream}", changed)
    backend.close()
    backend.save("s", b"", version=0)
    config = ask(nats_url, f"STREAM.INFO.{stream}")["config"]
    assert (config["max_bytes"], config["description"]) == (10**8, "ours")


@pytest.mark.parametrize("way", ["read", "write", "listen"])
def test_a_stream_that_was_deleted_is_made_anew(nats_url: str, backend: NatsBackend, way: str):
    other, ear = NatsBackend(nats_url, name=backend.name), Ear()
    version = backend.save("r", b"old", version=0)
    end = backend.append("s", [b"old"] * 3)
    other.listen(ear)
    other.append("s", [b"old"])
    for what in ("", "announced"):
        ask(nats_url, f"STREAM.DELETE.{stream_name(backend.name, what)}")
    if way != "write":
        third = NatsBackend(nats_url, name=backend.name)
        third.append("s", [b"new"])
        third.save("r", b"new", version=0)
        third.close()
    if way == "write":
        assert backend.append("s", [b"new"]) != end
        assert backend.save("r", b"new", version=0) > version
    elif way == "listen":
        eventually(lambda: LOST in ear.heard)
        backend.probe()
    found = other.load("r")
    assert found is not None
    assert (found.value, found.version > version) == (b"new", True)
    assert other.read("s").items == backend.read("s").items == (b"new",)
    with pytest.raises(ValueError, match=r"wiped|lost"):
        backend.read("s", end)
    other.close()


# What cannot work

BAD_URLS = [
    "nats://",
    "nats://host:70000",
    "nats://host:port",
    "nats://[::1",
    "nats://host/name",
    "nats://host#x",
    "nats://host?no_such=1",
    "nats://host?replicas=2",
    "nats://host?storage=paper",
    "nats://host?tls_ca=/no/such/file",
    "nats://host?tls_key=/etc/hostname",
    "nats://host?creds=/no/such/file",
    "nats://host,,other",
    "nats:host",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_work_is_refused_at_once_without_its_password(url: str):
    with pytest.raises(SettingError) as caught:
        NatsBackend(url.replace("://", f"://user:{PASSWORD}@"), name="shop")
    assert PASSWORD not in str(caught.value)
    assert "NATS URL" in str(caught.value)


def test_what_a_url_says():
    url = NatsUrl.parse("tls://us%40er:p%3Aw%2F@a,[::1]:7000,b:7001/?replicas=3&storage=memory")
    assert url.servers == ("a:4222", "[::1]:7000", "b:7001")
    assert (url.user, url.password, url.secure) == ("us@er", "p:w/", True)
    assert (url.replicas, url.storage) == (3, "memory")
    assert "p:w/" not in repr(url) + str(url)
    options = NatsUrl.parse("nats://to%20ken@host").options()
    assert (options["token"], options["servers"]) == ("to ken", ["nats://host:4222"])


def refusal(url: str) -> str:
    backend = NatsBackend(url, name="shop")
    with pytest.raises(BackendUnavailable) as caught:
        backend.probe()
    with pytest.raises(BackendUnavailable) as heard:
        backend.listen(Ear())
    backend.close()
    text = f"{caught.value} {heard.value} {backend!r}"
    assert PASSWORD not in text
    return text


def test_a_host_or_port_that_is_not_there():
    assert "nowhere.invalid:4222" in refusal("nats://nowhere.invalid")
    assert "Is it running" in refusal(f"nats://u:{PASSWORD}@127.0.0.1:{free_port()}")


@pytest.mark.timeout(20)
def test_a_host_that_swallows_everything():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert "does not answer" in refusal(f"nats://127.0.0.1:{deaf.getsockname()[1]}")


def test_a_server_that_is_too_old():
    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                info = b'INFO {"server_id":"x","version":"2.11.4","headers":true,"max_payload":1048576}\r\n'
                connection.sendall(info)
                while received := connection.recv(1000):
                    if b"PING" in received:
                        connection.sendall(b"PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        assert "needs 2.12" in refusal(f"nats://127.0.0.1:{listening.getsockname()[1]}")
        listening.shutdown(socket.SHUT_RDWR)


DOCUMENTED = (Path(__file__).parents[2] / "docs/backends/nats.md").read_text(encoding="utf-8")


def permissions(app: str) -> dict[str, Any]:
    """The permissions that the documentation lists, for an app."""
    block = DOCUMENTED.partition("permissions = {")[2].partition("\n}")[0]
    publish, subscribe = (re.findall(r'"([^"]+)"', part) for part in block.split("subscribe"))
    return {
        "publish": [subject.replace("shop", app) for subject in publish],
        "subscribe": [subject.replace("shop", app) for subject in subscribe],
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server with users: one who may do all, one who may do what is documented, and some who may not."""
    allowed = permissions("shop")
    users = [
        {"user": "restive", "password": "right"},
        {"user": "shop", "password": PASSWORD, "permissions": allowed},
        {"user": "deaf", "password": PASSWORD, "permissions": {**allowed, "subscribe": {"deny": [">"]}}},
        {"user": "mute", "password": PASSWORD, "permissions": {"publish": {"deny": ["$JS.>"]}}},
    ]
    server = NatsServer(tmp_path_factory.mktemp("guarded"), authorization={"users": users})
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_wrong_password_or_none(guarded: NatsServer):
    host = f"127.0.0.1:{guarded.port}"
    for account in (f"restive:{PASSWORD}@", f"{PASSWORD}@", ""):
        assert "Check user, password or token" in refusal(f"nats://{account}{host}")


def test_a_user_who_may_not(guarded: NatsServer):
    host = f"127.0.0.1:{guarded.port}"
    assert "may not publish to $JS.API.STREAM.INFO" in refusal(f"nats://mute:{PASSWORD}@{host}")
    assert "may not subscribe to _INBOX" in refusal(f"nats://deaf:{PASSWORD}@{host}")


def test_the_permissions_that_the_documentation_names_are_enough(guarded: NatsServer):
    url = f"nats://shop:{PASSWORD}@127.0.0.1:{guarded.port}"
    admin = f"nats://restive:right@127.0.0.1:{guarded.port}"

    def opened(store: str) -> NatsBackend:
        return NatsBackend(url, name="shop")

    for check in BACKEND_CHECKS:
        if check.endswith(("large", "many_announcers", "offsets_of_what_is_kept", "many_scanned_in_pages")):
            run_check(check, opened)
            for what in ("", "announced"):
                ask(admin, f"STREAM.DELETE.{stream_name('shop', what)}")
    stranger = NatsBackend(url, name="other")
    with pytest.raises(BackendUnavailable, match="may not publish"):
        stranger.save("r", b"", version=0)
    stranger.close()


def test_a_server_without_jetstream(tmp_path: Path):
    server = NatsServer(tmp_path, jetstream=False)
    try:
        server.start()
        assert "nats-server with -js" in refusal(server.url)
    finally:
        server.stop()


def fill(backend: NatsBackend) -> None:
    for _ in range(100):
        backend.append("s", [bytes(10_000)])


def test_a_full_store_refuses_and_loses_nothing(nats_url: str, backend: NatsBackend):
    backend.save("r", b"0", version=0)
    stream = stream_name(backend.name)
    config = ask(nats_url, f"STREAM.INFO.{stream}")["config"]
    ask(nats_url, f"STREAM.UPDATE.{stream}", {**config, "max_bytes": 100_000, "discard": "new"})
    with pytest.raises(BackendUnavailable, match="maximum bytes"):
        fill(backend)
    ask(nats_url, f"STREAM.UPDATE.{stream}", config)
    before = len(backend.read("s").items)
    backend.append("s", [b"more"])
    assert len(backend.read("s").items) == before + 1


# Small messages and TLS


def test_a_server_that_takes_small_messages_only(tmp_path: Path):
    server = NatsServer(tmp_path, max_payload=16_384)
    try:
        server.start()
        for check in (
            "batches-large",
            "announcements-too_large",
            "records-save_and_load",
            "streams-large_pages",
        ):
            run_check(check, lambda store: NatsBackend(server.url, name=store))
    finally:
        server.stop()


def test_tls_with_and_without_a_certificate_that_is_known(tmp_path: Path):
    chain, key = certificate(tmp_path)
    server = NatsServer(tmp_path, tls={"cert_file": str(chain), "key_file": str(key)})
    try:
        server.start()
        url = f"tls://127.0.0.1:{server.port}"
        backend, ear = NatsBackend(f"{url}?tls_ca={chain}", name="shop"), Ear()
        backend.listen(ear)
        backend.announce(b"over TLS")
        ear.until(b"over TLS")
        backend.append("s", [bytes(1 << 20)])
        assert backend.read("s").items == (bytes(1 << 20),)
        backend.close()
        assert "Check the certificates" in refusal(url)
    finally:
        server.stop()


# Forks and closing


def connections(url: str, port: int) -> list[int]:
    """The clients of the server, as it numbers them."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/connz") as answer:
        return [each["cid"] for each in json.loads(answer.read())["connections"]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A server that tells of its connections: its URL, and the port for that."""
    port = free_port()
    server = NatsServer(tmp_path_factory.mktemp("watched"), http=f"127.0.0.1:{port}")
    try:
        server.start()
        yield server.url, port
    finally:
        server.stop()


def test_a_forked_child_has_a_connection_and_listeners_of_its_own(watched: tuple[str, int]):
    backend, ear, own = NatsBackend(watched[0], name="shop"), Ear(), Ear()
    backend.listen(ear)
    before = connections(*watched)
    child = os.fork()
    if child == 0:
        try:
            backend.listen(own)
            backend.announce(b"of the child")
            own.until(b"of the child")
            os._exit(0 if len(connections(*watched)) == len(before) + 1 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    backend.announce(b"after")
    assert ear.until(b"after") == [b"of the child", b"after"]
    assert LOST not in ear.heard
    assert connections(*watched) == before
    child = os.fork()
    if child == 0:
        threading.Event().wait(30)
        os._exit(0)
    try:
        backend.close()  # ends the connection, although the child had inherited it
        eventually(lambda: connections(*watched) == [])
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def consumers(url: str, backend: NatsBackend) -> int:
    return int(ask(url, f"STREAM.INFO.{stream_name(backend.name, 'announced')}")["state"]["consumer_count"])


def test_one_connection_and_one_consumer_and_none_after_closing(watched: tuple[str, int]):
    url, _ = watched
    before = set(threading.enumerate())
    backend, ear = NatsBackend(url, name="one"), Ear()
    assert connections(*watched) == []
    stops = [backend.listen(ear) for _ in range(3)]
    threads = [threading.Thread(target=backend.append, args=("s", [b"x"])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(connections(*watched)) == 1
    assert consumers(url, backend) == 1
    for stop in stops:
        stop()
    eventually(lambda: consumers(url, backend) == 0)
    for _ in range(3):
        backend.listen(ear)()
    backend.listen(ear)
    eventually(lambda: consumers(url, backend) == 1)
    backend.close()
    eventually(lambda: connections(*watched) == [])
    backend.announce(b"never heard")
    assert ear.heard == []
    backend.close()
    assert not [each for each in threading.enumerate() if each not in before and "restive" in each.name]
