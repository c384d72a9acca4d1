"""The fault table's validators: a good history passes, and each bad one is found by the one meant for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.history import Event, Fault, History, Submitted, View
from faults.table.events import (
    Appended,
    Ended,
    Fleet,
    Inside,
    Put,
    Read,
    Reader,
    Refused,
    Resident,
    Settled,
    Told,
    Watcher,
    Wiped,
)
from faults.table.promises import judge
from faults.table.schedule import FAULTS, schedule, shape

THING, LOG = "/things/a", "/logs/a"


def put(at: float, version: int, *, status: int = 200) -> Put:
    return Put(at=at, asked=at - 0.05, resource=THING, version=version, node=0, status=status)


def told(at: float, version: int, *, who: str = "w", link: int = 1, **more: Any) -> Told:
    values = {"way": "sse-query", "kind": "state", "asked": 0.5, "etag": f'"{version}"', **more}
    return Told(at=at, who=who, link=link, node=1, resource=THING, version=version, **values)


def current(at: float, version: int, **more: Any) -> Told:
    return replace(told(at, version, **more), kind="current", version=0)


def append(at: float, *numbers: int, by: str = "p", status: int = 200) -> Appended:
    items = tuple((by, number) for number in numbers)
    return Appended(at=at, asked=at - 0.05, stream=LOG, items=items, node=0, status=status)


def got(at: float, offset: int, *items: tuple[str, int], who: str = "r", closed: bool = False) -> Read:
    values: dict[str, Any] = {"way": "sse", "node": 1, "stream": LOG, "asked": 0.5, "after": "-1"}
    return Read(at=at, who=who, items=items, offset=f"{offset:04}", closed=closed, **values)


P0, P1, P2, Q0 = ("p", 0), ("p", 1), ("p", 2), ("q", 0)


def good() -> History:
    """One resource and one stream, two watchers and two readers; one writes on while a node is down."""
    return History(
        [
            Watcher(at=0.4, who="w", resource=THING),
            Watcher(at=0.4, who="poller", resource=THING),
            told(0.6, 0),
            put(1.0, 1, status=0),
            put(1.1, 1),
            told(1.2, 1),
            told(1.3, 1, who="poller", way="poll", asked=1.25),
            Fault(at=1.35, until=1.45, what="kill-node"),
            put(1.5, 2),
            current(1.6, 1, link=2),
            told(1.7, 2, link=2),
            current(1.8, 2, link=3),
            told(1.9, 2, who="poller", way="poll", asked=1.85),
            Reader(at=0.5, who="r", stream=LOG),
            Reader(at=0.5, who="s", stream=LOG),
            append(1.0, 0, status=0),
            append(1.1, 0, status=204),
            append(1.2, 0, by="q"),
            append(1.3, 1, 2),
            got(1.4, 2, P0, Q0),
            got(1.5, 4, P1, P2),
            got(1.5, 4, P0, Q0, P1, P2, who="s"),
            got(1.6, 4, closed=True),
            Settled(at=2.0, begun=1.6),
            Inside(
                at=2.1, pid=7, before={"restive.hub.watch.Watch": 1}, after={"restive.hub.watch.Watch": 2}
            ),
            Resident(at=2.1, pid=7, sizes=(50 << 20,) * 4 + (60 << 20,) * 20),
        ]
    )


def wiped() -> History:
    """The backend loses its data; the reader's offset is refused, and it begins anew with what came later."""
    return History(
        [
            Reader(at=0.5, who="r", stream=LOG),
            append(1.0, 0),
            append(1.9, 1),
            got(1.2, 1, P0),
            Wiped(at=2.0, until=2.2),
            append(2.3, 1, status=404),
            append(3.5, 2),
            Refused(at=3.6, who="r", node=0, stream=LOG, asked=3.5, after="0001", status=400),
            got(3.8, 1, P2),
            Submitted(at=1.2, key="k", asked=1.1, status=202, op="/threads/2/count/one"),
        ]
    )


@pytest.mark.parametrize("history", [good(), wiped()], ids=["good", "wiped"])
def test_a_good_history_violates_nothing(history):
    assert judge(history) == []


def add(*events: Event) -> Callable[[History], None]:
    return lambda history: history.events.extend(events)


def instead(old: Event, **changes: Any) -> Callable[[History], None]:
    """With other values in one event."""

    def change(history: History) -> None:
        history.events[history.events.index(old)] = replace(old, **changes)

    return change


def without(old: Event) -> Callable[[History], None]:
    return lambda history: history.events.remove(old)


ENDED = told(1.75, 2, link=2, kind="end", detail="404")
OPERATION = "/threads/2/count/two"

BAD: list[tuple[str, Callable[[], History], Callable[[History], Any]]] = [
    ("real", good, instead(told(1.2, 1), sound=False)),
    ("real", good, add(told(1.95, 3))),
    ("real", good, instead(told(1.2, 1), at=0.9)),
    ("real", good, instead(told(1.7, 2, link=2), etag='"1"')),
    ("understood", good, add(ENDED)),
    ("understood", good, add(replace(ENDED, kind="odd"))),
    ("in_order", good, add(told(1.75, 1, link=2), told(1.8, 2, link=2))),
    ("in_order", good, add(current(1.25, 0))),
    ("up_to_date", good, instead(told(1.9, 2, who="poller", way="poll", asked=1.85), version=1, etag='"1"')),
    ("up_to_date", good, add(current(1.95, 1, who="poller", way="poll", asked=1.9))),
    ("up_to_date", good, add(put(6.0, 3), current(9.5, 2, link=4), told(9.6, 3, link=4))),
    ("up_to_date", good, add(put(6.0, 3), told(9.5, 2, link=4), told(9.6, 3, link=4))),
    ("ends_on_last", good, add(current(1.95, 1, link=4))),
    ("ends_on_last", good, add(put(1.95, 3))),
    ("ends_on_last", good, add(Watcher(at=1.0, who="nobody", resource=THING))),
    ("in_time", good, instead(Settled(at=2.0, begun=1.6), late=("w",))),
    ("polite", good, add(put(1.2, 1, status=500))),
    ("returns", good, add(Inside(at=2.1, pid=8, after={"restive.hub.watch.Watch": 3}))),
    ("bounded", good, add(Resident(at=2.1, pid=8, sizes=(50 << 20,) * 20 + (80 << 20,) * 4))),
    ("genuine", good, instead(got(1.4, 2, P0, Q0), items=(P0, ("q", 7)))),
    ("genuine", good, instead(got(1.4, 2, P0, Q0), at=0.9)),
    ("once", good, instead(got(1.5, 4, P1, P2), items=(P0, P1, P2))),
    ("sorted_by_writer", good, instead(got(1.5, 4, P1, P2), items=(P2, P1))),
    ("one_order", good, instead(got(1.4, 2, P0, Q0), items=(Q0, P0))),
    ("complete", good, without(got(1.5, 4, P1, P2))),
    ("complete", good, instead(got(1.5, 4, P1, P2), items=(P1,))),
    ("complete", good, add(Reader(at=1.0, who="nobody", stream=LOG))),
    ("complete", wiped, without(got(3.8, 1, P2))),
    ("one_life", wiped, without(wiped().events[7])),
    ("refused_rightly", good, add(replace(wiped().events[7], at=1.55, stream=LOG))),
    ("accepted", good, instead(append(1.0, 0, status=0), status=409)),
    ("accepted", good, instead(append(1.0, 0, status=0), status=404)),
    ("accepted", wiped, instead(append(2.3, 1, status=404), status=500)),
    ("accepted", wiped, instead(append(1.0, 0), status=404)),
    ("offsets", good, instead(got(1.5, 4, P1, P2), offset="0002")),
    ("one_end", good, add(Submitted(at=1.2, key="k", asked=1.1, status=202, op=OPERATION))),
    ("one_end", wiped, add(Submitted(at=7.2, key="k2", asked=7.1, status=202, op=OPERATION))),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "base", "spoil"), BAD, ids=[f"{i}-{it[0]}" for i, it in enumerate(BAD)])
def test_a_bad_history_is_found(promise, base, spoil):
    history = base()
    spoil(history)
    assert promise in {each.promise for each in judge(history)}


def test_whoever_is_harmed_may_be_told_late_by_a_watch():
    history = good()
    instead(told(1.7, 2, link=2), at=9.0)(history)
    instead(current(1.8, 2, link=3), at=9.1)(history)
    history.add(Fault(at=4.0, until=8.0, what="stop-node"))
    assert judge(history) == []


def killed_before_it_announced() -> History:
    """A node that was cut off has taken a write, and is killed before it has a way to tell the others."""
    history = good()
    history.events += [
        Fleet(at=0.1, recheck=60.0),
        Fault(at=1.9, until=2.5, what="cut-net"),
        put(2.0, 3),
        Ended(at=3.0, node=0, orderly=False),
        Fault(at=3.0, until=4.0, what="kill-node"),
    ]
    return history


def test_what_nobody_alive_knows_is_seen_at_the_recheck():
    assert judge(killed_before_it_announced()) == []


@pytest.mark.parametrize(
    "change",
    [
        instead(Fleet(at=0.1, recheck=60.0), recheck=5.0),
        instead(Fault(at=1.9, until=2.5, what="cut-net"), what="stop-node"),
        instead(Ended(at=3.0, node=0, orderly=False), node=1),
        instead(Ended(at=3.0, node=0, orderly=False), at=1.8),
        add(replace(put(2.6, 4), node=1)),
    ],
    ids=["rechecked", "had a way", "another node", "before", "a later one"],
)
def test_what_somebody_knows_reaches_all(change):
    history = killed_before_it_announced()
    change(history)
    assert {each.promise for each in judge(history)} == {"ends_on_last"}


def test_an_interruption_is_excused_for_a_while_after_a_fault():
    progress = {"completed": 1, "unit": "steps"}
    result = {"attempt": 2, "token": None}
    document = {"status": "succeeded", "attempt": 2, "parts": 0, "progress": progress, "result": result}
    document["error"] = None
    events = [
        Fault(at=1.0, until=2.0, what="cut-net"),
        Submitted(at=4.0, key="k", asked=3.9, status=202, op=OPERATION),
        View(at=5.0, asked=4.9, who="get", over="get", op=OPERATION, document=document),
    ]
    assert "excused" not in {each.promise for each in judge(History(events))}
    assert "excused" in {each.promise for each in judge(History(events[1:]))}


@pytest.mark.parametrize("backend", FAULTS)
def test_a_schedule_is_the_same_for_the_same_seed_and_all_faults_occur(backend):
    assert schedule(backend, 7) == schedule(backend, 7)
    assert schedule(backend, 7) != schedule(backend, 8)
    assert shape(backend, 25) == shape(backend, 49)
    struck = {strike.what for seed in range(400) for strike in schedule(backend, seed).strikes}
    expected = {*FAULTS[backend], "wipe"} - ({"kill-worker", "wipe"} if backend == "memory" else set())
    assert struck == expected
