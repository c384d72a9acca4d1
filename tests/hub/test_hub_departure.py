"""Sending connections away: evenly over the time that is given, few at once, none twice and none left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from restive.hub.departure import PACE, Departure, Usher
from scenarios.waiting import until


class Guest:
    """A connection that remembers how often it was asked to go."""

    def __init__(self, told: Callable[[Guest], None] = lambda _: None, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self.asked = 0
        self._told = told

    def drain(self) -> None:
        self.asked += 1
        self._told(self)


def party(count: int, within: float) -> tuple[Departure, list[Guest]]:
    departure, guests = Departure(within), [Guest() for _ in range(count)]
    for guest in guests:
        departure.add(guest, 100.0)
    return departure, guests


@settings(max_examples=60)
@given(
    count=st.integers(1, 3000),
    within=st.floats(0, 20),
    steps=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=30),
)
def test_they_go_evenly(count: int, within: float, steps: list[float]) -> None:
    departure, guests = party(count, within)
    now, gone = 100.0, list(departure.due(100.0))
    for step in steps:
        now += step
        due = departure.due(now)
        gone += due
        # Whoever comes by late finds more of them due, but never more than that time's share.
        assert len(due) <= max(PACE, count / within if within else count) * step + 2 or now - 100 >= within
    gone += departure.due(100.0 + within)
    assert sorted(map(id, gone)) == sorted(map(id, guests))
    assert not len(departure)


def test_so_many_are_due_after_so_much_of_the_time() -> None:
    departure, _ = party(10_000, 5.0)
    assert [len(departure.due(100 + second)) for second in range(7)] == [1, 2000, 2000, 2000, 2000, 1999, 0]


def test_a_few_do_not_wait_for_the_whole_time() -> None:
    departure, _ = party(20, 60.0)
    assert len(departure.due(100.1)) == 20


def test_who_has_gone_by_himself_has_no_turn() -> None:
    departure, guests = party(1000, 5.0)
    for guest in guests[::2]:
        departure.discard(guest)
    departure.discard(Guest())
    gone = [guest for second in range(6) for guest in departure.due(100.0 + second)]
    assert gone == guests[1::2]


def test_a_second_party_has_its_own_time() -> None:
    departure, _ = party(1000, 5.0)
    assert len(departure.due(105.0)) == 1000
    for _ in range(1000):
        departure.add(Guest(), 200.0)
    assert len(departure.due(201.0)) == 201


async def test_the_usher_asks_each_once_and_those_that_are_not_waited_for_first() -> None:
    order: list[Guest] = []
    usher = Usher(asyncio.get_running_loop(), 0.3)
    patient = [Guest(order.append) for _ in range(200)]
    hasty = Guest(order.append, keeps=False)
    for guest in (*patient, *patient, hasty):
        usher.add(guest)
    assert order == [hasty]
    await until(lambda: len(order) == 201)
    assert all(guest.asked == 1 for guest in (*patient, hasty))


async def test_one_that_fails_holds_up_no_other(caplog: object) -> None:
    def fail(_: Guest) -> None:
        raise RuntimeError("no")

    usher, guests = Usher(asyncio.get_running_loop(), 1.0), [Guest(fail), Guest()]
    for guest in guests:
        usher.add(guest)
    await until(lambda: guests[1].asked == 1)
