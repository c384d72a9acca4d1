"""SQLite between real processes: what is acknowledged survives, what is announced is heard."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from backends.backend_processes import PATIENCE, eventually, run, start
from restive.backends.port import LOST, Announce, Delete, Drop, Record, Save, Trimmed
from restive.backends.sqlite import SqliteBackend, missed
from restive.backends.sqlite_steps import KEPT, PRUNE_EVERY
from restive.errors import Conflict
from restive.testing.stores import Ear
from restive.testing.stream_checks import read_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restive.db"


@pytest.fixture
def backend(path: Path):
    backend = SqliteBackend(path, name="app")
    yield backend
    backend.close()


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()


def listening() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "restive-listening"]


def test_constructing_opens_nothing(path: Path):
    backend = SqliteBackend(path, name="app")
    assert list(path.parent.iterdir()) == []
    backend.close()
    assert list(path.parent.iterdir()) == []


def test_the_file_and_its_log_are_the_owners_only(backend: SqliteBackend, path: Path):
    backend.save("r", b"secret", version=0)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes["restive.db"] == 0o600
    assert set(modes.values()) == {0o600}


def test_a_save_is_flushed_and_an_announcement_only_ordered(backend: SqliteBackend):
    for synced, level in ((True, 2), (False, 1), (True, 2)):
        with backend._file.writing(synced=synced) as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (level,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_what_may_be_lost_is_not_flushed(backend: SqliteBackend):
    for call, flushed in (
        (lambda: backend.save("r", b"", version=0), True),
        (lambda: backend.announce(b""), False),
        (lambda: backend.append("s", [b""]), True),
        (lambda: backend.apply([Delete("r")], durable=False), False),
        (lambda: backend.apply([Drop("s")]), True),
    ):
        call()
        assert backend._file._writer.synced is flushed


def as_version_1(path: Path) -> None:
    """The file as Restive made it before streams could drop their oldest items."""
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE streams DROP COLUMN start")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


@pytest.mark.parametrize("call", ["read", "append"])
def test_a_file_of_an_older_restive_is_made_into_one_of_now(backend: SqliteBackend, path: Path, call: str):
    ends = [backend.append("s", [b"%d" % n]) for n in range(3)]
    version = backend.save("r", b"old", version=0)
    backend.close()
    as_version_1(path)
    if call == "append":
        ends.append(backend.append("s", [b"3"] * 100, after=ends[-1], keep=1))
        with pytest.raises(Trimmed):
            backend.read("s", ends[0])
    assert backend.read("s", ends[-1]).up_to_date
    assert backend.load("r") == Record("r", b"old", version)
    assert backend.read("s").items[:1] == ((b"0",) if call == "read" else (b"3",))


def test_processes_that_meet_an_older_file_at_once_agree(backend: SqliteBackend, path: Path):
    backend.append("s", [b"old"])
    backend.close()
    as_version_1(path)
    script = """
        b = SqliteBackend(path, name="app")
        say("ready")
        sys.stdin.readline()
        b.append("s", [b"new"], keep=10)
        """
    processes = [start(script, path) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=PATIENCE)
        assert process.returncode == 0
    assert read_all(backend, "s") == [b"old", b"new", b"new", b"new"]


def test_what_a_batch_announces_is_heard_at_once_in_its_own_process(path: Path):
    backend, ear = SqliteBackend(path, name="app", interval=3600), Ear()
    backend.listen(ear)
    backend.apply([Save("r", b"", None), Announce(b"heard")])
    assert ear.until(b"heard") == [b"heard"]
    backend.close()


def test_what_is_trimmed_leaves_the_file(backend: SqliteBackend):
    for _ in range(100):
        backend.append("s", [bytes(1000)] * 10, keep=20)
    with backend._file.reading() as db:
        (count,) = db.execute("SELECT count(*) FROM items").fetchone()
    assert 20 <= count == len(read_all(backend, "s")) <= 22


def test_apps_that_share_a_file_do_not_meet(backend: SqliteBackend, path: Path):
    other = SqliteBackend(path, name="other")
    ear = Ear()
    other.listen(ear)
    backend.announce(b"for app")
    backend.save("r", b"of app", version=0)
    backend.append("s", [b"of app"])
    other.announce(b"for other")
    assert ear.until(b"for other") == [b"for other"]
    assert LOST not in ear.heard
    assert other.load("r") is None
    assert other.scan("") == []
    with pytest.raises(KeyError):
        other.read("s")
    other.drop("s")
    other.delete("r")
    assert read_all(backend, "s") == [b"of app"]
    assert backend.load("r") is not None
    other.close()


def test_another_process_is_heard_and_read(backend: SqliteBackend, path: Path):
    ear = Ear()
    backend.listen(ear)
    run(
        """
        b = SqliteBackend(path, name="app")
        b.append("s", [b"item"])
        b.save("r", b"value", version=0)
        for n in range(20):
            b.announce(b"%d" % n)
        """,
        path,
    )
    assert ear.until(b"19") == [b"%d" % n for n in range(20)]
    assert LOST not in ear.heard
    assert read_all(backend, "s") == [b"item"]
    found = backend.load("r")
    assert found is not None
    assert found.value == b"value"


def test_what_was_acknowledged_survives_kill_9(backend: SqliteBackend, path: Path):
    process = start(
        """
        b = SqliteBackend(path, name="app")
        for n in range(10**9):
            say(b.append("s", [b"%d:a" % n, b"%d:b" % n]), b.save(f"r{n}", b"%d" % n, version=0))
        """,
        path,
    )
    acknowledged = [process.stdout.readline().split() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL
    items = read_all(backend, "s")
    appends = len(items) // 2
    assert items == [b"%d:%s" % (n, half) for n in range(appends) for half in (b"a", b"b")]
    assert appends >= 100
    assert len(read_all(backend, "s", acknowledged[99][0])) == len(items) - 200
    for n, (_, version) in enumerate(acknowledged):
        found = backend.load(f"r{n}")
        assert found is not None
        assert found.version == int(version)
    backend.append("s", [b"on"])
    assert read_all(backend, "s") == [*items, b"on"]
    assert integrity(path) == "ok"


def test_a_batch_is_whole_after_kill_9(backend: SqliteBackend, path: Path):
    process = start(
        """
        b = SqliteBackend(path, name="app")
        for n in range(10**9):
            b.apply([Save(f"a{n}", b""), Append("s", [b"%d" % n]), Save(f"b{n}", b"")])
            say(n)
        """,
        path,
    )
    for _ in range(100):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    batches = len(read_all(backend, "s"))
    assert batches >= 100
    for prefix in "ab":
        names = {found.name for found in backend.scan(prefix, limit=batches + 2)}
        assert names == {f"{prefix}{n}" for n in range(batches)}


def test_a_killed_writer_leaves_no_lock_and_no_half_append(backend: SqliteBackend, path: Path):
    backend.append("s", [b"before"])
    process = start(
        """
        b = SqliteBackend(path, name="app")
        with b._file.writing() as db:
            db.execute("INSERT INTO items SELECT id, 1, 'half' FROM streams")
            say("in the middle")
            signal.pause()
        """,
        path,
    )
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    backend.append("s", [b"after"])
    assert read_all(backend, "s") == [b"before", b"after"]


def test_processes_that_make_the_file_at_once_agree(path: Path):
    script = """
        from restive.errors import Conflict
        b = SqliteBackend(path, name="app")
        say("ready")
        sys.stdin.readline()
        for n in range(20):
            while True:
                found = b.load("counter")
                try:
                    value = b"%d" % (int(found.value) + 1 if found else 1)
                    b.save("counter", value, version=found.version if found else 0)
                    break
                except Conflict:
                    continue
        """
    processes = [start(script, path) for _ in range(6)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(PATIENCE) for process in processes] == [0] * 6
    found = SqliteBackend(path, name="app").load("counter")
    assert found is not None
    assert found.value == b"120"


def test_a_process_that_writes_without_a_pause_starves_nobody(backend: SqliteBackend, path: Path):
    process = start(
        """
        b = SqliteBackend(path, name="app")
        for n in range(10**9):
            b.append("hot", [b"x"])
            if n == 10:
                say("hot")
        """,
        path,
    )
    try:
        assert process.stdout.readline() == "hot\n"
        for _ in range(20):
            backend.append("s", [b"x"])
    finally:
        process.kill()
        process.wait(PATIENCE)
    assert len(read_all(backend, "s")) == 20


def test_the_thread_lives_as_long_as_somebody_listens(backend: SqliteBackend):
    backend.announce(b"alone")
    assert listening() == []
    stops = [backend.listen(Ear()) for _ in range(3)]
    assert len(listening()) == 1
    assert listening()[0].daemon
    for stop in stops:
        stop()
    eventually(lambda: listening() == [])
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"again")
    assert ear.until(b"again") == [b"again"]
    backend.close()
    assert listening() == []


def test_a_process_ends_while_it_listens(path: Path):
    script = """
        b = SqliteBackend(path, name="app")
        b.listen(lambda payload: say("heard", payload.decode()))
        b.announce(b"own")
        heard = threading.Event()
        b.listen(lambda payload: heard.set())
        b.announce(b"last")
        heard.wait(10)
        """
    assert run(script, path)[0] == "heard own"


def test_a_listener_that_was_pruned_past_gets_lost(backend: SqliteBackend, path: Path):
    slow = SqliteBackend(path, name="app", interval=3600)
    ear = Ear()
    slow.listen(ear)
    for n in range(KEPT + 2 * PRUNE_EVERY):
        backend.announce(b"%d" % n)
    assert ear.heard == []
    slow.announce(b"wakes its own thread")
    eventually(lambda: LOST in ear.heard)
    with backend._file.reading() as db:
        (kept,) = db.execute("SELECT count(*) FROM announcements").fetchone()
    assert KEPT <= kept < KEPT + PRUNE_EVERY + 2
    slow.announce(b"and on")
    assert ear.until(b"and on") == [b"and on"]
    slow.close()


def test_more_than_one_batch_is_heard_whole(backend: SqliteBackend, path: Path):
    slow = SqliteBackend(path, name="app", interval=0.2)
    ear = Ear()
    slow.listen(ear)
    sent = [b"%d" % n for n in range(2500)]
    for payload in sent:
        backend.announce(payload)
    assert ear.until(sent[-1]) == sent
    assert LOST not in ear.heard
    slow.close()


@pytest.mark.parametrize(
    ("position", "end", "numbers", "expected"),
    [
        (5, 5, [], False),
        (5, 7, [6, 7], False),
        (5, 9, [6, 7], False),
        (5, 7, [7], True),
        (5, 7, [], True),
        (5, 4, [], True),
        (5, 3, [6], True),
    ],
)
def test_a_gap_in_the_numbers_is_a_loss(position: int, end: int, numbers: list[int], expected: bool):
    assert missed(position, end, [(n, b"") for n in numbers]) is expected


def test_a_fork_inherits_nothing(path: Path):
    script = """
        b = SqliteBackend(path, name="app")
        b.append("s", [b"parent"])
        def ear(payload):
            say(os.getpid() == parent, payload.decode())
            heard.set()
        parent, heard = os.getpid(), threading.Event()
        b.listen(ear)
        pid = os.fork()
        if pid == 0:
            assert len(b._listening) == 0
            b.append("s", [b"child"])
            mine = threading.Event()
            b.listen(lambda payload: mine.set())
            b.announce(b"from the child")
            os._exit(0 if mine.wait(10) else 1)
        b.append("s", [b"parent"])
        assert os.waitpid(pid, 0)[1] == 0
        assert heard.wait(10)
        assert sorted(b.read("s").items) == [b"child", b"parent", b"parent"]
        b.close()
        """
    assert run(script, path) == ["True from the child"]


def test_forks_in_the_middle_of_writes_harm_nothing(path: Path):
    script = """
        b = SqliteBackend(path, name="app")
        over = threading.Event()
        done = []
        def write():
            while not over.is_set():
                done.append(b.append("s", [b"parent"]))
        threads = [threading.Thread(target=write) for _ in range(2)]
        for t in threads: t.start()
        for n in range(4):
            pid = os.fork()
            if pid == 0:
                for _ in range(5):
                    b.append("s", [b"child"])
                b.close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        over.set()
        for t in threads: t.join()
        items, after = [], ""
        while True:
            page = b.read("s", after)
            items += page.items
            after = page.next
            if page.up_to_date:
                break
        assert items.count(b"child") == 20, items.count(b"child")
        assert items.count(b"parent") == len(done)
        """
    run(script, path)
    assert integrity(path) == "ok"


def test_versions_of_a_wiped_store_fit_nothing(backend: SqliteBackend, path: Path):
    old = [backend.save("r", b"0", version=0)]
    old.append(backend.save("r", b"1", version=old[0]))
    for file in path.parent.iterdir():
        file.unlink()
    new = backend.save("r", b"new", version=0)
    assert new > max(old)
    for version in old:
        with pytest.raises(Conflict):
            backend.save("r", b"x", version=version)


def wipe(path: Path) -> None:
    for file in list(path.parent.iterdir()):
        file.unlink()


def replace(path: Path) -> None:
    """Another store, put in place of the file as a restored backup would be, without the old log."""
    other = path.parent / "other.db"
    store = SqliteBackend(other, name="app")
    store.append("s", [b"restored"] * 3)
    store.close()
    for log in path.parent.glob("restive.db-*"):
        log.unlink()
    os.replace(other, path)


@pytest.mark.parametrize("how", [wipe, replace])
def test_an_offset_of_a_wiped_store_is_refused(backend: SqliteBackend, path: Path, how):
    offsets = [backend.append("s", [b"old"]) for _ in range(3)]
    assert read_all(backend, "s") == [b"old"] * 3
    how(path)
    if how is wipe:
        with pytest.raises(KeyError):
            backend.read("s", offsets[0])
    for _ in range(5):
        backend.append("s", [b"new"])
    for offset in offsets:
        with pytest.raises(ValueError, match="wiped"):
            backend.read("s", offset)
    assert b"old" not in read_all(backend, "s")


@pytest.mark.parametrize("how", [wipe, replace])
def test_a_wiped_store_is_lost_and_then_followed(backend: SqliteBackend, path: Path, how):
    ear = Ear()
    backend.listen(ear)
    backend.announce(b"before")
    ear.until(b"before")
    how(path)
    eventually(lambda: LOST in ear.heard)
    run('SqliteBackend(path, name="app").announce(b"after")', path)
    assert ear.until(b"after") == [b"before", b"after"]
