"""Reports are merged, the last one always arrives, and progress never goes back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.operations import Operation
from restive.operations.progress import Meter

counts = st.one_of(st.none(), st.integers(0, 10**9), st.floats(0, 1e9))


@given(st.lists(st.tuples(counts, counts, st.floats(0, 10)), max_size=30))
def test_progress_never_goes_back_and_stays_finite(reports):
    meter, now, last = Meter(), 0.0, 0.0
    for completed, total, later in reports:
        now += later
        meter = meter.report(now, completed, total).settle(now)
        progress = meter.progress
        assert progress.completed >= last
        last = progress.completed
        for value in (progress.rate, progress.eta):
            assert value is None or (math.isfinite(value) and value >= 0)


def test_rate_and_eta_follow_a_steady_pace():
    meter = Meter().report(0, 0, 100, "items")
    for second in range(1, 21):
        meter = meter.report(second, second * 2).settle(second)
    assert meter.progress.rate == pytest.approx(2)
    assert meter.progress.eta == pytest.approx(30)


def test_a_late_first_report_says_nothing_of_the_rate():
    meter = Meter().report(0, 500, 1000).settle(0.1)
    assert meter.progress.rate is None
    assert meter.report(1, 510).settle(1).progress.rate == pytest.approx(10)


def test_the_rate_follows_a_change_of_pace():
    meter = Meter().report(0, 0)
    for second in range(1, 61):
        meter = meter.report(second, min(second, 30) + max(0, second - 30) * 10).settle(second)
    assert 9 < meter.progress.rate <= 10


def test_a_new_unit_is_a_new_phase():
    meter = Meter().report(0, 50, 100, "pages", "reading").report(1, 1, 10, "files")
    assert (meter.progress.completed, meter.progress.total, meter.progress.unit) == (1, 10, "files")
    assert meter.progress.message == "reading"


def test_advancing_adds_to_what_is_known():
    meter = Meter().advance(0, 0, 10, "chunks").advance(1, 1).advance(2, 0, 5, "chunks")
    assert (meter.progress.completed, meter.progress.total) == (1, 15)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "3", True, [1]])
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValueError, match="completed="):
        Meter().report(0, value)


async def test_a_flood_of_reports_is_merged_and_the_last_arrives(new_bench):
    bench = new_bench(report_interval=0.02)

    @bench.operation("/floods")
    def flood(op: Operation) -> None:
        for number in range(1, 20_001):
            op.report(completed=number, total=20_000, unit="items", message=f"at {number}")

    final = await bench.run("/floods")
    assert final["progress"]["completed"] == 20_000
    assert final["progress"]["message"] == "at 20000"
    stored = bench.host.announced.count(final["links"]["self"])
    assert stored < 1000


async def test_the_last_report_arrives_while_the_function_is_busy(bench, gate):
    @bench.operation("/waits")
    def wait(op: Operation) -> None:
        op.report(completed=1, total=4)
        op.report(completed=2)
        gate.wait(10)

    location = (await bench.client.post("/waits")).headers["location"]
    seen = await bench.until(location, lambda it: it["progress"]["completed"] == 2)
    assert seen["status"] == "running"
    assert seen["progress"]["total"] == 4


async def test_a_nonsense_report_fails_the_operation_only(bench):
    @bench.operation("/nonsense")
    def report(op: Operation) -> None:
        op.report(completed=-3)

    assert (await bench.run("/nonsense"))["error"]["exception"] == "ValueError"
