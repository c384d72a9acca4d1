"""Group commit: what several threads bring at once is one transaction, and nobody's fault is another's."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backend_processes import eventually

from restive.backends.port import Announce, Append, Save, Step
from restive.backends.sqlite_commits import GroupCommit
from restive.backends.sqlite_file import SqliteFile
from restive.backends.sqlite_steps import Result, do_all
from restive.errors import BackendUnavailable, Conflict


class CountingFile(SqliteFile):
    """Counts the write transactions."""

    transactions = 0

    def __init__(self, path: Path, *, patience: float) -> None:
        super().__init__(path, patience=patience)
        self.synced: list[bool] = []

    @contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        self.transactions += 1
        self.synced.append(synced)
        with super().writing(synced=synced) as db:
            yield db


class Commits:
    """A group commit that stops before a batch that saves ``stop``, until ``go`` is set."""

    def __init__(self, path: Path, patience: float = 10) -> None:
        self.file = CountingFile(path, patience=patience)
        self.group = GroupCommit(self.file, self.do)
        self.stopped, self.go = threading.Event(), threading.Event()
        self.hook: Callable[[], None] = lambda: None
        self.threads = ThreadPoolExecutor(16)

    def do(self, db: sqlite3.Connection, steps: Sequence[Step]) -> list[Result]:
        if any(isinstance(step, Save) and step.name == "stop" for step in steps):
            self.stopped.set()
            assert self.go.wait(10)
            self.hook()
        return do_all(db, "app", steps)

    def start(self, *steps: Step) -> Future[Any]:
        return self.threads.submit(self.group.apply, steps)

    def stop(self) -> Future[Any]:
        """Have a leader in the middle of its transaction."""
        leader = self.start(Save("stop", b"", None))
        assert self.stopped.wait(10)
        return leader

    def await_waiting(self, count: int) -> None:
        eventually(lambda: len(self.group._waiting) == count)

    def names(self) -> list[str]:
        with self.file.reading() as db:
            return [name for (name,) in db.execute("SELECT name FROM records ORDER BY name")]

    def close(self) -> None:
        self.go.set()
        self.threads.shutdown()
        self.file.close()


@pytest.fixture
def commits(tmp_path: Path) -> Iterator[Commits]:
    made = Commits(tmp_path / "it.db")
    yield made
    made.close()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Commits]:
    made = Commits(tmp_path / "it.db", patience=0.05)
    yield made
    made.close()


def test_what_waits_is_one_transaction(commits: Commits):
    leader = commits.stop()
    waiting = [commits.start(Save(f"r{n}", b"%d" % n), Append("s", [b"%d" % n])) for n in range(8)]
    commits.await_waiting(8)
    commits.go.set()
    results = [each.result(10) for each in waiting]
    assert leader.result(10)[0] < min(version for version, _ in results)
    assert commits.file.transactions == 2
    assert len({version for version, _ in results}) == len({end for _, end in results}) == 8
    assert commits.names() == [*(f"r{n}" for n in range(8)), "stop"]


def test_a_conflict_undoes_its_own_batch_only(commits: Commits):
    commits.stop()
    steps = [
        [Save("one", b"")],
        [Save("two", b""), Append("s", [b""]), Save("stop", b"")],
        [Save("three", b"")],
    ]
    waiting = []
    for count, each in enumerate(steps, 1):
        waiting.append(commits.start(*each))
        commits.await_waiting(count)
    commits.go.set()
    with pytest.raises(Conflict, match="'stop'"):
        waiting[1].result(10)
    assert waiting[0].result(10)
    assert waiting[2].result(10)
    assert commits.file.transactions == 3, "the second of them had to begin again"
    assert commits.names() == ["one", "stop", "three"]


def test_a_batch_that_does_not_fit_harms_no_other(commits: Commits):
    commits.group.apply([Save("first", b"")])
    with commits.file.writing() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 10}")
    commits.stop()
    waiting = [commits.start(Save("small", b""))]
    commits.await_waiting(1)
    waiting.append(commits.start(Save("large", bytes(1_000_000))))
    commits.await_waiting(2)
    waiting.append(commits.start(Save("stop", b"")))
    commits.await_waiting(3)
    commits.go.set()
    assert waiting[0].result(10)
    with pytest.raises(BackendUnavailable, match="full"):
        waiting[1].result(10)
    with pytest.raises(Conflict):
        waiting[2].result(10)
    assert commits.names() == ["first", "small", "stop"]


def test_a_conflict_with_a_batch_that_does_not_fit_is_none(commits: Commits):
    commits.group.apply([Save("first", b"")])
    with commits.file.writing() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 10}")
    commits.stop()
    waiting = []
    for count, steps in enumerate(
        [
            [Save("r", b""), Append("s", [b"1"])],
            [Save("r", b""), Save("large", bytes(1_000_000))],
            [Save("first", b"")],
        ],
        1,
    ):
        waiting.append(commits.start(*steps))
        commits.await_waiting(count)
    waiting.append(commits.start(Save("large", b"")))
    commits.await_waiting(4)
    commits.go.set()
    assert waiting[0].result(10)
    for refused in (waiting[1], waiting[2]):
        with pytest.raises(Conflict):
            refused.result(10)
    assert waiting[3].result(10)
    assert commits.names() == ["first", "large", "r", "stop"]


def test_where_the_file_is_locked_all_that_wait_are_told(hasty: Commits):
    hasty.group.apply([Save("first", b"")])
    other = sqlite3.connect(hasty.file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    calls = [hasty.start(Save(f"r{n}", b"")) for n in range(8)]
    errors = [call.exception(10) for call in calls]
    assert all(isinstance(error, BackendUnavailable) for error in errors)
    assert len(set(map(id, errors))) == 8
    other.execute("ROLLBACK")
    other.close()
    hasty.group.apply([Save("last", b"")])
    assert hasty.names() == ["first", "last"]


def test_who_waits_too_long_is_told_so_and_is_not_done_later(hasty: Commits):
    leader = hasty.stop()
    with pytest.raises(BackendUnavailable, match="busy"):
        hasty.group.apply([Save("late", b"")])
    hasty.go.set()
    leader.result(10)
    hasty.group.apply([Save("last", b"")])
    assert hasty.names() == ["last", "stop"]


def test_a_batch_that_another_has_begun_is_waited_for(commits: Commits):
    commits.file.patience = 1.0
    leader = commits.stop()
    first, commits.go, commits.stopped = commits.go, threading.Event(), threading.Event()
    names = ("one", "stop", "two")
    calls = [commits.start(Save(name, b"", None)) for name in names]
    commits.await_waiting(3)
    first.set()
    leader.result(10)
    assert commits.stopped.wait(10)
    with pytest.raises(BackendUnavailable, match="busy"):  # of one that came later, after its patience
        commits.group.apply([Save("late", b"")])
    assert not any(call.done() for call in calls)
    commits.go.set()
    assert all(call.result(10) for call in calls)
    assert commits.names() == sorted(names)


def test_announcements_go_along_and_alone_they_are_not_flushed(commits: Commits):
    commits.group.apply([Announce(b"1")], synced=False)
    commits.stop()
    waiting = [commits.threads.submit(commits.group.apply, [Announce(b"2")], synced=False)]
    waiting += [commits.start(Save("r", b"")), commits.start(Save("stop", b""))]
    commits.await_waiting(3)
    commits.go.set()
    assert waiting[0].result(10) == [None]
    assert waiting[1].result(10)
    with pytest.raises(Conflict):
        waiting[2].result(10)
    commits.group.apply([Announce(b"3")], synced=False)
    assert commits.file.synced == [False, True, True, True, False]
    with commits.file.reading() as db:
        assert db.execute("SELECT payload FROM announcements ORDER BY seq").fetchall() == [
            (b"1",),
            (b"2",),
            (b"3",),
        ]


class Stop(BaseException):
    """As KeyboardInterrupt, which pytest takes for its own."""


def test_a_leader_that_is_interrupted_does_nothing_and_tells_the_others(commits: Commits):
    commits.group.apply([Save("first", b"")])

    def interrupt() -> None:
        raise Stop

    leader = commits.stop()
    commits.hook = interrupt
    waiting = commits.start(Save("other", b""))
    commits.await_waiting(1)
    commits.go.set()
    with pytest.raises(Stop):
        leader.result(10)
    assert waiting.result(10), "it was in a later transaction"
    shared = [commits.start(Save("stop", b"", None)) for _ in range(3)]
    raised = [call.exception(10) for call in shared]
    assert any(isinstance(error, Stop) for error in raised)
    assert all(isinstance(error, Stop | BackendUnavailable) for error in raised)
    commits.hook = lambda: None
    commits.group.apply([Save("last", b"")])
    assert commits.names() == ["first", "last", "other"]


def test_a_thread_that_is_interrupted_while_it_waits_takes_its_batch_away(commits: Commits):
    def handler(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        leader = commits.stop()

        def interrupt() -> None:
            commits.await_waiting(1)
            os.kill(os.getpid(), signal.SIGUSR1)

        interrupting = commits.threads.submit(interrupt)
        with pytest.raises(Stop):
            commits.group.apply([Save("mine", b"")])
        interrupting.result(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    commits.go.set()
    leader.result(10)
    commits.group.apply([Save("last", b"")])
    assert commits.names() == ["last", "stop"]


def test_many_threads_that_write_without_a_pause_all_get_on(commits: Commits):
    def write(number: int) -> list[Any]:
        return [commits.group.apply([Save("r", b"", None), Append("s", [b"%d" % number])]) for _ in range(50)]

    results = [each.result(30) for each in [commits.threads.submit(write, n) for n in range(16)]]
    versions = [version for result in results for version, _ in result]
    assert len(set(versions)) == 800
    assert all(sorted(mine) == mine for mine in ([version for version, _ in result] for result in results))
    assert commits.file.transactions <= 800
