"""Threads, loops and processes: nothing starts early, stays late, runs twice or depends on one event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections import deque
from pathlib import Path

from starlette.testclient import TestClient

from restive.operations import Operation
from restive.operations.engines.threads import Threads


def ours() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name in {"restive-operations", "restive-keeper"}]


async def test_nothing_starts_before_the_first_submission(bench):
    before = ours()

    @bench.operation("/ones")
    def one() -> int:
        return 1

    await bench.client.get("/ones/" + "0" * 36)
    begun = {each.name for each in ours() if each not in before}
    # Where others share the store, one thread looks for what they leave behind.
    assert begun == ({"restive-keeper"} if bench.host.backend.shared else set())
    await bench.run("/ones")
    assert ours() != before


class Jobs(deque):
    """A queue of jobs that threads take from."""

    def __init__(self, workers: int) -> None:
        self.threads = Threads(workers)
        self.threads.serve(lambda: self.popleft() if self else None)

    def submit(self, job) -> None:
        self.append(job)
        self.threads.wake()


def test_two_jobs_at_once_get_two_threads():
    """Also where one thread was idle and has not yet run when the second job comes."""
    jobs = Jobs(2)
    for _ in range(20):
        barrier = threading.Barrier(3, timeout=10)
        for _ in range(2):
            jobs.submit(barrier.wait)
        barrier.wait()
        first = threading.Event()
        jobs.submit(first.set)
        assert first.wait(10)


def test_a_thread_that_was_woken_for_one_job_is_not_counted_for_another():
    """An idle thread, two jobs before it has run: whoever takes the first blocks until the second runs."""
    for _ in range(50):
        jobs = Jobs(2)
        idle = threading.Event()
        jobs.submit(idle.set)
        assert idle.wait(10)
        while not jobs.threads._idle:
            pass
        barrier = threading.Barrier(3, timeout=10)
        with jobs.threads._changed:  # so that the woken thread cannot run in between
            for _ in range(2):
                jobs.append(barrier.wait)
                jobs.threads._wake(1)
        barrier.wait()


def test_a_thread_that_hangs_is_replaced_and_ends_when_it_comes_back(gate):
    jobs = Jobs(1)
    stuck: list[int] = []
    entered, second, third = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        stuck.append(threading.get_ident())
        entered.set()
        gate.wait(10)

    jobs.submit(hang)
    assert entered.wait(10)
    jobs.submit(second.set)
    assert not second.is_set()
    jobs.threads.lose(stuck[0])
    assert second.wait(10)
    thread = next(each for each in threading.enumerate() if each.ident == stuck[0])
    gate.set()
    thread.join(10)
    assert not thread.is_alive()
    jobs.submit(third.set)
    assert third.wait(10)


async def test_no_more_threads_than_workers_at_once(new_bench):
    bench = new_bench(workers=2)
    lock = threading.Lock()
    now, most = 0, 0

    @bench.operation("/counts")
    def count(op: Operation) -> None:
        def item(_: int) -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1

        list(op.map(item, range(20)))

    locations = [(await bench.client.post("/counts")).headers["location"] for _ in range(10)]
    for location in locations:
        assert (await bench.done(location))["status"] == "succeeded"
    assert most <= 2


def test_every_request_may_be_on_a_loop_of_its_own(new_bench):
    bench = new_bench()

    @bench.operation("/ones")
    async def one(op: Operation) -> str:
        await asyncio.sleep(0)
        return op.part("a.txt", "a")

    client = TestClient(bench.app)
    submitted = client.post("/ones", headers={"Prefer": "wait=10"})
    assert submitted.status_code == 200
    assert client.get(submitted.json()["result"]).text == "a"


async def test_two_runners_on_one_backend_run_each_operation_once(bench):
    ran: list[int] = []
    other = bench.reborn()

    def once(number: int) -> int:
        ran.append(number)
        return number

    for each in (bench, other):
        each.operations.declare("/onces", once)
    runners = [each.operations.service.runner for each in (bench, other)]
    enqueue = runners[0].enqueue
    runners[0].enqueue = lambda operation: (runners[1].enqueue(operation), enqueue(operation))
    locations = [
        (await bench.client.post(f"/onces?number={number}")).headers["location"] for number in range(40)
    ]
    for location in locations:
        assert (await bench.done(location))["attempt"] == 1
    await other.settled()
    assert sorted(ran) == list(range(40))


async def test_a_report_racing_with_cancel_and_delete_never_revives(bench):
    """Reports, cancel and delete at once from many threads: the record ends as gone, once."""

    @bench.operation("/races")
    def race(op: Operation) -> None:
        number = 0
        while True:
            number += 1
            op.report(completed=number)
            op.part(f"{number}.txt", "x")

    for _ in range(10):
        location = (await bench.client.post("/races")).headers["location"]
        await bench.until(location, lambda it: it["parts"] > 0)
        answers = await asyncio.gather(
            bench.client.post(f"{location}/cancel"),
            bench.client.delete(location),
            bench.client.delete(location),
        )
        assert {each.status_code for each in answers[1:]} <= {204, 410}
        assert (await bench.client.get(location)).status_code == 410
    await bench.settled()
    assert (await bench.client.get(location)).status_code == 410
    assert bench.host.backend.scan("operation-open/") == []


def test_a_hanging_function_does_not_keep_the_process_alive(tmp_path):
    script = textwrap.dedent(
        f"""
        import sys, threading
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from operation_bench import Bench, TinyHost
        from restive.backends.memory import MemoryBackend
        from starlette.testclient import TestClient

        bench = Bench(TinyHost(MemoryBackend(), Path({str(tmp_path)!r})))
        entered = threading.Event()

        @bench.operation("/hangs")
        def hang() -> None:
            entered.set()
            threading.Event().wait()

        assert TestClient(bench.app).post("/hangs").status_code == 202
        assert entered.wait(10)
        print("end of main")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "end of main\n"), done.stderr
