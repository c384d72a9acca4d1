"""Executors that are given: which are refused, where functions run, and what becomes of one that breaks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loky
import process_functions as functions
import pytest
from process_calls import Calls, alive, eventually

from restive import Operation
from restive.backends.sqlite import SqliteBackend
from restive.errors import Canceled, SettingError
from restive.operations.engines.making import check_function, make_engine
from restive.operations.record import INTERRUPTED
from restive.settings import Settings

MakeCalls = Callable[[Any], Calls]


def pool(method: str = "spawn", **options: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, multiprocessing.get_context(method), **options)


@pytest.fixture
def calls_of(tmp_path: Path) -> Iterator[MakeCalls]:
    backend = SqliteBackend(tmp_path / "it.db")
    made: list[tuple[Calls, Any]] = []

    def make(given: Any) -> Calls:
        made.append((Calls(backend, tmp_path, given), given))
        return made[-1][0]

    yield make
    for calls, given in made:
        calls.engine.close()
        if isinstance(given, Executor):
            given.shutdown(wait=True)
    backend.close()


def settings() -> Settings:
    return Settings.of({})


def test_forked_pool_is_refused_with_the_reason(tmp_path: Path) -> None:
    forked = pool("fork")
    with pytest.raises(SettingError, match="port and sockets"):
        make_engine(forked, 2, settings(), lambda: tmp_path)
    with pytest.raises(SettingError, match="port and sockets"):
        make_engine(lambda: forked, 2, settings(), lambda: tmp_path)


@pytest.mark.parametrize("given", ["fibres", 7, None, lambda: 7])
def test_what_is_no_engine_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="engine= is one of"):
        make_engine(given, 2, settings(), lambda: tmp_path)


def test_function_that_no_process_finds_is_refused() -> None:
    def inner() -> None: ...

    for engine in ("processes", pool()):
        with pytest.raises(SettingError, match="top level"):
            check_function(inner, engine)
        with pytest.raises(SettingError, match="top level"):
            check_function(lambda: None, engine)
        check_function(functions.double, engine)
    check_function(inner, "loky")
    check_function(inner, "threads")


def test_nested_function_with_loky(calls_of: MakeCalls) -> None:
    base = 40

    def inner(numbers: Sequence[int], op: Operation) -> int:  # its annotations are names of this module
        op.report(completed=1)
        return base + sum(numbers)

    assert calls_of("loky").result(inner, numbers=[1, 1]) == 42


def test_function_that_is_not_found_fails_clearly(
    calls_of: MakeCalls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hidden() -> None: ...

    hidden.__qualname__ = hidden.__name__ = "hidden"
    calls = calls_of("processes")
    outcome = calls.call(hidden)  # cannot be pickled here
    assert (outcome.status, outcome.retry) == ("failed", False)
    monkeypatch.setattr(functions, "hidden", hidden, raising=False)
    hidden.__module__ = "process_functions"
    outcome = calls.call(hidden)  # is not there in the worker
    assert (outcome.status, outcome.retry) == ("failed", False)
    assert outcome.error is not None
    assert "AttributeError" in outcome.error["detail"]
    assert "top level of a module" in caplog.text


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_given_pool(calls_of: MakeCalls, method: str, tmp_path: Path) -> None:
    given = pool(method)
    calls = calls_of(given)
    assert calls.engine.threads.workers == 2
    assert calls.result(functions.who)["pid"] in given._processes
    assert calls.result(functions.reporting, to=1000) in given._processes
    started = calls.start(functions.until, path=tmp_path / "never")
    started.said()
    started.run.stop(Canceled)
    assert started.end().status == "canceled"
    assert calls.result(functions.mapping, to=100) == sum(number * number for number in range(100))
    calls.engine.close()
    assert given.submit(functions.double, 3).result() == 6  # it is its owner's
    assert calls.result(functions.double, number=4) == 8  # and can be used again


def test_given_loky_executor(calls_of: MakeCalls) -> None:
    given = loky.get_reusable_executor(max_workers=2, timeout=30)
    calls = calls_of(lambda: given)
    assert calls.result(lambda number: number + 1, number=4) == 5


def test_call_that_waits_for_a_worker_can_be_canceled(calls_of: MakeCalls, tmp_path: Path) -> None:
    given = pool()
    calls = calls_of(given)
    busy = [calls.start(functions.until, path=tmp_path / "go") for _ in range(2)]
    for each in busy:
        each.said()
    waiting = [calls.start(functions.until, path=tmp_path / "never") for _ in range(4)]
    for each in waiting:
        each.run.stop(Canceled)
    (tmp_path / "go").touch()
    assert {each.end().status for each in waiting} == {"canceled"}
    assert [each.end().status for each in busy] == ["succeeded"] * 2


def test_broken_pool_is_made_anew(calls_of: MakeCalls, tmp_path: Path) -> None:
    given = pool()
    calls = calls_of(given)
    started = [calls.start(functions.until, path=tmp_path / "go") for _ in range(2)]
    pids = [int(each.said()) for each in started]
    os.kill(pids[0], signal.SIGKILL)
    for each in started:  # an executor breaks as a whole
        outcome = each.end()
        assert outcome.retry
        assert outcome.error is not None
        assert outcome.error["type"] == INTERRUPTED
    eventually(lambda: not any(alive(pid) for pid in pids))
    found = calls.result(functions.who)["pid"]
    assert found not in pids
    calls.engine.close()
    eventually(lambda: not alive(found))  # the new one is ours


def test_pool_from_a_function_is_made_anew_and_shut_down(calls_of: MakeCalls) -> None:
    made: list[Executor] = []

    def make() -> Executor:
        made.append(pool())
        return made[-1]

    calls = calls_of(make)
    assert calls.call(functions.dying).retry
    pid = calls.result(functions.who)["pid"]
    assert len(made) == 2
    calls.engine.close()
    assert not alive(pid)
    assert calls.result(functions.double, number=2) == 4
    assert len(made) == 3


def test_pool_that_was_shut_down(calls_of: MakeCalls) -> None:
    given = pool()
    calls = calls_of(given)
    given.shutdown()
    outcome = calls.call(functions.double, number=2)
    assert (outcome.status, outcome.retry) == ("failed", True)


def test_hanging_function_in_a_given_pool_is_left(calls_of: MakeCalls, tmp_path: Path) -> None:
    given = pool()
    calls = calls_of(given)
    started = calls.start(functions.deaf, path=tmp_path / "go")
    other = calls.start(functions.until, path=tmp_path / "go")
    started.said(), other.said()
    started.run.stop(Canceled)
    assert not calls.engine.give_up(started.run)
    (tmp_path / "go").touch()
    assert other.end().status == "succeeded"
    assert started.end().status == "succeeded"


# Threads


def test_thread_pool_runs_here(calls_of: MakeCalls) -> None:
    given = ThreadPoolExecutor(2, thread_name_prefix="mine")
    calls = calls_of(given)

    def where() -> tuple[int, str]:
        return os.getpid(), threading.current_thread().name

    pid, name = calls.result(where)
    assert pid == os.getpid()
    assert name.startswith("mine")
    assert calls.result(functions.adouble, number=4) == 8


def test_map_in_a_thread_pool_is_helped_by_its_threads(calls_of: MakeCalls) -> None:
    calls = calls_of(lambda: ThreadPoolExecutor(3, thread_name_prefix="mine"))
    names: set[str] = set()

    def name(number: int) -> str:
        functions.slow_square(number)
        return threading.current_thread().name

    def mapping(op: Operation) -> None:
        for each in op.map(name, range(3000)):
            names.add(each)
            if len(names) == 3:
                return

    calls.result(mapping)
    assert len(names) == 3
    assert all(each.startswith("mine") for each in names)


def test_thread_pool_that_was_shut_down(calls_of: MakeCalls) -> None:
    given = ThreadPoolExecutor(2)
    given.shutdown()
    outcome = calls_of(given).call(functions.double, number=2)
    assert (outcome.status, outcome.retry) == ("failed", True)


@pytest.mark.parametrize("engine", ["process", 3, "forked"])
def test_an_engine_that_cannot_work_is_refused_when_it_is_declared(bench, engine):
    if engine == "forked":
        engine = ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(SettingError, match=r"engine=|forks"):
        bench.operation("/doubles", engine=engine)(functions.double)
