"""Notices over real processes: whatever dies, each receiver is told; while all live, once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hook_receivers import PATIENCE, Clock, HookReceiver, Office, Reply

from restive.backends.sqlite import SqliteBackend
from restive.operations.notices.book import CLAIM

SCRIPT = Path(__file__).with_name("hook_process.py")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "it.db"


@pytest.fixture
def start(database: Path) -> Iterator[Start]:
    """Start such a process; it is ready when this returns."""
    started: list[subprocess.Popen[str]] = []

    def run(verb: str, url: str, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), str(database), verb, url, str(count)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def ids(hook: HookReceiver) -> list[str]:
    return [msgspec.json.decode(got.body)["data"]["id"] for got in hook.got]


def test_two_processes_tell_each_once(start: Start) -> None:
    hook = HookReceiver()
    processes = [start("tell", f"http://127.0.0.1:{hook.port}/", 20) for _ in range(2)]
    for process in processes:
        go(process)
    for process in processes:
        assert process.wait(PATIENCE) == 0
    assert len(ids(hook)) == len(set(ids(hook))) == 40
    hook.stop()


def test_a_crash_between_the_end_and_the_delivery_loses_nothing(start: Start, database: Path) -> None:
    hook = HookReceiver()
    dead = start("end", f"http://127.0.0.1:{hook.port}/", 3)
    assert dead.wait(PATIENCE) == 9
    assert hook.got == []
    backend = SqliteBackend(database)
    office = Office(backend, time.time)
    office.notices.sweep()
    hook.until(3)
    office.settled()
    office.notices.close(PATIENCE)
    assert len(set(ids(hook))) == 3
    backend.close()
    hook.stop()


def test_kill_9_in_the_middle_of_a_delivery_repeats_it_with_the_same_id(start: Start, database: Path) -> None:
    release = threading.Event()
    hook = HookReceiver(Reply(act=lambda handler: release.wait(PATIENCE) and None), Reply(204))
    process = start("tell", f"http://127.0.0.1:{hook.port}/", 1)
    go(process)
    hook.until(1)
    process.kill()
    process.wait(PATIENCE)
    release.set()
    backend, clock = SqliteBackend(database), Clock()
    office = Office(backend, clock)
    office.notices.sweep()
    office.later(CLAIM)
    hook.until(2)
    office.settled()
    office.notices.close(PATIENCE)
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    backend.close()
    hook.stop()
