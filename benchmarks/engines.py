"""What an engine adds to a short operation: seconds per call, against bare executors, in one run.

    python -m benchmarks.engines [--calls 2000]

The calls are made without HTTP and without a queue, each by a claimed operation in memory. Best of eight
rounds, since other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Thread

from restive import Operation
from restive.backends.memory import MemoryBackend
from restive.operations.arguments import signature_of
from restive.operations.engines.local import ThreadEngine
from restive.operations.engines.making import make_engine
from restive.operations.engines.port import Engine, Task
from restive.operations.files import Files, FilesPlace
from restive.operations.record import OperationRecord
from restive.operations.run import Run
from restive.operations.store import Store
from restive.settings import Settings

ROUNDS = 8


def double(number: int) -> int:
    return number * 2


def reporting(to: int, op: Operation) -> None:
    for number in range(to):
        op.report(completed=number, total=to, unit="numbers")


class Runs:
    """Claimed operations."""

    def __init__(self, home: Path) -> None:
        backend = MemoryBackend()
        self._store, self._files = Store(lambda: backend), Files(lambda: FilesPlace(home))
        self._count = 0

    def one(self) -> Run:
        self._count += 1
        record = OperationRecord(f"op{self._count}", "/it", "/it", "/it", time.time(), 1.0)
        self._store.create(record, b"{}")
        claimed = self._store.update(record.id, lambda it: it.claimed("me", time.time(), 1000.0))
        return Run(
            claimed,
            self._store,
            self._files,
            interval=0.1,
            lease=1000.0,
            wake=lambda: None,
            announce=lambda _: None,
        )


def measured(name: str, call: Callable[[int], object], calls: int) -> None:
    for number in range(20):
        call(number)
    each = calls // ROUNDS
    alone = min(timed([lambda: [call(number) for number in range(each)]]) for _ in range(ROUNDS)) / each
    two = min(timed([lambda: [call(number) for number in range(each)]] * 2) for _ in range(ROUNDS)) / each / 2
    print(f"{name:32} {alone * 1e6:8.0f} µs   two callers {1 / two:8.0f}/s")


def timed(works: list[Callable[[], object]]) -> float:
    threads = [Thread(target=work) for work in works]
    begun = time.perf_counter()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return time.perf_counter() - begun


def engine(name: str, it: Engine, runs: Runs, calls: int) -> None:
    task = Task(double, signature_of(double, Operation), b'{"number":4}')
    both = [Thread(target=it.call, args=[task, runs.one()]) for _ in range(2)]
    begun = time.perf_counter()
    for each in both:
        each.start()
    for each in both:
        each.join()
    print(f"{name:32} {(time.perf_counter() - begun) * 1e3:8.0f} ms for the first call")
    many = iter([runs.one() for _ in range(calls * 3 + 20)])
    measured(name, lambda _: it.call(task, next(many)), calls)
    run, reports = runs.one(), Task(reporting, signature_of(reporting, Operation), b'{"to":100000}')
    begun = time.perf_counter()
    assert it.call(reports, run).status == "succeeded"
    print(f"{name:32} {(time.perf_counter() - begun) * 10:8.1f} µs per report, of 100,000")
    it.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    calls = parser.parse_args().calls
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        runs = Runs(home)
        engine("threads", ThreadEngine(2), runs, calls)
        for name in ("processes", "loky"):
            engine(name, make_engine(name, 2, Settings(), lambda: home), runs, calls)
        with ProcessPoolExecutor(2, spawn) as pool:
            engine("given ProcessPoolExecutor", make_engine(pool, 2, Settings(), lambda: home), runs, calls)
    with ProcessPoolExecutor(2, spawn) as pool:
        measured("bare ProcessPoolExecutor", lambda _: pool.submit(double, 4).result(), calls)
    with ThreadPoolExecutor(2) as threads:
        measured("bare ThreadPoolExecutor", lambda _: threads.submit(double, 4).result(), calls)


if __name__ == "__main__":
    main()
