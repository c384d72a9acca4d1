"""Functions in worker processes: what they return, report, publish and log, and how they end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import process_functions as functions
import pytest
from process_calls import Calls, eventually

from restive.backends.sqlite import SqliteBackend
from restive.errors import Canceled, Interrupted, TimedOut
from restive.operations.record import INTERRUPTED, TIMED_OUT


@pytest.fixture(scope="module", params=["processes", "loky"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    home = tmp_path_factory.mktemp("home")
    backend = SqliteBackend(home / "it.db")
    made = Calls(backend, home, request.param)
    yield made
    made.engine.close()
    backend.close()


def test_function_runs_in_another_process(calls: Calls) -> None:
    found = calls.result(functions.who)
    assert found["pid"] != os.getpid()
    assert found["attempt"] == 1
    assert Path(found["folder"]).is_dir()
    assert calls.result(functions.double, number=4) == 8


def test_coroutine_function(calls: Calls) -> None:
    assert calls.result(functions.adouble, number=5) == 10


def test_exception_is_the_operations(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    started = calls.start(functions.raising)
    outcome = started.end()
    assert (outcome.status, outcome.retry) == ("failed", True)
    assert outcome.error is not None
    assert outcome.error["exception"] == "LookupError"
    assert started.run._meter.progress.completed == 3
    assert "LookupError: nothing here" in caplog.text


def test_problem_is_kept_with_its_members(calls: Calls) -> None:
    outcome = calls.call(functions.refusing)
    assert outcome.error == {"status": 409, "title": "No", "detail": "Not today.", "hint": 7}
    assert not outcome.retry


def test_result_that_is_no_json(calls: Calls) -> None:
    outcome = calls.call(functions.unstorable)
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error["title"] == "The result cannot be stored"


def test_sys_exit_ends_the_operation_only(calls: Calls) -> None:
    before = calls.result(functions.who)["pid"]
    outcome = calls.call(functions.leaving)
    assert outcome.error is not None
    assert outcome.error["exception"] == "SystemExit"
    assert calls.result(functions.who)["pid"] == before


def test_process_that_ends_itself_is_lost(calls: Calls) -> None:
    before = calls.result(functions.who)["pid"]
    outcome = calls.call(functions.dying)
    assert (outcome.status, outcome.retry) == ("failed", True)
    assert outcome.error is not None
    assert outcome.error["type"] == INTERRUPTED
    assert calls.result(functions.who)["pid"] != before


def test_last_of_many_reports_arrives(calls: Calls) -> None:
    started = calls.start(functions.reporting, to=100_000)
    assert started.end().status == "succeeded"
    progress = started.run._meter.progress
    assert (progress.completed, progress.total, progress.message) == (100_000, 100_000, "at 100000")


def test_report_arrives_while_the_function_is_silent(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.quiet_after, path=tmp_path / "go")
    eventually(lambda: started.run._meter.progress.completed == 2)
    (tmp_path / "go").touch()
    assert started.end().status == "succeeded"


def test_count_begins_anew_with_each_unit(calls: Calls) -> None:
    started = calls.start(functions.phases)
    assert started.end().status == "succeeded"
    progress = started.run._meter.progress
    assert (progress.completed, progress.unit) == (3, "a")


def test_parts(calls: Calls) -> None:
    started = calls.start(functions.parts)
    outcome = started.end()
    assert outcome.result == f'["/it/{started.run.id}/parts/a.txt"]'.encode()
    listed = {part.name: part for part in calls.parts(started.run)}
    assert {name: part.size for name, part in listed.items()} == {"a.txt": 5, "b.bin": 4, "left-open.txt": 5}
    assert calls.store.load(started.run.id).parts == 3


def test_logs_are_the_servers(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        started = calls.start(functions.logging_)
        assert started.end().result == b"[1,0]"  # nothing is printed there as well
    found = [each for each in caplog.records if each.name.startswith("process_functions")]
    assert [each.getMessage() for each in found] == ["seen by the server", "once", "with a trace"]
    assert {each.operation for each in found} == {started.run.id}  # type: ignore[attr-defined]
    assert "ValueError: inner" in (found[2].exc_text or "")
    assert found[0].funcName == "logging_"


def test_signals_are_left_to_the_server(calls: Calls) -> None:
    before = calls.result(functions.who)["pid"]
    assert calls.result(functions.signals) == [-15]
    assert calls.result(functions.who)["pid"] == before


def test_forked_process_of_a_function_can_be_terminated(calls: Calls) -> None:
    assert calls.result(functions.terminating) == -15


@pytest.mark.parametrize(
    ("why", "status", "type_"),
    [(Canceled, "canceled", None), (Interrupted, "failed", INTERRUPTED), (TimedOut, "failed", TIMED_OUT)],
)
def test_function_is_told_to_end(
    calls: Calls, tmp_path: Path, why: type[Canceled | Interrupted], status: str, type_: str | None
) -> None:
    for function in (functions.until, functions.auntil):
        started = calls.start(function, path=tmp_path / "never")
        pid = started.said()
        started.run.stop(why)
        outcome = started.end()
        assert outcome.status == status
        assert (outcome.error or {}).get("type") == type_
        assert calls.result(functions.who)["pid"] == int(pid)


def test_stop_before_the_function_begins(calls: Calls, tmp_path: Path) -> None:
    for _ in range(20):
        started = calls.start(functions.until, path=tmp_path / "never")
        started.run.stop(Canceled)
        assert started.end().status == "canceled"


def test_cancel_through_the_record_reaches_a_function_that_checks(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.until, path=tmp_path / "never")
    started.said()
    assert calls.store.update(started.run.id, lambda it: it.cancel_asked(1.0)) is not None
    assert started.end().status == "canceled"


def test_function_that_does_not_end_is_killed(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.deaf, path=tmp_path / "never")
    other = calls.start(functions.until, path=tmp_path / "go")
    started.said(), other.said()
    started.run.stop(TimedOut)
    assert calls.engine.give_up(started.run)
    outcome = started.end()
    assert outcome.error is not None
    assert outcome.error["type"] == TIMED_OUT
    (tmp_path / "go").touch()
    assert other.end().status == "succeeded"


def test_nothing_of_a_call_that_is_over_comes_in(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.parts)
    started.run.stop(Canceled)
    assert started.end().status == "canceled"
    assert calls.parts(started.run) == []
