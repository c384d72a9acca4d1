"""``restive.tqdm``: tqdm outside of operations; inside, its bars are the operation's progress."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import tqdm as plain
from hypothesis import given
from hypothesis import strategies as st
from tqdm.contrib.concurrent import thread_map
from tqdm_functions import meeting

from restive.operations import Operation
from restive.tqdm import _board_of, _Tally, tqdm, trange


def progress(document: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(document["progress"][name] for name in ("completed", "total", "unit", "message"))


@pytest.fixture
def run(bench) -> Callable[[Callable[[], Any]], Any]:
    """The document of an operation that has called ``function``, once it is final."""

    async def run(function: Callable[[], Any]) -> dict[str, Any]:
        bench.operation("/it")(function)
        return await bench.run("/it")

    return run


# In an operation


async def test_a_loop_is_the_progress_and_prints_nothing(run, capfd):
    def work() -> int:
        return sum(tqdm(range(10), "adding", unit="numbers"))

    final = await run(work)
    assert (final["result"], progress(final)) == (45, (10, 10, "numbers", "adding"))
    assert capfd.readouterr() == ("", "")


async def test_every_item_of_a_fast_loop_is_counted_and_few_are_reported(run):
    def work() -> None:
        for _ in trange(100_000):
            pass

    assert progress(await run(work)) == (100_000, 100_000, "it", None)


async def test_it_is_seen_while_it_runs_and_the_inner_bars_are_the_message(bench, gate):
    @bench.operation("/it")
    def work() -> None:
        for epoch in tqdm(range(3), desc="fit", unit="epoch"):
            for batch in tqdm(range(8), desc="batches", unit="b", leave=False):
                if (epoch, batch) == (1, 5):
                    gate.wait()

    url = (await bench.client.post("/it")).headers["location"]
    seen = await bench.until(url, lambda it: "5/8" in str(it["progress"]["message"]))
    assert progress(seen) == (1, 3, "epoch", "fit · batches: 5/8 b")
    gate.set()
    assert progress(await bench.done(url)) == (3, 3, "epoch", "fit")


async def test_bars_of_one_unit_that_follow_each_other_count_on(run):
    def work() -> list[float]:
        for total in (3, 2):
            for _ in tqdm(range(total)):
                pass
        with tqdm(total=4, desc="last") as bar:
            bar.update(1)
        return []

    assert progress(await run(work)) == (6, 9, "it", "last")


async def test_another_unit_begins_a_new_phase(run):
    def work() -> None:
        list(tqdm(range(30), unit="rows"))
        list(tqdm(range(4), unit="files"))

    assert progress(await run(work)) == (4, 4, "files", None)


def _unknown_total() -> None:
    for _ in tqdm(iter("abc")):
        pass


def _early_end() -> None:
    for number in tqdm(range(100)):
        if number == 7:
            break


def _by_hand() -> None:
    with tqdm(total=10) as bar:
        bar.update(2)
        bar.update(3)


def _scaled() -> None:
    with tqdm(total=4000, unit=" kB", unit_scale=0.001) as bar:
        bar.update(1000)


def _resumed() -> None:
    with tqdm(total=10, initial=6) as bar:
        bar.update(1)


def _reset() -> None:
    bar = tqdm(total=3)
    bar.update(3)
    bar.reset(total=5)
    bar.update(1)
    bar.close()


def _more_than_said() -> None:
    with tqdm(total=2) as bar:
        bar.update(5)


def _back() -> None:
    with tqdm(total=5) as bar:
        bar.update(3)
        bar.update(-2)


def _described() -> None:
    with tqdm(total=1) as bar:
        bar.set_description("training")
        bar.set_postfix(loss=0.25)


def _explained_later() -> None:
    with tqdm(total=1, desc="a: ") as bar:
        bar.set_postfix_str("b")
        bar.update()


def _endless() -> None:
    with tqdm(total=float("inf")) as bar:
        bar.update()


def _of_numpy() -> None:
    import numpy as np

    with tqdm(total=np.int64(4)) as bar:
        bar.update(np.float32(1.5))


def _nonsense() -> None:
    for total, n in ((float("nan"), 1), (-3, float("inf")), ("many", 1)):
        bar = tqdm(total=0, unit=None)
        bar.total, bar.n = total, n
        bar.refresh()
        bar.close()


def _left_open() -> None:
    bar = tqdm(total=3, leave=False)
    bar.update(2)
    bar.refresh()
    del bar
    list(tqdm(range(5)))


def _disabled() -> None:
    list(tqdm(range(5), disable=True))


def _disabled_where_nobody_looks() -> None:
    list(tqdm(range(5), disable=None))


def _of_bytes() -> None:
    with tqdm.wrapattr(io.BytesIO(b"x" * 100), "read", total=100) as file:
        file.read(70)


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (_unknown_total, (3, None, "it", None)),
        (_early_end, (7, 100, "it", None)),
        (_by_hand, (5, 10, "it", None)),
        (_scaled, (1.0, 4.0, "kB", None)),
        (_resumed, (7, 10, "it", None)),
        (_reset, (4, 8, "it", None)),
        (_more_than_said, (5, 5, "it", None)),
        (_back, (3, 5, "it", None)),
        (_described, (0, 1, "it", "training, loss=0.25")),
        (_explained_later, (1, 1, "it", "a, b")),
        (_endless, (1, None, "it", None)),
        (_of_numpy, (1.5, 4, "it", None)),
        (_nonsense, (2, 2, None, None)),
        (_left_open, (7, 7, "it", None)),
        (_disabled, (0, None, None, None)),
        (_disabled_where_nobody_looks, (5, 5, "it", None)),
        (_of_bytes, (70, 100, "B", None)),
    ],
    ids=lambda it: it.__name__.strip("_") if callable(it) else "",
)
async def test_what_bars_say(run, function, shown):
    final = await run(function)
    assert final["error"] is None
    assert progress(final) == shown


async def test_what_the_function_says_stays_where_bars_say_nothing(run, bench):
    @bench.operation("/said")
    def work(op: Operation) -> None:
        op.report(message="mine")
        list(tqdm(range(2)))

    assert progress(await bench.run("/said")) == (2, 2, "it", "mine")


async def test_a_bar_that_is_closed_takes_its_message_with_it(run):
    def work() -> None:
        with tqdm(total=2) as outer:
            list(tqdm(range(3), desc="inner"))
            outer.update(2)

    assert progress(await run(work)) == (2, 2, "it", "")


async def test_big_numbers_of_inner_bars_are_short(bench, gate):
    @bench.operation("/it")
    def work() -> None:
        with tqdm(total=1), tqdm(total=5_000_000, unit="B", unit_scale=True) as inner:
            inner.update(1_500_000)
            inner.refresh()
            gate.wait()

    url = (await bench.client.post("/it")).headers["location"]
    seen = await bench.until(url, lambda it: it["progress"]["message"] is not None)
    while "1.50M" not in seen["progress"]["message"]:
        seen = await bench.until(url, lambda it: it["progress"]["message"])
    assert seen["progress"]["message"] == "1.50M/5.00M B"


async def test_the_environment_silences_terminals_only(run, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")

    def work() -> None:
        list(tqdm(range(3)))

    assert progress(await run(work)) == (3, 3, "it", None)


async def test_an_unknown_argument_is_refused_as_by_tqdm(run):
    final = await run(lambda: tqdm(range(3), colors="red"))
    assert final["error"]["exception"] == "TqdmKeyError"


# Its end


def _cancel_in_a_loop() -> None:
    for _ in tqdm(itertools.count(), "counting"):
        pass


def _cancel_by_hand() -> None:
    with tqdm() as bar:
        while True:
            bar.update()


async def _cancel_awaited() -> None:
    async for _ in tqdm(itertools.count()):
        await asyncio.sleep(0)


@pytest.mark.parametrize("function", [_cancel_in_a_loop, _cancel_by_hand, _cancel_awaited])
async def test_cancel_reaches_the_next_iteration(bench, function):
    bench.operation("/it")(function)
    url = (await bench.client.post("/it")).headers["location"]
    await bench.until(url, lambda it: it["progress"]["completed"] > 0)
    await bench.client.post(f"{url}/cancel")
    assert (await bench.done(url))["status"] == "canceled"


async def test_a_thread_of_the_functions_own_is_not_troubled(bench, gate):
    """Such a thread may count; that the operation is to end is told to the function."""
    ended: list[str] = []

    @bench.operation("/it")
    def work() -> None:
        bar = tqdm(total=3)

        def count() -> str:
            gate.wait()
            bar.update()
            return "counted"

        with ThreadPoolExecutor() as pool:
            futures = [pool.submit(count) for _ in range(2)]
            bar.update()
            ended.extend(future.result() for future in futures)
        bar.update(0)

    url = (await bench.client.post("/it")).headers["location"]
    await bench.until(url, lambda it: it["progress"]["completed"] == 1)
    await bench.client.post(f"{url}/cancel")
    gate.set()
    assert (await bench.done(url))["status"] == "canceled"
    assert ended == ["counted", "counted"]


async def test_thread_map(run):
    def work() -> list[int]:
        return thread_map(abs, range(50), max_workers=2, tqdm_class=tqdm)

    final = await run(work)
    assert (final["result"], progress(final)) == (list(range(50)), (50, 50, "it", None))


async def test_a_bar_that_outlives_its_operation_is_harmless(run):
    kept: list[Any] = []

    def work() -> None:
        kept.append(tqdm(total=3))

    await run(work)
    bar = kept.pop()
    bar.update(1)
    bar.close()
    assert bar.n == 1


async def test_a_loop_that_the_garbage_collector_ends_waits_for_no_lock(bench):
    @bench.operation("/garbage")
    def work(op: Operation) -> None:
        loop = iter(tqdm(range(9)))
        next(loop), next(loop)
        cycle: list[Any] = [loop]
        cycle.append(cycle)
        del loop, cycle
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with _board_of(op)._lock:
                held.set()
                over.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        gc.collect()
        over.set()
        holder.join()
        list(tqdm(range(5)))

    assert progress(await bench.run("/garbage")) == (6, 6, "it", None)


# In coroutines


async def test_coroutines(run):
    async def items():
        for number in range(4):
            yield number

    async def work() -> list[int]:
        awaited = [number async for number in tqdm(items(), total=4)]
        plain_items = [number async for number in tqdm([7, 8])]
        gathered = await tqdm.gather(*(asyncio.sleep(0, result=number) for number in (1, 2)))
        completed = [await each for each in tqdm.as_completed([asyncio.sleep(0, result=5)])]
        return [*awaited, *plain_items, *gathered, *completed]

    final = await run(work)
    assert final["result"] == [0, 1, 2, 3, 7, 8, 1, 2, 5]
    assert progress(final) == (9, 9, "it", None)


async def test_an_iterable_is_begun_once_and_late(run):
    begun: list[str] = []

    class Items:
        def __iter__(self):
            begun.append("iter")
            return iter("ab")

    def work() -> list[str]:
        bar = tqdm(Items())
        assert begun == []
        return list(bar)

    assert (await run(work))["result"] == ["a", "b"]
    assert begun == ["iter"]


# With op.map


async def test_a_bar_round_op_map_is_the_message(bench):
    @bench.operation("/it")
    def work(op: Operation) -> int:
        return sum(tqdm(op.map(abs, range(5), unit="numbers"), desc="adding", total=5))

    assert progress(await bench.run("/it")) == (5, 5, "numbers", "adding")


async def test_a_bar_round_op_map_of_coroutines_is_the_message(bench):
    @bench.operation("/it")
    async def work(op: Operation) -> int:
        async def same(number: int) -> int:
            list(tqdm(range(3), desc="inner"))
            return number

        return sum([number async for number in tqdm(op.map(same, range(5), unit="numbers"), "adding")])

    final = await bench.run("/it")
    assert (final["result"], progress(final)) == (10, (5, 5, "numbers", "adding"))


async def test_bars_in_the_items_of_op_map_are_messages_on_every_thread(bench, gate, capfd):
    barrier = threading.Barrier(2, timeout=10)  # both workers have to be at an item at once

    @bench.operation("/it")
    def work(op: Operation) -> int:
        def item(number: int) -> int:
            for step in tqdm(range(10), desc=f"item {number}"):
                if step == 0:
                    barrier.wait()
                if step == 4:
                    gate.wait()
            return number

        return sum(op.map(item, range(2), unit="items"))

    url = (await bench.client.post("/it")).headers["location"]
    seen = await bench.until(url, lambda it: str(it["progress"]["message"]).count("4/10") == 2)
    assert progress(seen)[:3] == (0, 2, "items")
    assert sorted(seen["progress"]["message"].split(" · ")) == ["item 0: 4/10 it", "item 1: 4/10 it"]
    gate.set()
    assert progress(await bench.done(url)) == (2, 2, "items", "")
    assert capfd.readouterr() == ("", "")


async def test_bars_in_items_that_other_processes_work_on_are_silent(bench):
    bench.operation("/it", engine="processes")(meeting)
    final = await bench.run("/it")
    assert final["result"] == {"true": False, "false": True}, final["error"]
    assert progress(final)[:3] == (2, 2, "items")


# With pandas


async def test_pandas(run):
    pandas = pytest.importorskip("pandas")

    def work() -> int:
        tqdm.pandas(desc="doubling", unit="rows")
        return int(pandas.Series(range(20)).progress_apply(lambda number: 2 * number).sum())

    final = await run(work)
    assert (final["result"], progress(final)) == (380, (20, 20, "rows", "doubling"))


async def test_pandas_is_canceled(bench):
    pandas = pytest.importorskip("pandas")

    @bench.operation("/it")
    def work() -> None:
        tqdm.pandas()
        while True:
            pandas.Series(range(1000)).progress_apply(abs)

    url = (await bench.client.post("/it")).headers["location"]
    await bench.until(url, lambda it: it["progress"]["completed"] > 0)
    await bench.client.post(f"{url}/cancel")
    assert (await bench.done(url))["status"] == "canceled"


# Outside of operations


def test_outside_it_is_tqdm():
    assert issubclass(tqdm, plain.tqdm)
    shown, expected = io.StringIO(), io.StringIO()
    for kind, file in ((tqdm, shown), (plain.tqdm, expected)):
        bar = kind(["a", "b"], "desc", file=file, ncols=60, bar_format="{desc}: {n}/{total}", mininterval=0)
        assert list(bar) == ["a", "b"]
        with kind(total=2, file=file, bar_format="{n}") as bar:
            bar.update(1)
            bar.reset(total=3)
            bar.set_postfix(x=1)
            bar.clear()
    assert shown.getvalue() == expected.getvalue()
    assert "desc: 2/2" in shown.getvalue()


def test_outside_trange_counts(capfd):
    assert list(trange(2, 5, desc="x")) == [2, 3, 4]
    assert "3/3" in capfd.readouterr().err


async def test_outside_it_can_be_awaited():
    file = io.StringIO()
    assert [number async for number in tqdm(range(3), file=file)] == [0, 1, 2]
    assert "3/3" in file.getvalue()


def test_without_tqdm_it_says_what_to_install():
    code = "import sys; sys.modules['tqdm'] = None\nimport restive.tqdm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'pip install "restive[tqdm]"' in done.stderr


# The count


COUNTS = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 50), st.none() | st.integers(0, 50), st.sampled_from(["a", "b", None])
    )
)


@given(COUNTS)
def test_a_tally_never_goes_back_within_a_unit(counts):
    tally, before, unit_before = _Tally(), 0, None
    for restart, n, total, unit in counts:
        if restart:
            tally.restart()
        completed, known, said = tally.count(n, total, unit)
        assert said == unit
        assert completed >= (before if unit == unit_before else n)
        assert known is None or known >= completed
        before, unit_before = completed, unit
