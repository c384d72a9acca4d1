"""``python -m benchmarks.operations_bare threads|processes COUNT WORKERS``: calls/s of an executor alone."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from .operations_work import short


def rate(engine: str, count: int, workers: int) -> float:
    """Calls per second of an executor, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.operations_bare", engine, str(count), str(workers)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def _measure(pool: Executor, count: int, workers: int) -> float:
    with pool:
        for future in [pool.submit(short, 0) for _ in range(10 * workers)]:
            future.result()
        begin = time.perf_counter()
        futures = [pool.submit(short, number) for number in range(count)]
        for future in futures:
            future.result()
        return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    engine, count, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    forkserver = multiprocessing.get_context("forkserver")
    made = (
        ThreadPoolExecutor(workers)
        if engine == "threads"
        else ProcessPoolExecutor(workers, mp_context=forkserver)
    )
    print(_measure(made, count, workers))
