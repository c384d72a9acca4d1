"""``op.map``: results as they come, help from idle workers, no deadlock, nothing left running."""

from __future__ import annotations

import asyncio
import threading

import pytest

from restive.operations import Operation


async def test_results_come_with_progress(bench):
    @bench.operation("/squares")
    def squares(op: Operation) -> list[int]:
        return sorted(op.map(lambda number: number**2, range(50), unit="numbers"))

    final = await bench.run("/squares")
    assert final["result"] == [number**2 for number in range(50)]
    assert final["progress"]["completed"] == final["progress"]["total"] == 50
    assert final["progress"]["unit"] == "numbers"


async def test_items_without_a_length_have_no_total(bench):
    @bench.operation("/squares")
    def squares(op: Operation) -> int:
        return sum(op.map(abs, iter(range(5))))

    final = await bench.run("/squares")
    assert (final["result"], final["progress"]["completed"], final["progress"]["total"]) == (10, 5, None)


async def test_an_idle_worker_helps(bench):
    barrier = threading.Barrier(2, timeout=10)  # both workers have to be at an item at once

    @bench.operation("/pairs")
    def pairs(op: Operation) -> int:
        return len(
            {thread for thread, _ in op.map(lambda _: (threading.get_ident(), barrier.wait()), range(4))}
        )

    assert (await bench.run("/pairs"))["result"] == 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_nested_and_concurrent_maps_never_deadlock(new_bench, workers):
    bench = new_bench(workers=workers)

    @bench.operation("/nested")
    def nested(op: Operation) -> int:
        def inner(number: int) -> int:
            return sum(op.map(abs, range(number)))

        return sum(op.map(inner, range(8)))

    locations = [(await bench.client.post("/nested")).headers["location"] for _ in range(6)]
    for location in locations:
        assert (await bench.done(location))["result"] == sum(sum(range(number)) for number in range(8))


async def test_a_queued_operation_goes_before_help(bench, gate):
    started = threading.Event()

    @bench.operation("/long")
    def long(op: Operation) -> None:
        def item(number: int) -> None:
            started.set()
            if number:
                gate.wait(10)

        list(op.map(item, range(6)))

    @bench.operation("/short")
    def short() -> str:
        return "done"

    slow = (await bench.client.post("/long")).headers["location"]
    await asyncio.to_thread(started.wait, 10)
    quick = (await bench.client.post("/short")).headers["location"]
    gate.set()
    assert (await bench.done(quick))["result"] == "done"
    assert (await bench.done(slow))["progress"]["completed"] == 6


async def test_at_most_twice_the_workers_are_drawn_ahead(bench):
    drawn = []

    def items():
        for number in range(100):
            drawn.append(number)
            yield number

    @bench.operation("/ahead")
    def ahead(op: Operation) -> int:
        worst = 0
        for count, _ in enumerate(op.map(abs, items()), 1):
            worst = max(worst, len(drawn) - count)
        return worst

    assert (await bench.run("/ahead"))["result"] <= 2 * 2


async def test_an_error_ends_the_map_and_no_item_outlives_it(bench):
    running = []

    def item(number: int) -> int:
        running.append(number)
        if number == 3:
            raise LookupError
        running.remove(number)
        return number

    @bench.operation("/errors")
    def errors(op: Operation) -> list[int]:
        with pytest.raises(LookupError):
            list(op.map(item, range(1000)))
        return running[:]

    assert (await bench.run("/errors"))["result"] == [3]


async def test_a_loop_that_is_left_early_stops_the_map(bench):
    seen = []

    @bench.operation("/early")
    def early(op: Operation) -> int:
        results = iter(op.map(lambda number: seen.append(number) or number, range(1000)))
        first = next(results)
        results.close()
        return len(seen) - (first is None)

    assert (await bench.run("/early"))["result"] <= 5


async def test_items_that_raise_while_they_are_drawn(bench):
    def items():
        yield 1
        raise LookupError

    @bench.operation("/draws")
    def draws(op: Operation) -> None:
        list(op.map(abs, items()))

    assert (await bench.run("/draws"))["error"]["exception"] == "LookupError"


async def test_a_cancel_ends_a_map_between_items(bench, gate):
    entered = threading.Event()

    @bench.operation("/cancels")
    def cancels(op: Operation) -> None:
        list(op.map(lambda _: (entered.set(), gate.wait(10)), range(1000)))

    location = (await bench.client.post("/cancels")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    assert (await bench.client.post(f"{location}/cancel")).status_code == 202
    gate.set()
    final = await bench.done(location)
    assert final["status"] == "canceled"
    assert final["progress"]["completed"] < 1000


@pytest.mark.parametrize("asynchronous_items", [False, True])
async def test_coroutine_functions_share_the_loop(bench, asynchronous_items):
    most = 0
    now = 0

    async def item(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return number

    async def numbers():
        for number in range(20):
            yield number

    @bench.operation("/async")
    async def run(op: Operation) -> int:
        items = numbers() if asynchronous_items else range(20)
        return sum([result async for result in op.map(item, items, unit="items")])

    final = await bench.run("/async")
    assert final["result"] == sum(range(20))
    assert final["progress"]["completed"] == 20
    assert 1 < most <= 4


async def test_plain_functions_in_an_async_operation_leave_its_loop_free(bench):
    @bench.operation("/mixed")
    async def mixed(op: Operation) -> list:
        loop_thread, ticks = threading.get_ident(), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        threads = [thread async for thread in op.map(lambda _: threading.get_ident(), range(8))]
        ticking.cancel()
        return [loop_thread in threads, len(threads), ticks > 0]

    assert (await bench.run("/mixed"))["result"] == [False, 8, True]


async def test_misuse_says_what_to_write(bench):
    async def coroutine(_: int) -> None: ...

    @bench.operation("/misuse")
    def misuse(op: Operation) -> str:
        with pytest.raises(TypeError, match="async for"):
            list(op.map(coroutine, [1]))
        results = op.map(abs, [1])
        list(results)
        with pytest.raises(RuntimeError, match="once"):
            list(results)
        return "refused"

    assert (await bench.run("/misuse"))["result"] == "refused"
