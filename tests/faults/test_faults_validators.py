"""The validators themselves: good histories pass, and each bad one is found by the validator meant for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.history import (
    Asked,
    Closed,
    Event,
    Fault,
    History,
    Listed,
    PartRead,
    PartsListed,
    Residue,
    Submitted,
    View,
)
from faults.journal import Note
from faults.plans import FAULTS, plan
from faults.validators import judge

INTERRUPTED = {"type": "urn:restive:interrupted"}
OP, OTHER = "/threads/2/collect/one", "/threads/0/count/two"


def document(status: str, completed: int = 0, *, attempt: int = 1, **more: Any) -> dict[str, Any]:
    progress = {"completed": completed, "unit": "steps" if completed else None}
    found = {"status": status, "attempt": attempt, "parts": 0, "progress": progress, "result": None}
    return {**found, "error": None, **more}


def done(token: str = "t1", **more: Any) -> dict[str, Any]:
    attempt = more.get("attempt", 1)
    return document("succeeded", 3, result={"attempt": attempt, "token": token}, **{"parts": 1, **more})


def pushed(at: float, shown: dict[str, Any], *, op: str = OP, who: str = "sse-1") -> View:
    return View(at=at, who=who, over="sse", op=op, document=shown)


def got(
    at: float, shown: dict[str, Any] | None, *, op: str = OP, asked: float = 0.0, status: int = 200
) -> View:
    return View(at=at, asked=asked or at - 0.01, who="get", over="get", op=op, status=status, document=shown)


def begin(at: float, attempt: int = 1, *, op: str = "one", token: str = "t1") -> Note:
    return Note("begin", at, op, attempt, 1, {"token": token})


PUBLISHED = Note("published", 1.5, "one", 1, 1, {"name": "a", "asked": 1.4})


def good() -> History:
    """Two operations: one watched, with a part, and one that was cancelled while it ran."""
    canceled = document("canceled", 1)
    return History(
        [
            Submitted(at=0.1, key="k1", asked=0.0, status=0),
            Submitted(at=0.3, key="k1", asked=0.2, status=202, op=OP),
            Submitted(at=0.3, key="k2", asked=0.2, status=202, op=OTHER),
            pushed(1.0, document("queued")),
            got(1.1, document("running", 1)),
            pushed(1.2, document("running", 2)),
            PartsListed(at=1.6, op=OP, asked=1.55, parts=(("a", "d"),)),
            PartRead(at=1.7, op=OP, name="a", asked=1.6, status=200, whole=True, digest="d"),
            PartRead(at=1.7, op=OP, name="b", asked=1.6, status=200),
            pushed(2.0, done()),
            Closed(at=2.0, who="sse-1", op=OP, how="final"),
            Asked(at=1.5, what="cancel", op=OTHER, asked=1.4, status=202, document=document("running", 1)),
            got(3.0, done()),
            got(3.0, canceled, op=OTHER),
            PartsListed(at=3.1, op=OP, asked=3.05, parts=(("a", "d"),)),
            Listed(at=3.2, ops=(OP, OTHER)),
        ],
        [begin(0.5), begin(0.6, op="two"), PUBLISHED],
    )


def retried() -> History:
    """The first attempt is killed, the second succeeds."""
    return History(
        [
            Submitted(at=0.3, key="k1", asked=0.2, status=202, op=OP),
            Fault(at=1.0, until=1.5, what="kill-server"),
            pushed(0.9, document("running", 2)),
            pushed(1.6, document("queued", 0, attempt=2)),
            pushed(1.8, document("running", 1, attempt=2)),
            pushed(2.0, done("t2", attempt=2, parts=0)),
            Closed(at=2.0, who="sse-1", op=OP, how="final"),
            got(3.0, done("t2", attempt=2, parts=0)),
            PartsListed(at=3.1, op=OP, asked=3.05, parts=()),
            Listed(at=3.2, ops=(OP,)),
        ],
        [begin(0.5), begin(1.7, 2, token="t2")],
    )


def deleted() -> History:
    return History(
        [
            Submitted(at=0.3, key="k1", asked=0.2, status=202, op=OP),
            pushed(0.9, document("running", 2)),
            Asked(at=1.2, what="delete", op=OP, asked=1.1, status=204),
            Closed(at=1.3, who="sse-1", op=OP, how="410"),
            got(3.0, None, status=410),
            Listed(at=3.2, ops=()),
        ],
        [begin(0.5)],
    )


@pytest.mark.parametrize("history", [good(), retried(), deleted()], ids=["good", "retried", "deleted"])
def test_a_good_history_violates_nothing(history):
    assert judge(history) == []


def without(kind: type[Event]) -> Callable[[History], None]:
    def change(history: History) -> None:
        history.events = [each for each in history.events if not isinstance(each, kind)]

    return change


def add(*events: Event) -> Callable[[History], None]:
    return lambda history: history.events.extend(events)


def seen(*documents: dict[str, Any]) -> Callable[[History], None]:
    """By one more watcher, one after the other."""
    return add(*(pushed(1.0 + i / 10, each, who="more") for i, each in enumerate(documents)))


def write(*notes: Note) -> Callable[[History], None]:
    return lambda history: history.notes.extend(notes)


def instead(old: Event, **changes: Any) -> Callable[[History], None]:
    """With other values in one event."""

    def change(history: History) -> None:
        history.events[history.events.index(old)] = replace(old, **changes)

    return change


BAD: list[tuple[str, Callable[[], History], Callable[[History], Any]]] = [
    ("forward", good, seen(document("queued"), document("running"), document("queued"))),
    ("forward", good, add(got(2.6, done()), got(2.8, document("running", 3)))),
    ("forward", good, seen(done(), done() | {"status": "failed"})),
    ("forward", good, seen(document("running", parts=2), document("running", parts=1))),
    ("forward", retried, seen(document("queued", attempt=2), document("running", attempt=1))),
    ("progress", good, seen(document("running", 2), document("running", 1))),
    ("progress", good, add(got(1.3, document("running", 2)), got(1.5, document("running", 1)))),
    ("one_end", good, instead(good().events[12], document=document("running", 3))),
    ("one_end", good, instead(good().events[12], status=404, document=None)),
    ("one_end", good, add(pushed(2.0, done("t3"), who="p"), Closed(at=2, who="p", op=OP, how="final"))),
    ("one_end", deleted, instead(deleted().events[4], status=404)),
    ("gone_stays_gone", deleted, add(got(1.5, document("running", 2)))),
    ("gone_stays_gone", deleted, write(begin(8.0, 2))),
    ("equal", good, instead(good().events[9], document=document("running", 3))),
    ("equal", good, without(Closed)),
    ("equal", good, instead(good().events[10], how="503")),
    ("equal", good, add(Closed(at=1.0, who="ndjson-7", op=OP, how="final"))),
    ("single", good, write(begin(0.7))),
    ("single", good, instead(good().events[12], document=done("other"))),
    ("fenced", retried, write(Note("published", 1.9, "one", 1, 1, {"name": "a", "asked": 1.8}))),
    ("alone", retried, lambda it: (without(Fault)(it), it.notes.append(Note("step", 1.9, "one", 1, 1)))),
    ("excused", retried, without(Fault)),
    ("excused", retried, instead(retried().events[1], what="roll")),
    ("retried", retried, seen(document("running", attempt=4))),
    ("retried", good, instead(good().events[12], document=document("failed", error=INTERRUPTED))),
    ("retried", good, instead(good().events[12], document=document("failed", attempt=3, error={}))),
    ("canceled", good, write(begin(2.0, 2, op="two"))),
    ("canceled", good, instead(good().events[11], document=document("queued"))),
    ("parts", good, add(PartsListed(at=3.4, op=OP, asked=3.3, parts=()))),
    ("parts", good, instead(good().events[14], parts=(("a", "d"), ("a", "d")))),
    ("parts", good, without(PartRead)),
    ("parts", good, instead(good().events[7], digest="e")),
    ("parts", good, instead(good().events[8], whole=True)),
    ("parts", good, write(replace(PUBLISHED, detail={"name": "c", "asked": 1.0}))),
    ("parts", good, instead(good().events[12], document=done(parts=2))),
    ("idempotent", good, add(Submitted(at=0.4, key="k1", asked=0.3, status=202, op=OP + "3"))),
    ("idempotent", good, instead(good().events[2], op=OP)),
    ("idempotent", good, add(Submitted(at=0.4, key="k3", asked=0.3, status=0))),
    ("idempotent", good, write(begin(0.7, op="three"))),
    ("idempotent", good, instead(good().events[15], ops=(OP,))),
    ("idempotent", deleted, instead(deleted().events[5], ops=(OP,))),
    ("nothing_left", good, add(Residue(at=4.0, what="process 7"))),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "base", "spoil"), BAD, ids=[f"{i}-{it[0]}" for i, it in enumerate(BAD)])
def test_a_bad_history_is_found(promise, base, spoil):
    history = base()
    spoil(history)
    assert promise in {each.promise for each in judge(history)}


def test_gets_that_overlap_in_time_may_answer_in_any_order():
    history = good()
    history.add(got(1.5, document("running", 2), asked=1.2))
    history.add(got(1.6, document("running", 1), asked=1.3))
    assert judge(history) == []


def test_a_fault_before_the_answer_that_acknowledged_it_excuses_an_interruption():
    history = retried()
    instead(history.events[0], asked=1.51, at=1.55)(history)
    history.add(Submitted(at=0.2, key="k1", asked=0.1, status=0))
    assert judge(history) == []


def test_a_late_process_excuses_an_interruption():
    history = retried()
    without(Fault)(history)
    history.notes.append(Note("late", 1.2, detail={"seconds": 1.1}))
    assert judge(history) == []


def test_the_report_names_operations_and_faults():
    text = retried().told([OP], 0.0)
    assert "kill-server" in text
    assert "status=succeeded attempt=2" in text


def test_a_plan_is_the_same_for_the_same_seed_and_all_faults_occur():
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert {step.what for seed in range(60) for step in plan(seed).steps} == set(FAULTS)
