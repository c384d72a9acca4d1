"""What a run does whose lease another process has taken: nothing of it comes in."""

from __future__ import annotations

import asyncio
import threading

import pytest

from restive import Operation
from restive.errors import Interrupted
from restive.operations.parts import Part


@pytest.fixture
def overtaken(bench, gate):
    """Runs ``last(op)`` in an operation once another process has taken its lease; the exception of that."""

    async def run(last, retries: int):
        caught: list[BaseException | None] = []
        begun, over = threading.Event(), threading.Event()

        @bench.operation("/late", retries=retries, backoff=60)
        def late(op: Operation) -> None:
            begun.set()
            gate.wait(10)
            try:
                last(op)
                caught.append(None)
            except BaseException as error:
                caught.append(error)
                raise
            finally:
                over.set()

        url = (await bench.client.post("/late")).headers["location"]
        await asyncio.to_thread(begun.wait, 10)
        store = bench.operations.service.store
        store.update(url.rpartition("/")[2], lambda it: it.interrupted(store.clock()))
        gate.set()
        await asyncio.to_thread(over.wait, 10)
        await bench.settled()
        return url, caught[0]

    return run


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_late_part_is_refused(bench, overtaken, retries):
    url, error = await overtaken(lambda op: op.part("late.txt", "late"), retries)
    assert isinstance(error, Interrupted)
    assert (await bench.client.get(f"{url}/parts")).json() == []


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_part_is_refused_whose_run_lost_its_lease_before_it_was_listed(bench, overtaken, retries):
    """The process was stopped between the end of the file and the listing, where it asks nothing any more."""
    url, error = await overtaken(lambda op: op._run.publish(Part("late.txt", "text/plain")), retries)
    assert isinstance(error, Interrupted)
    assert (await bench.client.get(f"{url}/parts")).json() == []
    assert (await bench.client.get(url)).json()["parts"] == 0
