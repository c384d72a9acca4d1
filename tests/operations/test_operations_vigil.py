"""A lease is over when it was seen unchanged for its whole time, whatever the clocks of machines say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from restive.operations.record import OperationRecord
from restive.operations.vigil import Vigil


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def running(now: float, seconds: float = 15.0) -> OperationRecord:
    """Claimed when the holder's clock said ``now``."""
    claimed = OperationRecord("it", "/d", "/d", "/d", created=0, retention=1).claimed("me", now, seconds)
    assert claimed is not None
    return claimed


def vigil_of(clock: Clock, dead: bool = False) -> Vigil:
    return Vigil(lambda _: dead, clock)


def test_one_that_stays_as_it_is_for_its_whole_time_is_over():
    clock = Clock()
    vigil, operation = vigil_of(clock), running(5.0)
    assert not vigil.lost(operation)
    clock.now += 14.9
    assert not vigil.lost(operation)
    clock.now += 0.1
    assert vigil.lost(operation)


def test_whose_holder_is_dead_is_over_at_once():
    assert vigil_of(Clock(), dead=True).lost(running(5.0))


@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.1, 14.8), min_size=1, max_size=20))
def test_one_that_is_renewed_in_time_is_never_over(skew, pauses):
    """``skew`` is how far the holder's clock is from this one."""
    clock = Clock()
    vigil, operation = vigil_of(clock), running(clock.now + skew)
    for pause in pauses:
        assert not vigil.lost(operation)
        clock.now += pause
        assert not vigil.lost(operation)
        operation = operation.renewed(1, operation.progress, clock.now + skew + 15.0)


def test_a_holder_says_for_how_long():
    """The settings of the machines may differ, and the holder's own count."""
    clock = Clock()
    vigil, operation = vigil_of(clock), running(5.0, seconds=60.0)
    assert not vigil.lost(operation)
    clock.now += 59
    assert not vigil.lost(operation)
    clock.now += 1
    assert vigil.lost(operation)


def test_what_runs_no_more_is_forgotten():
    clock = Clock()
    vigil, operation = vigil_of(clock), running(5.0)
    vigil.lost(operation)
    assert vigil.watched() == [("it", "me")]
    vigil.keep(["another"])
    clock.now += 100
    assert vigil.watched() == []
    assert not vigil.lost(operation)  # it is seen for the first time
