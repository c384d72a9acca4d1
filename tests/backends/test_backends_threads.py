"""Calls from an event loop: they do not block it, are cancelled cleanly and keep no process alive."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from backends.backend_processes import run
from restive.backends import offload
from restive.backends.memory import MemoryBackend
from restive.backends.sqlite import SqliteBackend
from restive.backends.threads import THREADS
from restive.errors import Conflict


@pytest.fixture
def backend(tmp_path: Path):
    backend = SqliteBackend(tmp_path / "restive.db", name="app")
    yield backend
    backend.close()


async def test_arguments_results_and_errors_pass(backend: SqliteBackend):
    version = await offload(backend, backend.save, "r", b"value", version=0)
    found = await offload(backend, backend.load, "r")
    assert found is not None
    assert found.version == version
    with pytest.raises(Conflict):
        await offload(backend, backend.save, "r", b"value", version=0)


async def test_a_backend_that_never_blocks_is_called_directly():
    memory = MemoryBackend(name="app")
    assert await offload(memory, threading.get_ident) == threading.get_ident()


async def test_the_loop_goes_on_while_a_call_blocks(backend: SqliteBackend):
    gate = threading.Event()
    blocked = asyncio.ensure_future(offload(backend, gate.wait, 10))
    await asyncio.sleep(0)
    assert not blocked.done()
    gate.set()
    assert await blocked


async def test_the_threads_are_few_daemons(backend: SqliteBackend):
    gate, names = threading.Event(), set()

    def call() -> None:
        names.add(threading.current_thread())
        gate.wait(10)

    calls = [asyncio.ensure_future(offload(backend, call)) for _ in range(5 * THREADS)]
    while len(names) < THREADS:
        await asyncio.sleep(0.001)
    gate.set()
    await asyncio.gather(*calls)
    assert len(names) == THREADS
    assert all(thread.daemon for thread in names)


async def test_cancelled_calls_leave_at_once_and_cross_no_replies(backend: SqliteBackend):
    gate, begun, ran = threading.Event(), threading.Semaphore(0), []

    def hold() -> str:
        begun.release()
        gate.wait(10)
        return "of the call that was cancelled"

    held = [asyncio.ensure_future(offload(backend, hold)) for _ in range(THREADS)]
    for _ in held:
        while not begun.acquire(blocking=False):
            await asyncio.sleep(0.001)
    waiting = asyncio.ensure_future(offload(backend, ran.append, "never begins"))
    await asyncio.sleep(0)
    for task in (*held, waiting):
        task.cancel()
    assert {type(r) for r in await asyncio.gather(*held, waiting, return_exceptions=True)} == {
        asyncio.CancelledError
    }
    gate.set()
    values = await asyncio.gather(*(offload(backend, lambda n=n: n) for n in range(50)))
    assert values == list(range(50))
    assert ran == []


def test_a_call_that_hangs_keeps_no_process_alive(tmp_path: Path):
    script = """
        import asyncio
        from restive.backends import offload
        b = SqliteBackend(path)
        async def main():
            hanging = asyncio.ensure_future(offload(b, threading.Event().wait))
            await asyncio.sleep(0)
            say("ends")
        asyncio.run(main())
        """
    assert run(script, tmp_path / "restive.db") == ["ends"]


def test_the_threads_are_made_anew_in_a_forked_child(tmp_path: Path):
    script = """
        import asyncio
        from restive.backends import offload
        b = SqliteBackend(path)
        asyncio.run(offload(b, b.save, "r", b"parent", version=0))
        pid = os.fork()
        if pid == 0:
            found = asyncio.run(asyncio.wait_for(offload(b, b.load, "r"), 10))
            os._exit(0 if found.value == b"parent" else 1)
        say(os.waitpid(pid, 0)[1], asyncio.run(offload(b, b.load, "r")).value)
        """
    assert run(script, tmp_path / "restive.db") == ["0 b'parent'"]
