"""Who ends when: workers with their server, however it ends, and nothing that was not theirs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import process_functions as functions
import pytest
from process_calls import Calls, alive, eventually

from restive.backends.sqlite import SqliteBackend
from restive.operations.record import INTERRUPTED

SERVER = Path(__file__).with_name("process_server.py")

Serve = Callable[[str, str], "tuple[subprocess.Popen[str], list[int]]"]


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    backend = SqliteBackend(tmp_path / "it.db")
    made = Calls(backend, tmp_path, "processes")
    yield made
    made.engine.close()
    backend.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server with an engine; the process, and the ids of its workers."""
    made: list[tuple[subprocess.Popen[str], list[int]]] = []

    def start(engine: str, how: str) -> tuple[subprocess.Popen[str], list[int]]:
        command = [sys.executable, str(SERVER), engine, str(tmp_path), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stdout is not None
        made.append((process, [int(word) for word in process.stdout.readline().split()]))
        return made[-1]

    yield start
    (tmp_path / "over").touch()
    for process, _ in made:
        with contextlib.suppress(ProcessLookupError):  # the server and its workers: a group of their own
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def gone(workers: list[int]) -> bool:
    return not any(alive(worker) for worker in workers)


def test_killed_worker_is_lost_and_no_other(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.until, path=tmp_path / "go")
    other = calls.start(functions.until, path=tmp_path / "go")
    os.kill(int(started.said()), signal.SIGKILL)
    other.said()
    outcome = started.end()
    assert (outcome.status, outcome.retry) == ("failed", True)
    assert outcome.error is not None
    assert outcome.error["type"] == INTERRUPTED
    (tmp_path / "go").touch()
    assert other.end().status == "succeeded"
    assert calls.result(functions.double, number=2) == 4


def test_worker_that_was_killed_while_idle_harms_nobody(calls: Calls) -> None:
    for _ in range(5):
        pid = calls.result(functions.who)["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: not alive(pid))
        assert calls.result(functions.double, number=2) == 4


def test_worker_that_is_killed_while_it_starts_harms_nobody(calls: Calls) -> None:
    started = calls.start(functions.double, number=2)
    os.kill(eventually(children), signal.SIGKILL)
    assert started.end().result == b"4"


def children() -> int | None:
    """A child process of this one that is a worker."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def test_stopped_worker_can_be_killed(calls: Calls, tmp_path: Path) -> None:
    started = calls.start(functions.until, path=tmp_path / "never")
    os.kill(int(started.said()), signal.SIGSTOP)
    calls.engine.give_up(started.run)
    assert started.end().retry


def test_close_ends_all(calls: Calls, tmp_path: Path) -> None:
    idle = calls.result(functions.leaving_thread)  # a thread of its own keeps it from ending by itself
    busy = calls.start(functions.deaf, path=tmp_path / "never")
    workers = [idle, int(busy.said())]
    calls.engine.close()
    assert busy.end().retry
    eventually(lambda: gone(workers))
    assert calls.result(functions.double, number=2) == 4


def test_forked_child_of_a_function_holds_nothing(calls: Calls, tmp_path: Path) -> None:
    child = calls.result(functions.forking, path=tmp_path / "over")
    worker = calls.result(functions.who)["pid"]
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not alive(worker))
    assert calls.result(functions.double, number=2) == 4
    assert alive(child)
    (tmp_path / "over").touch()
    eventually(lambda: not alive(child))


@pytest.mark.parametrize("engine", ["processes", "loky", "spawn", "forkserver"])
def test_workers_end_with_a_killed_server(serve: Serve, engine: str) -> None:
    server, workers = serve(engine, "wait")
    assert len(workers) == 2
    assert all(alive(worker) for worker in workers)
    server.kill()
    eventually(lambda: gone(workers))


def test_workers_end_though_a_fork_of_the_server_lives_on(serve: Serve) -> None:
    server, workers = serve("processes", "fork")
    server.kill()
    eventually(lambda: gone(workers))


def test_workers_end_with_a_server_that_returns(serve: Serve) -> None:
    server, workers = serve("processes", "leave")
    server.communicate(timeout=20)
    assert server.returncode == 0
    assert gone(workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("engine", ["processes", "loky", "spawn"])
def test_signal_to_the_group_leaves_the_end_to_the_server(serve: Serve, engine: str, number: int) -> None:
    server, workers = serve(engine, "drain")
    os.killpg(server.pid, number)
    out, _ = server.communicate(timeout=20)
    assert out.split() == ["succeeded"]
    eventually(lambda: gone(workers))
