"""What ``benchmarks.operations`` compares with: FastAPI in front of Celery, and of bare executors.

``POST /celery/short?number=1``, ``/threads/short?number=1``, ``/processes/short?number=1`` answer 202 with an
id, as a hand-written app would. ``GET /waiting/threads`` says how many calls have not ended.
"""

from __future__ import annotations

import multiprocessing
import os
import uuid
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

from celery import Celery
from fastapi import FastAPI

from .operations_work import busy, short

WORKERS = int(os.environ["BENCHMARK_WORKERS"])
celery = Celery("benchmark", broker=os.environ["BENCHMARK_BROKER"], backend=os.environ["BENCHMARK_RESULTS"])
TASKS = {each.__name__: celery.task(each, name=each.__name__) for each in (short, busy)}
FUNCTIONS = {each.__name__: each for each in (short, busy)}
app = FastAPI(openapi_url=None)
pools: dict[str, Executor] = {}
futures: dict[str, dict[str, Future[int]]] = {"threads": {}, "processes": {}}


def pool(name: str) -> Executor:
    """The executor of that name, made when it is first asked for."""
    if name not in pools:
        context = multiprocessing.get_context("forkserver")
        pools[name] = (
            ThreadPoolExecutor(WORKERS)
            if name == "threads"
            else ProcessPoolExecutor(WORKERS, mp_context=context)
        )
    return pools[name]


@app.post("/celery/{function}", status_code=202)
def celery_submit(function: str, number: int) -> dict[str, str]:
    """Hand it to the broker."""
    return {"id": TASKS[function].delay(number).id, "status": "queued"}


@app.post("/{name}/{function}", status_code=202)
async def submit(name: str, function: str, number: int) -> dict[str, str]:
    """Hand it to the executor; the future is where its result would be found."""
    identity = uuid.uuid4().hex
    futures[name][identity] = pool(name).submit(FUNCTIONS[function], number)
    return {"id": identity, "status": "queued"}


@app.get("/waiting/{name}")
async def waiting(name: str) -> int:
    """How many have not ended; the results of those that have are dropped once all have."""
    left = sum(not future.done() for future in futures[name].values())
    if not left:
        futures[name].clear()
    return left
