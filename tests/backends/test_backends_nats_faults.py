"""NATS where it fails: nothing hangs, nothing is lost or doubled, nothing is missed in silence."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backends.backend_processes import PATIENCE, eventually
from engines.nats_server import NatsServer
from restive.backends.nats import NatsBackend
from restive.backends.port import LOST, Announce, Append, Save, Step
from restive.errors import BackendUnavailable, Conflict
from restive.testing import BACKEND_CHECKS, ENGINE_CHECKS, run_check, run_engine_check
from restive.testing.stores import Ear
from restive.testing.stream_checks import read_all
from scenarios.servers import free_port

PASSWORD = "hidden-7f3a"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of this test's own, which may be killed."""
    server = NatsServer(tmp_path / "nats", password=PASSWORD)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def opened(server: NatsServer) -> Iterator[Callable[[], NatsBackend]]:
    backends: list[NatsBackend] = []

    def make() -> NatsBackend:
        backends.append(NatsBackend(server.url, name="shop"))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def every_call(backend: NatsBackend) -> list[Callable[[], object]]:
    return [
        lambda: backend.announce(b"x"),
        lambda: backend.listen(Ear()),
        lambda: backend.append("s", [b"x"]),
        lambda: backend.read("s"),
        lambda: backend.drop("s"),
        lambda: backend.load("r"),
        lambda: backend.save("r", b"x", version=0),
        lambda: backend.delete("r"),
        lambda: backend.scan(""),
        lambda: backend.apply([Save("a", b""), Append("s", [b"x"]), Announce(b"x")]),
        backend.probe,
    ]


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except BackendUnavailable:
        return False
    return True


def cut(backend: NatsBackend) -> None:
    """End the backend's connection under it."""
    running = backend._loop._running
    assert running is not None
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(running.parts.connection.handle)) as own:
        own.shutdown(socket.SHUT_RDWR)


def connected(backend: NatsBackend) -> bool:
    running = backend._loop._running
    store = running and running.parts.connection._store
    return store is not None and not store.link.dead


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    engine = NatsServer(tmp_path_factory.mktemp("engine"), password=PASSWORD)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.mark.parametrize("check", ENGINE_CHECKS)
def test_nats_conforms_as_an_engine_that_is_harmed(check: str, engine: NatsServer):
    run_engine_check(check, engine)


# Nothing hangs


@pytest.mark.timeout(30)
def test_a_server_that_is_not_there(server: NatsServer, opened, caplog: pytest.LogCaptureFixture):
    server.kill()
    backend = opened()
    for call in every_call(backend):
        with pytest.raises(BackendUnavailable, match=rf"127\.0\.0\.1:{server.port}.*Is it running"):
            call()
    assert PASSWORD not in caplog.text
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def reset(backend: NatsBackend) -> None:
    """Reset the backend's connection while it is written to."""
    running = backend._loop._running
    assert running is not None
    link = running.parts.connection._store.link

    def fail() -> None:
        client = link._client
        client._pending.append(b"PING\r\n")
        client._pending_data_size = 6
        client._transport._io_reader.set_exception(ConnectionResetError(104, "Connection reset by peer"))

    running.loop.call_soon_threadsafe(fail)
    eventually(lambda: link.dead)


@pytest.mark.timeout(30)
def test_a_connection_that_is_reset_while_it_is_written_to(opened, caplog: pytest.LogCaptureFixture):
    """nats-py's reader then fails in its own cleaning up, and says nothing."""
    backend = opened()
    backend.probe()
    reset(backend)
    eventually(lambda: works(backend.probe))
    backend.close()
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.timeout(30)
def test_a_stopped_server_is_noticed_by_every_call_and_goes_on(server: NatsServer, opened):
    backend = opened()
    backend.probe()
    errors: list[str] = []

    def call(each: Callable[[], object]) -> None:
        try:
            each()
        except BackendUnavailable as error:
            errors.append(str(error))

    backend.append("kept", [b"0"])
    calls = every_call(backend)
    server.pause()
    threads = [threading.Thread(target=call, args=(each,), daemon=True) for each in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    server.resume()
    assert len(errors) == len(calls)
    assert PASSWORD not in str(errors)
    eventually(lambda: works(backend.probe))
    assert read_all(backend, "kept") == [b"0"]


def test_a_short_absence_is_waited_for(server: NatsServer, opened):
    backend = opened()
    end = backend.append("s", [b"0"])
    server.kill()
    eventually(lambda: not connected(backend))
    timer = threading.Timer(0.2, server.start)
    timer.start()
    try:
        assert backend.append("s", [b"1"], after=end)
        assert backend.load("r") is None
    finally:
        timer.join()


def test_one_line_when_it_goes_and_one_when_it_is_back(
    server: NatsServer, opened, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "restive.backends")
    backend, ear = opened(), Ear()
    backend.listen(ear)
    server.kill()
    for _ in range(3):
        assert not works(backend.probe)
    server.start()
    eventually(lambda: works(backend.probe))
    eventually(lambda: LOST in ear.heard)
    lines = [r.message for r in caplog.records if r.name == "restive.backends"]
    assert len([line for line in lines if "Trying again" in line]) == 1
    assert len([line for line in lines if "is back" in line]) == 1
    assert len(lines) == 2
    assert PASSWORD not in caplog.text


@pytest.mark.timeout(20)
def test_closing_does_not_wait_for_the_server(server: NatsServer, opened):
    for _ in range(3):
        backend = opened()
        backend.listen(Ear())
        server.pause()
        begun = threading.Event()
        closing = threading.Thread(target=lambda b=backend, e=begun: (b.close(), e.set()), daemon=True)
        closing.start()
        assert begun.wait(3)
        server.resume()


# Nobody gets another's reply, and nothing is done twice


def test_a_write_whose_answer_is_lost_is_not_repeated(server: NatsServer, opened):
    backend = opened()
    end = backend.append("s", [b"0"])
    server.pause()
    with pytest.raises(BackendUnavailable, match="outcome is unknown"):
        backend.append("s", [b"1"], after=end)
    with pytest.raises(BackendUnavailable):
        backend.append("s", [b"2"])
    server.resume()
    eventually(lambda: works(backend.probe))
    assert backend.read("s", end).items in ((), (b"1",))


def test_replies_go_to_their_own_callers_through_faults(server: NatsServer, opened):
    backend = opened()
    for n in range(8):
        backend.save(f"r{n}", b"%d" % n, version=0)
    over, wrong, right = threading.Event(), [], [0] * 8

    def load(n: int) -> None:
        while not over.is_set():
            try:
                found = backend.load(f"r{n}")
            except BackendUnavailable:
                continue
            right[n] += 1
            if found is None or found.value != b"%d" % n:
                wrong.append((n, found))

    threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        seen = list(right)
        eventually(lambda seen=seen: all(a > b for a, b in zip(right, seen, strict=True)))
        cut(backend)
    server.pause()
    time.sleep(2.0)  # longer than an answer may take: calls are given up while theirs are on their way
    server.resume()
    seen = list(right)
    eventually(lambda: all(a > b for a, b in zip(right, seen, strict=True)))
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []


def test_batches_are_whole_though_the_server_is_killed_in_their_middle(server: NatsServer, opened):
    backend = opened()
    acknowledged = [-1] * 4

    def write(writer: int) -> None:
        """Until the server is away."""
        for n in range(acknowledged[writer] + 1, 10_000):
            value = b"%d" % n
            steps: list[Step] = [Save(f"{writer}/{m}", value, None) for m in range(5)]
            try:
                backend.apply([*steps, Append(f"s{writer}", [value, bytes(600_000), value])])
            except BackendUnavailable:
                return
            acknowledged[writer] = n

    for _ in range(4):
        seen = sum(acknowledged)
        threads = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda seen=seen: sum(acknowledged) > seen + 8)
        server.kill()
        for thread in threads:
            thread.join(PATIENCE)
        server.start()
        eventually(lambda: works(backend.probe))
        for writer, last in enumerate(acknowledged):
            values = {int(record.value) for record in backend.scan(f"{writer}/")}
            assert values in ({last}, {last + 1}, set())
            numbers = [int(item) for item in read_all(backend, f"s{writer}") if len(item) < 600_000]
            assert numbers[::2] == numbers[1::2]
            assert [*dict.fromkeys(numbers)] == [*range(max(values, default=-1) + 1)]


# Announcements


def test_a_cut_connection_loses_no_announcement_in_silence(server: NatsServer, opened):
    backend, other, ear = opened(), opened(), Ear()
    backend.listen(ear)
    for n in range(50):
        other.announce(b"%d" % n)
        if n % 10 == 5:
            cut(backend)
            eventually(lambda: works(backend.probe))
    ear.until(b"49")
    no_silent_gap(ear)
    assert LOST in ear.heard


def test_pruned_announcements_are_lost(server: NatsServer, opened):
    backend, ear, gate = opened(), Ear(), threading.Event()
    backend.listen(lambda payload: (ear(payload), gate.wait(PATIENCE)))
    backend.announce(b"first")
    ear.until(b"first")
    for start in range(0, 12_000, 500):
        backend.apply([Announce(b"%d" % n) for n in range(start, start + 500)])
    gate.set()
    ear.until(b"11999")
    assert LOST in ear.heard
    numbers = [int(p) for p in ear.heard[ear.heard.index(LOST) + 1 :] if p is not None]
    assert numbers == list(range(numbers[0], 12_000))


def test_what_the_stream_drops_before_it_is_delivered_is_lost(server: NatsServer, opened):
    """A process that stands still while more is announced than the stream keeps."""
    backend, other, ear = opened(), opened(), Ear()
    backend.listen(ear)
    keep_only(10, backend)
    backend.announce(b"-1")
    ear.until(b"-1")
    gate = threading.Event()
    backend._loop._running.loop.call_soon_threadsafe(lambda: gate.wait(PATIENCE))
    for start in range(0, 3000, 100):
        other.apply([Announce(b"%-20000d" % n) for n in range(start, start + 100)])
    gate.set()
    eventually(lambda: works(lambda: backend.announce(b"3000")) and b"3000" in ear.heard)
    no_silent_gap(ear)
    assert LOST in ear.heard


def keep_only(most: int, backend: NatsBackend) -> None:
    """Have the server keep no more announcements than that."""

    async def change(parts: Any) -> None:
        store = await parts.connection.store()
        name = store.news_stream
        config = (await store.link.ask(f"STREAM.INFO.{name}"))["config"]
        await store.link.ask(f"STREAM.UPDATE.{name}", {**config, "max_msgs": most})

    backend._loop.call(change)


def no_silent_gap(ear: Ear) -> None:
    """Numbers follow each other, but behind LOST."""
    before: int | None = None
    for payload in ear.heard:
        assert payload is LOST or before is None or int(payload) in {before, before + 1}
        before = None if payload is LOST else int(payload)


# What the server has lost


def test_what_a_loss_of_power_took_is_never_mistaken_for_what_followed(
    server: NatsServer, opened, tmp_path: Path
):
    backend, ear = opened(), Ear()
    kept = backend.append("s", [b"0", b"1"])
    version = backend.save("r", b"kept", version=0)
    server.kill()
    shutil.copytree(server.data, tmp_path / "saved")
    server.start()
    eventually(lambda: works(backend.probe))
    backend.listen(ear)
    lost = [backend.append("s", [b"lost %d" % n]) for n in range(3)]
    newer = [backend.save("r", b"lost", version=version)]
    newer.append(backend.save("r", b"lost", version=newer[0]))
    server.kill()
    server.wipe()
    shutil.copytree(tmp_path / "saved", server.data)
    server.start()
    eventually(lambda: LOST in ear.heard)
    eventually(lambda: works(backend.probe))
    assert backend.read("s", kept).items == ()
    for n in range(4):
        for offset in lost:
            with pytest.raises(ValueError, match=r"lost|behind the end"):
                backend.read("s", offset)
            with pytest.raises(Conflict):
                backend.append("s", [b"x"], after=offset)
        for each in newer:
            with pytest.raises(Conflict):
                backend.save("r", b"x", version=each)
        backend.append("s", [b"new %d" % n])
        version = backend.save("r", b"new", version=version)
        assert version > newer[-1]
    assert backend.read("s", kept).items == tuple(b"new %d" % n for n in range(4))


# A cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Three servers with replicas of everything."""
    routes = [free_port() for _ in range(3)]
    servers = [
        NatsServer(
            tmp_path / f"n{n}",
            server_name=f"n{n}",
            cluster={
                "name": "c",
                "listen": f"127.0.0.1:{route}",
                "routes": [f"nats://127.0.0.1:{port}" for port in routes if port != route],
            },
        )
        for n, route in enumerate(routes)
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


def leader(backend: NatsBackend) -> str:
    """The server that leads the stream of an app."""

    async def ask(parts: Any) -> str:
        store = await parts.connection.store()
        return str((await store.link.ask("STREAM.INFO.restive-shop"))["cluster"].get("leader"))

    return backend._loop.call(ask)


@pytest.mark.timeout(90)
def test_replicas_outlive_the_leader_and_are_read_as_they_were_written(cluster: list[NatsServer]):
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in cluster)
    url = f"nats://{hosts}/?replicas=3"
    backends = [NatsBackend(url, name="shop") for _ in range(2)]
    eventually(lambda: works(backends[0].probe))
    version = backends[0].save("r", b"kept", version=0)
    for check in BACKEND_CHECKS:
        if check.endswith(
            ("in_order", "compare_and_set_at_once", "slow_readers", "heard_when_it_can_be_read")
        ):
            run_check(check, lambda store: NatsBackend(url, name=store))
    over, acknowledged = threading.Event(), []
    ear = Ear()
    backends[1].listen(ear)

    def append() -> None:
        n = 0
        while not over.is_set():
            item = b"%d" % n
            n += 1
            with contextlib.suppress(BackendUnavailable):
                backends[0].append("s", [item])
                acknowledged.append(item)

    thread = threading.Thread(target=append, daemon=True)
    thread.start()
    eventually(lambda: len(acknowledged) > 50)
    lead = leader(backends[1])
    killed = next(server for server in cluster if server.settings["server_name"] == lead)
    killed.kill()
    seen = len(acknowledged)
    eventually(lambda: len(acknowledged) > seen + 50)
    over.set()
    thread.join(PATIENCE)
    eventually(lambda: works(partial(backends[1].read, "s")))
    found = read_all(backends[1], "s")
    assert [item for item in found if item in set(acknowledged)] == acknowledged
    assert len(found) == len(set(found))
    record = backends[1].load("r")
    assert record is not None
    assert record.version == version
    eventually(lambda: works(lambda: backends[0].announce(b"after")) and b"after" in ear.heard)
    for backend in backends:
        backend.close()
