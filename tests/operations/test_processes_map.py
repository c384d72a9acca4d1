"""``op.map`` in worker processes: its caller works through the items, and idle workers help."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import process_functions as functions
import pytest
from process_calls import Calls, alive, eventually

from restive.backends.sqlite import SqliteBackend
from restive.errors import Canceled


@pytest.fixture(scope="module", params=["processes", "loky"])
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    home = tmp_path_factory.mktemp("home")
    backend = SqliteBackend(home / "it.db")
    made = Calls(backend, home, request.param)
    yield made
    made.engine.close()
    backend.close()


def test_results_and_progress(calls: Calls) -> None:
    started = calls.start(functions.mapping, to=1000)
    assert started.end().result == str(sum(number * number for number in range(1000))).encode()
    progress = started.run._meter.progress
    assert (progress.completed, progress.total, progress.unit) == (1000, 1000, "numbers")


def test_idle_workers_help(calls: Calls) -> None:
    assert len(calls.result(functions.mapping_until_helped, by=3)) == 3  # the caller, and two who were idle


def test_many_at_once_and_inside_each_other(calls: Calls) -> None:
    started = [calls.start(functions.nested) for _ in range(2)]
    started += [calls.start(functions.mapping, to=300) for _ in range(2)]
    row = sum(sum(each * each for each in range(number)) for number in range(12))
    whole = sum(number * number for number in range(300))
    assert [each.end(40).result for each in started] == [str(row).encode()] * 2 + [str(whole).encode()] * 2


def test_exception_of_an_item_is_raised(calls: Calls) -> None:
    outcome = calls.call(functions.mapping_badly)
    assert outcome.error is not None
    assert outcome.error["exception"] == "KeyError"


def test_exception_that_cannot_be_sent_becomes_a_runtime_error(calls: Calls) -> None:
    assert calls.result(functions.mapping_oddly) in {"Odd('odd')", "RuntimeError(\"Odd('odd')\")"}


def test_item_that_cannot_be_sent_is_done_by_the_caller(calls: Calls) -> None:
    assert calls.result(functions.mapping_whole) == sum(range(30))


def test_result_that_cannot_be_sent_is_said_to_be_so(calls: Calls) -> None:
    assert "No other process can be sent this result, a lock" in calls.result(functions.mapping_unsendable)


def test_async_function(calls: Calls) -> None:
    assert calls.result(functions.amapping) == sum(number * number for number in range(50))


def test_helper_that_dies_fails_the_operation_only(calls: Calls) -> None:
    other = calls.start(functions.mapping, to=2000)
    outcome = calls.call(functions.mapping_mortals)
    assert (outcome.status, outcome.retry) == ("failed", True)
    assert outcome.error is not None
    assert outcome.error["exception"] == "RuntimeError"
    assert other.end().status == "succeeded"
    assert calls.result(functions.double, number=1) == 2


def test_killing_a_function_that_hangs_ends_those_who_help_it(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.mapping_until, path=tmp_path / "never")
    caller = int(started.said())
    helpers = eventually(lambda: helpers_of(calls, started.run.id))
    started.run.stop(Canceled)
    assert calls.engine.give_up(started.run)
    assert started.end().status == "canceled"
    eventually(lambda: not any(alive(pid) for pid in [caller, *helpers]))
    assert calls.result(functions.double, number=1) == 2


def test_killing_the_caller_ends_those_who_help_it(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.mapping_until, path=tmp_path / "never")
    caller = int(started.said())
    helpers = eventually(lambda: helpers_of(calls, started.run.id))
    os.kill(caller, signal.SIGKILL)
    assert started.end().retry
    eventually(lambda: not any(alive(pid) for pid in helpers))


def helpers_of(calls: Calls, identity: str) -> list[int]:
    """The processes of all that is called for an operation, once there are two."""
    engine = calls.engine
    found = [each for each in engine._line.calls() if each.run.id == identity and each.begun]  # type: ignore[attr-defined]
    pids = [each.seat._process._process.pid for each in found]
    return pids if len(pids) >= 2 else []
