"""The schedule: one look in flight, announcements coalesced, settle, recheck, backoff."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from restive.hub.schedule import UNANNOUNCED_LIMIT, Reason, Schedule
from restive.settings import Settings

SETTINGS = Settings()


def looked(schedule: Schedule, now: float, *, changed: bool = False, lifetime: float | None = None) -> bool:
    due = schedule.due()
    assert due is not None
    schedule.begin(due, now)
    return schedule.done(now, changed=changed, lifetime=lifetime)


def fresh(now: float = 0.0) -> Schedule:
    schedule = Schedule(SETTINGS, now, jitter=lambda: 0.0)
    looked(schedule, now)
    return schedule


def test_first_look_is_due_at_once() -> None:
    due = Schedule(SETTINGS, 5.0).due()
    assert due is not None
    assert (due.at, due.reason) == (5.0, Reason.FIRST)


def test_changes_during_a_look_cause_exactly_one_more() -> None:
    schedule = fresh()
    schedule.announce(10.0)
    due = schedule.due()
    assert due is not None
    schedule.begin(due, 10.0)
    for _ in range(5):
        schedule.announce(10.01)
    assert schedule.due() is None
    schedule.done(10.02, changed=True, lifetime=None)
    again = schedule.due()
    assert again is not None
    assert again.at == 10.0 + SETTINGS.min_interval
    schedule.begin(again, again.at)
    schedule.done(again.at, changed=False, lifetime=None)
    settle = schedule.due()
    assert settle is not None
    assert settle.at == 10.01 + SETTINGS.settle


def test_settle_comes_once_after_the_last_announcement() -> None:
    schedule = fresh()
    schedule.announce(10.0)
    looked(schedule, 10.0)
    schedule.announce(10.5)
    looked(schedule, 10.5)
    due = schedule.due()
    assert due is not None
    assert (due.at, due.reason) == (11.5, Reason.CHANGED)
    looked(schedule, 11.5)
    due = schedule.due()
    assert due is not None
    assert due.rights


def test_recheck_is_jittered_downwards_only() -> None:
    for jitter in (0.0, 0.5, 1.0):
        schedule = Schedule(SETTINGS, 0.0, jitter=lambda j=jitter: j)
        looked(schedule, 0.0)
        due = schedule.due()
        assert due is not None
        assert 45.0 <= due.at <= 60.0


def test_lifetime_never_below_the_floor() -> None:
    schedule = Schedule(SETTINGS, 0.0)
    looked(schedule, 0.0, lifetime=1.0)
    due = schedule.due()
    assert due is not None
    assert (due.at, due.reason) == (SETTINGS.revalidate_floor, Reason.RECHECK)


def test_unannounced_differences_slow_down_and_one_equal_look_restores() -> None:
    schedule = fresh()
    now, warned = 0.0, 0
    for _ in range(UNANNOUNCED_LIMIT + 3):
        due = schedule.due()
        assert due is not None
        now = due.at
        warned += looked(schedule, now, changed=True, lifetime=5.0)
    assert warned == 1
    assert schedule.slowed
    due = schedule.due()
    assert due is not None
    assert due.rights
    looked(schedule, due.at, changed=False, lifetime=5.0)
    assert not schedule.slowed


def test_failures_back_off_and_an_announcement_ends_the_backoff() -> None:
    schedule = fresh()
    delays, now = [], 100.0
    for _ in range(8):
        schedule.want(now)
        due = schedule.due()
        assert due is not None
        now = max(now, due.at)
        schedule.begin(due, now)
        schedule.failed(now, None)
        after = schedule.due()
        assert after is not None
        delays.append(after.at - now)
    assert delays == sorted(delays)
    assert delays[-1] <= SETTINGS.recheck
    schedule.announce(now + 1)
    due = schedule.due()
    assert due is not None
    assert due.at <= now + 1


def test_retry_after_is_obeyed_even_when_announced() -> None:
    schedule = fresh()
    schedule.announce(10.0)
    due = schedule.due()
    assert due is not None
    schedule.begin(due, 10.0)
    schedule.failed(10.0, 30.0)
    schedule.announce(11.0)
    due = schedule.due()
    assert due is not None
    assert due.at == 40.0


def test_a_refused_member_does_not_delay_the_next() -> None:
    schedule = fresh()
    schedule.announce(10.0)
    due = schedule.due()
    assert due is not None
    schedule.begin(due, 10.0)
    schedule.again(10.001)
    due = schedule.due()
    assert due is not None
    assert due.at <= 10.001


@example([("announce", 0.0), ("failed", 0.0), ("announce", 1.0), ("announce", 0.0), ("done", 0.0)])
@given(
    st.lists(
        st.tuples(st.sampled_from(["announce", "want", "done", "same", "failed"]), st.floats(0, 20)),
        max_size=60,
    )
)
def test_always_due_or_in_flight_and_never_faster_than_allowed(steps: list[tuple[str, float]]) -> None:
    """Whatever happens, a look is due within ``recheck``, and looks that count keep ``min_interval``."""
    schedule, now, begun = Schedule(SETTINGS, 0.0, jitter=lambda: 0.5), 0.0, float("-inf")
    for step, wait in steps:
        now += wait
        if step == "announce":
            schedule.announce(now)
        elif step == "want":
            schedule.want(now)
        elif schedule.in_flight is not None:
            if step == "failed":
                schedule.failed(now, None)
            else:
                schedule.done(now, changed=step == "done", lifetime=None)
        due = schedule.due()
        if schedule.in_flight is not None:
            assert due is None
            continue
        assert due is not None
        assert due.at <= now + SETTINGS.recheck
        if due.at <= now:
            assert now >= begun + SETTINGS.min_interval - 1e-9
            schedule.begin(due, now)
            begun = now
