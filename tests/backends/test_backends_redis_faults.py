"""Redis where it fails: nothing hangs, nothing is lost or doubled, nothing is missed in silence."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from backends.backend_processes import PATIENCE, eventually, start
from engines.redis_server import RedisServer
from restive.backends.port import LOST, Announce, Append, Save
from restive.backends.redis import RedisBackend
from restive.backends.redis.announcements import BLOCK
from restive.errors import BackendUnavailable, Conflict
from restive.testing import ENGINE_CHECKS, run_engine_check
from restive.testing.stores import Ear

PASSWORD = "hidden-7f3a"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, which may be killed."""
    server = RedisServer(tmp_path / "redis", password=PASSWORD)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def opened(server: RedisServer) -> Iterator[Callable[..., RedisBackend]]:
    backends: list[RedisBackend] = []

    def make(options: str = "?timeout=0.6") -> RedisBackend:
        backends.append(RedisBackend(server.url + options, name="shop"))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def raw(server: RedisServer) -> redis.Redis:
    return redis.Redis(port=server.port, password=PASSWORD)


def items(backend: RedisBackend, stream: str) -> list[bytes]:
    found: list[bytes] = []
    after = ""
    while True:
        page = backend.read(stream, after)
        found += page.items
        after = page.next
        if page.up_to_date:
            return found


def every_call(backend: RedisBackend) -> list[Callable[[], object]]:
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
        backend.probe,
    ]


def kill_connections(server: RedisServer) -> None:
    """All but the one that asks for it."""
    raw(server).client_kill_filter(_type="normal", skipme=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    engine = RedisServer(tmp_path_factory.mktemp("engine"), password=PASSWORD)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.mark.parametrize("check", ENGINE_CHECKS)
def test_redis_conforms_as_an_engine_that_is_harmed(check: str, engine: RedisServer):
    run_engine_check(check, engine)


# Nothing hangs


@pytest.mark.timeout(20)  # two seconds for each call
def test_a_server_that_is_not_there(server: RedisServer, opened, caplog: pytest.LogCaptureFixture):
    server.kill()
    backend = opened()
    for call in every_call(backend):
        with pytest.raises(BackendUnavailable, match=rf"127\.0\.0\.1:{server.port}.*Does it run") as caught:
            call()
        assert PASSWORD not in str(caught.value)
    assert PASSWORD not in caplog.text
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


@pytest.mark.timeout(20)
def test_a_stopped_server_is_noticed_by_every_call_and_goes_on(server: RedisServer, opened):
    backend = opened()
    backend.append("s", [b"0"])
    server.pause()
    errors: list[BackendUnavailable] = []

    def call() -> None:
        for each in (backend.probe, lambda: backend.append("s", [b"lost"]), lambda: backend.read("s")):
            try:
                each()
            except BackendUnavailable as error:
                errors.append(error)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    server.resume()
    assert len(errors) == 12
    assert PASSWORD not in str(errors)
    eventually(lambda: works(backend.probe))
    assert items(backend, "s")[0] == b"0"


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except BackendUnavailable:
        return False
    return True


def test_a_short_absence_is_waited_for(server: RedisServer, opened):
    backend = opened("?timeout=4")
    end = backend.append("s", [b"0"])
    server.kill()
    timer = threading.Timer(0.2, server.start)
    timer.start()
    try:
        assert backend.append("s", [b"1"], after=end)
        assert backend.load("r") is None
    finally:
        timer.join()


def test_one_line_when_it_goes_and_one_when_it_is_back(
    server: RedisServer, opened, caplog: pytest.LogCaptureFixture
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
    assert len([line for line in lines if "not reachable" in line]) == 1
    assert len([line for line in lines if "answers again" in line]) == 1
    assert PASSWORD not in caplog.text


# Nobody gets another's reply, and nothing is done twice


def test_a_write_whose_answer_is_lost_is_not_repeated(server: RedisServer, opened):
    backend = opened()
    end = backend.append("s", [b"0"])
    server.pause()
    with pytest.raises(BackendUnavailable, match="not known"):
        backend.append("s", [b"1"], after=end)
    server.resume()
    eventually(lambda: works(backend.probe))
    assert items(backend, "s") in ([b"0"], [b"0", b"1"])
    assert backend.read("s", end).items in ((), (b"1",))


def test_replies_go_to_their_own_callers_through_faults(server: RedisServer, opened):
    backend = opened()
    for n in range(8):
        backend.save(f"r{n}", b"%d" % n, version=0)
    over, wrong = threading.Event(), []

    def load(n: int) -> None:
        while not over.is_set():
            try:
                found = backend.load(f"r{n}")
            except BackendUnavailable:
                continue
            if found is None or found.value != b"%d" % n:
                wrong.append((n, found))

    threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        kill_connections(server)
    server.pause()
    time.sleep(1.0)  # longer than the timeout: calls are given up while their answers are on their way
    server.resume()
    kill_connections(server)
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []


def test_appends_through_restarts_are_there_once_and_in_order(server: RedisServer, opened):
    backend = opened("?timeout=4")
    over = threading.Event()
    acknowledged: dict[int, list[bytes]] = {n: [] for n in range(4)}

    def append(writer: int) -> None:
        n = 0
        while not over.is_set():
            item = b"%d:%d" % (writer, n)
            n += 1
            with contextlib.suppress(BackendUnavailable):
                backend.append("s", [item])
                acknowledged[writer].append(item)

    threads = [threading.Thread(target=append, args=(n,), daemon=True) for n in acknowledged]
    for thread in threads:
        thread.start()
    for _ in range(3):
        seen = len(acknowledged[0])
        eventually(lambda seen=seen: len(acknowledged[0]) > seen + 20)
        server.restart()
    over.set()
    for thread in threads:
        thread.join(PATIENCE)
    found = items(backend, "s")
    assert len(found) == len(set(found))
    for writer, sent in acknowledged.items():
        own = [item for item in found if item.startswith(b"%d:" % writer)]
        assert [item for item in own if item in set(sent)] == sent
        assert own == sorted(own, key=lambda item: int(item[2:]))


def test_two_processes_append_and_one_is_killed(server: RedisServer, opened, tmp_path: Path):
    script = """
        from restive.backends.redis import RedisBackend
        backend = RedisBackend(sys.argv[2], name="shop")
        n = 0
        while True:
            backend.append("s", [sys.argv[3].encode() + b":%d" % n])
            say(n)
            n += 1
        """
    processes = [start(script, tmp_path, server.url, name) for name in "ab"]
    try:
        said = [[process.stdout.readline() for _ in range(200)] for process in processes if process.stdout]
        processes[0].kill()
        said[0] += processes[0].communicate()[0].splitlines()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    found = items(opened(), "s")
    for name, lines in zip((b"a:", b"b:"), said, strict=True):
        own = [item for item in found if item.startswith(name)]
        assert own == [name + b"%d" % n for n in range(len(own))]
        assert len(own) >= len([line for line in lines if line.strip()])


# Announcements


def test_a_killed_connection_loses_no_announcement(server: RedisServer, opened):
    backend, other, ear = opened(), opened(), Ear()
    backend.listen(ear)
    for n in range(50):
        other.announce(b"%d" % n)
        if n % 10 == 5:
            raw(server).client_kill_filter(_type="normal", skipme=True)
            eventually(lambda: works(other.probe))
    heard = ear.until(b"49")
    assert heard == [b"%d" % n for n in range(50)]


def test_what_was_announced_while_nobody_could_listen_is_lost_or_heard(server: RedisServer, opened):
    backend, ear = opened(), Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    server.restart()
    eventually(lambda: LOST in ear.heard)
    eventually(lambda: works(backend.probe))
    backend.announce(b"after")
    assert ear.until(b"after") == [b"before", b"after"]


def test_a_stopped_server_says_lost_when_it_is_back(server: RedisServer, opened):
    backend, ear = opened(), Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    server.pause()
    time.sleep(BLOCK + 1.0)
    server.resume()
    eventually(lambda: LOST in ear.heard)
    eventually(lambda: works(lambda: backend.announce(b"after")))
    ear.until(b"after")


@pytest.mark.parametrize("wipe", ["restart", "flush", "flush and announce"])
def test_a_wiped_server_is_noticed(server: RedisServer, opened, wipe: str):
    backend, ear = opened(), Ear()
    end = backend.append("s", [b"0", b"1"])
    version = backend.save("r", b"0", version=0)
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    if wipe == "restart":
        server.restart(wipe=True)
    else:
        raw(server).flushall()
    if wipe == "flush and announce":
        opened().announce(b"after")
    eventually(lambda: LOST in ear.heard)
    eventually(lambda: works(backend.probe))
    with pytest.raises(KeyError):
        backend.read("s", end)
    new = backend.append("s", [b"new"] * 5)
    with pytest.raises(ValueError, match="wiped"):
        backend.read("s", end)
    with pytest.raises(Conflict):
        backend.append("s", [b"x"], after=end)
    assert backend.read("s", new).items == ()
    assert backend.save("r", b"new", version=0) > version
    with pytest.raises(Conflict):
        backend.save("r", b"x", version=version)
    backend.announce(b"heard")
    ear.until(b"heard")


def test_pruned_announcements_are_lost(server: RedisServer, opened):
    backend, ear, gate = opened(), Ear(), threading.Event()
    backend.listen(lambda payload: (ear(payload), gate.wait(PATIENCE)))
    backend.announce(b"first")
    ear.until(b"first")
    for start_ in range(0, 12_000, 500):
        backend.apply([Announce(b"%d" % n) for n in range(start_, start_ + 500)])
    assert raw(server).xlen("{restive:shop}:announcements") < 10_200
    gate.set()
    ear.until(b"11999")
    assert LOST in ear.heard
    numbers = [int(p) for p in ear.heard[ear.heard.index(LOST) + 1 :] if p is not None]
    assert numbers == list(range(numbers[0], 12_000))


def test_large_announcements_are_pruned_by_their_bytes(server: RedisServer, opened):
    backend = opened()
    for _ in range(400):
        backend.announce(bytes(512 * 1024))
    assert raw(server).xlen("{restive:shop}:announcements") < 300


# A failover that has lost something


def rolled_back(server: RedisServer, change: Callable[[], object]) -> None:
    """Do ``change``, and then let the server be as it was before."""
    client = raw(server)
    dumped = {key: client.dump(key) for key in client.keys("*")}
    change()
    client.flushall()
    for key, value in dumped.items():
        client.restore(key, 0, value)


def test_what_a_failover_lost_is_never_mistaken_for_what_followed(server: RedisServer, opened):
    backend, ear = opened(), Ear()
    kept = backend.append("s", [b"0", b"1"])
    backend.save("r", b"kept", version=0)
    backend.listen(ear)
    backend.announce(b"kept")
    ear.until(b"kept")
    lost: list[str] = []
    versions: list[int] = []

    def change() -> None:
        lost.append(backend.append("s", [b"lost 2", b"lost 3"]))
        found = backend.load("r")
        assert found is not None
        versions.append(backend.save("r", b"lost", version=found.version))
        backend.announce(b"lost")
        ear.until(b"lost")

    rolled_back(server, change)
    with pytest.raises(ValueError, match="behind the end"):
        backend.read("s", lost[0])
    with pytest.raises(Conflict):
        backend.append("s", [b"x"], after=lost[0])
    assert backend.read("s", kept).items == ()
    for more in ([b"2", b"3"], [b"4", b"5"]):
        backend.append("s", more)
        with pytest.raises(ValueError, match="earlier state"):
            backend.read("s", lost[0])
        with pytest.raises(Conflict):
            backend.append("s", [b"x"], after=lost[0])
    assert backend.read("s", kept).items == (b"2", b"3", b"4", b"5")
    current = backend.load("r")
    assert current is not None
    assert backend.save("r", b"new", version=current.version) > versions[0]
    with pytest.raises(Conflict):
        backend.save("r", b"x", version=versions[0])
    opened().announce(b"after")
    ear.until(b"after")
    assert LOST in ear.heard[ear.heard.index(b"lost") :]


def test_numbers_grow_although_the_clock_was_set_back(server: RedisServer, opened):
    backend, ear = opened(), Ear()
    future = 9_000_000_000_000_000  # microseconds: the year 2255
    raw(server).hset("{restive:shop}:store", "clock", future)
    versions = [backend.apply([Save("r", b"", None)])[0] for _ in range(3)]
    assert versions == sorted(set(versions), key=int)
    assert int(str(versions[0])[:16]) == future + 1
    backend.listen(ear)
    backend.announce(b"1")
    backend.announce(b"2")
    assert ear.until(b"2") == [b"1", b"2"]
    assert LOST not in ear.heard


# Half of a batch is never there


def test_a_batch_is_done_as_a_whole_or_not(server: RedisServer, opened):
    backend = opened()
    backend.save("there", b"", version=0)
    ear = Ear()
    backend.listen(ear)
    with pytest.raises(Conflict, match="'there'"):
        backend.apply(
            [Save("a", b"", None), Append("s", [b"0"]), Announce(b"never"), Save("there", b"", version=0)]
        )
    assert backend.load("a") is None
    with pytest.raises(KeyError):
        backend.read("s")
    backend.announce(b"the end")
    assert ear.until(b"the end") == [b"the end"]


def test_a_full_server_refuses_a_batch_as_a_whole(server: RedisServer, opened):
    backend = opened()
    backend.append("s", [b"0"])
    raw(server).config_set("maxmemory", 1)
    with pytest.raises(BackendUnavailable, match=r"refused: .*maxmemory"):
        backend.apply([Append("s", [b"1"]), Save("r", b"", None)])
    raw(server).config_set("maxmemory", 0)
    assert items(backend, "s") == [b"0"]
    assert backend.load("r") is None


def test_scripts_that_the_server_forgot_are_sent_again(server: RedisServer, opened):
    backend = opened()
    for n in range(3):
        raw(server).script_flush()
        backend.append("s", [b"%d" % n])
        raw(server).script_flush()
        assert items(backend, "s") == [b"%d" % m for m in range(n + 1)]
