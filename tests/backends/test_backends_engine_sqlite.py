"""SQLite between processes that are killed, with a file that is wiped or locked; what the checks notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from backends import broken_backends
from backends.broken_backends import OfUrl
from engines.sqlite_file import SqliteFile
from restive.backends.port import LOST
from restive.testing import (
    ENGINE_CHECKS,
    BackendBroken,
    check_engine,
    engine_checks,
    processes,
    run_engine_check,
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(tmp_path)
    file.start()
    yield file
    file.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come is waited for no longer than a test may last."""
    monkeypatch.setattr(engine_checks, "PATIENCE", 3.0)
    monkeypatch.setattr(processes, "PATIENCE", 3.0)


@pytest.mark.parametrize("check", ENGINE_CHECKS)
def test_sqlite_stands_it(check: str, engine: SqliteFile):
    run_engine_check(check, engine)


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        ([b"0", b"1", b"2"], True),
        ([b"0", b"x", b"1", b"1", b"0", b"2"], True),
        ([LOST], True),
        ([b"0", LOST, b"2"], True),
        ([LOST, b"0", b"1", LOST], True),
        ([b"0", b"1", LOST, b"0", b"2"], True),
        ([b"1", b"2"], False),
        ([b"0", b"2"], False),
        ([b"0", b"2", LOST], False),
        ([b"0", b"2", b"1"], False),
        ([LOST, b"0", b"2"], False),
        ([b"0", b"1"], False),
        ([], False),
    ],
)
def test_a_gap_is_told_behind_it(heard: list[bytes | None], told: bool):
    with nullcontext() if told else pytest.raises(AssertionError, match="nor LOST"):
        engine_checks.expect_told(heard, [b"0", b"1", b"2"], "It")


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (["a:0", "b:0", "a:1", "a:3", "b:2"], ""),
        (["b:0", "a:0", "a:1", "b:1", "a:2", "a:3", "b:2"], ""),
        (["a:0", "b:0", "a:1", "b:2"], r"lost: \{3\}"),
        (["a:0", "b:0", "a:1", "a:3", "b:2", "b:2"], r"twice: \[2\]"),
        (["a:0", "b:0", "a:1", "a:2", "a:2", "a:3", "b:2"], r"twice: \[2\]"),
        (["a:0", "a:1", "a:3", "b:2", "b:0"], "out of order"),
        (["a:0", "b:0", "a:1", "a:3", "b:2", "c:0"], "nobody"),
    ],
)
def test_what_was_acknowledged_is_there_once_and_in_order(items: list[str], found: str):
    with pytest.raises(AssertionError, match=found) if found else nullcontext():
        engine_checks.expect_acknowledged(map(str.encode, items), {"a": [0, 1, 3], "b": [0, 2]})


def test_what_another_process_cannot_import_is_refused(engine: SqliteFile):
    with pytest.raises(ValueError, match="at the top of a module"):
        check_engine(engine, lambda url, *, name: OfUrl(url, name=name))


def test_one_call_gives_one_verdict(engine: SqliteFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ENGINE_CHECKS, "fails", fails)
    for name in list(ENGINE_CHECKS)[:-1]:
        if name not in {"records_across_a_restart", "wiped"}:
            monkeypatch.delitem(ENGINE_CHECKS, name)
    with pytest.raises(
        BackendBroken, match=r"(?s)1 of 3 checks failed.*fails: It fails\..*Expected so\."
    ) as caught:
        check_engine(engine)
    assert list(caught.value.failures) == ["fails"]
    monkeypatch.delitem(ENGINE_CHECKS, "fails")
    assert check_engine(engine) == ("records_across_a_restart", "wiped")


def fails(trial: engine_checks.Trial) -> None:
    """It fails."""
    trial.backend().load("r")
    raise AssertionError("Expected so.")


class Forgetful(SqliteFile):
    """Has lost its data after every restart."""

    def restart(self, *, wipe: bool = False) -> None:
        super().restart(wipe=True)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ("Repeating", "two_processes"),
        ("Losing", "two_processes"),
        ("HardOfHearing", "two_processes"),
        ("Late", "killed_writer"),
        ("Locking", "killed_writer"),
        ("Stuttering", "folds_across_restarts"),
        ("HardOfHearing", "announcements_across_restarts"),
        ("Silent", "wiped"),
        ("FromOne", "wiped"),
        ("AnyOffset", "wiped"),
        ("Pretending", "paused"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_broken_promise_is_noticed(broken: str, check: str, engine: SqliteFile):
    with pytest.raises(AssertionError) as caught:
        run_engine_check(check, engine, getattr(broken_backends, broken))
    assert "have not ended" not in str(caught.value)


@pytest.mark.parametrize("check", ["folds_across_restarts", "records_across_a_restart"])
@pytest.mark.usefixtures("impatient")
def test_an_engine_that_loses_its_data_is_noticed(check: str, tmp_path: Path):
    engine = Forgetful(tmp_path)
    engine.start()
    with pytest.raises((AssertionError, KeyError)):
        run_engine_check(check, engine, OfUrl)
