"""One function for each promise: it reads a history and yields what violates it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .history import (
    FINAL,
    Asked,
    Closed,
    Fault,
    History,
    Listed,
    PartRead,
    PartsListed,
    Residue,
    Submitted,
    View,
)

CALM = {"count", "collect", "follow", "spread", "wait", "digest"}
"""The kinds of operation that succeed where nobody harms them."""

RANK = {"queued": 0, "running": 1, **dict.fromkeys(FINAL, 2)}
INTERRUPTED = "urn:restive:interrupted"
STEPS_AFTER = 3.0
"""Seconds within which a function that is to stop may still begin: it was claimed before."""


@dataclass(frozen=True, slots=True)
class Violation:
    """``op`` is empty where it concerns none."""

    promise: str
    op: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.op} {self.text}"


Found = Iterator[tuple[str, str]]
Validator = Callable[[History], Found]


def judge(history: History) -> list[Violation]:
    """Everything that a history violates."""
    return [
        Violation(validator.__name__, op, text) for validator in VALIDATORS for op, text in validator(history)
    ]


# What follows what


def successions(history: History, op: str) -> Iterator[tuple[View, View]]:
    """Pairs of views of which the second must not be behind the first.

    Each watcher's views in their order; of the GETs those that do not overlap in time, whoever made them.
    """
    watchers: dict[str, list[View]] = defaultdict(list)
    for view in history.of(View, op):
        if view.document is not None:
            watchers[view.who if view.over != "get" else ""].append(view)
    gets = sorted(watchers.pop("", []), key=lambda it: it.asked)
    for views in watchers.values():
        yield from pairwise(views)
    answered = sorted(gets, key=lambda it: it.at)
    front: View | None = None
    for later in gets:
        while answered and answered[0].at < later.asked:
            earlier = answered.pop(0)
            front = earlier if front is None or _place(earlier) >= _place(front) else front
        if front is not None:
            yield front, later


def _place(view: View) -> tuple[Any, ...]:
    assert view.document is not None
    document = view.document
    return (
        document["attempt"],
        RANK[document["status"]],
        document["parts"],
        document["progress"]["completed"],
    )


def forward(history: History) -> Found:
    """(attempt, status) only moves forward, the number of parts never shrinks, a final state stays."""
    for op in history.acknowledged():
        for before, after in successions(history, op):
            old, new = before.document, after.document
            assert old is not None
            assert new is not None
            if _place(after)[:2] < _place(before)[:2]:
                yield op, f"went back from {_short(old)} to {_short(new)} ({after.who})"
            elif new["parts"] < old["parts"]:
                yield op, f"had {old['parts']} parts, then {new['parts']} ({after.who})"
            elif old["status"] in FINAL and old != new:
                yield op, f"changed after its end: {_short(old)} to {_short(new)} ({after.who})"


def progress(history: History) -> Found:
    """Within one attempt and unit the count never goes back."""
    for op in history.acknowledged():
        for before, after in successions(history, op):
            assert before.document is not None
            assert after.document is not None
            old, new = before.document["progress"], after.document["progress"]
            units = {old["unit"], new["unit"]} - {None}
            if before.document["attempt"] != after.document["attempt"] or len(units) > 1:
                continue
            if new["completed"] < old["completed"]:
                yield op, f"went back from {old['completed']} to {new['completed']} ({after.who})"


def _short(document: dict[str, Any]) -> str:
    return f"{document['status']}/{document['attempt']}"


# The end


def one_end(history: History) -> Found:
    """Every acknowledged operation reaches a final state, the same for all who look."""
    for op in history.acknowledged():
        last = history.verdict(op)
        if op in history.deleted():
            if last is None or last.status != 410:
                yield op, f"is deleted, and was then answered {last.status if last else 'never'}"
            continue
        if last is not None and last.status == 410 and op in history.deleted(perhaps=True):
            continue
        if last is None or last.document is None or last.document["status"] not in FINAL:
            yield op, f"did not end: {last and (last.document or last.status)}"
            continue
        for view in history.of(View, op):
            document = view.document
            if document is not None and document["status"] in FINAL and document != last.document:
                yield op, f"ended as {document} for {view.who}, as {last.document} for the last GET"
                break


def gone_stays_gone(history: History) -> Found:
    """Nobody sees an operation whose deletion was acknowledged before they asked."""
    for ask in history.of(Asked):
        if ask.what != "delete" or ask.status != 204:
            continue
        for view in history.of(View, ask.op):
            if view.over == "get" and view.asked > ask.at and view.status != 410:
                yield ask.op, f"was answered {view.status} after it was deleted"
        for note in history.notes_of(ask.op, "begin"):
            if note.at > ask.at + STEPS_AFTER:
                yield ask.op, f"began attempt {note.attempt} after it was deleted"


def equal(history: History) -> Found:
    """Every watch ends by itself, and the last document that it delivered is what a GET answers."""
    closed = {(each.op, each.who): each for each in history.of(Closed)}
    last: dict[tuple[str, str], View] = {}
    for view in history.of(View):
        if view.over != "get":
            last[view.op, view.who] = view
    for (op, who), end in closed.items():
        gone = op in history.deleted(perhaps=True)
        if end.how != "final":
            if not (gone and end.how == "410"):
                yield op, f"the watch {who} ended with {end.how}"
            continue
        verdict, seen = history.verdict(op), last.get((op, who))
        if verdict is None or verdict.document is None:
            if not gone:
                yield op, f"the watch {who} ended, and no GET was answered"
        elif seen is None or seen.document != verdict.document:
            yield op, f"the watch {who} ended with {seen and seen.document}, a GET has {verdict.document}"
    for op, who in last:
        if (op, who) not in closed:
            yield op, f"the watch {who} did not end"


# Attempts


def single(history: History) -> Found:
    """No attempt runs twice, and the result is that of the attempt which the document names."""
    for op in history.acknowledged():
        begun: dict[int, str] = {}
        for note in history.notes_of(op, "begin"):
            if note.attempt in begun:
                yield op, f"attempt {note.attempt} began twice"
            begun[note.attempt] = note.detail["token"]
        last = history.verdict(op)
        if last is None or last.document is None or last.document["status"] != "succeeded":
            continue
        result, attempt = last.document["result"], last.document["attempt"]
        if result != {"attempt": attempt, "token": begun.get(attempt)}:
            yield op, f"has the result {result} in attempt {attempt}; begun were {begun}"


def fenced(history: History) -> Found:
    """What an attempt asks after a later one has begun is refused."""
    for op in history.acknowledged():
        begins = [(note.attempt, note.at) for note in history.notes_of(op, "begin")]
        for note in history.notes_of(op, "published"):
            later = [
                attempt for attempt, at in begins if attempt > note.attempt and at < note.detail["asked"]
            ]
            if later:
                yield (
                    op,
                    f"attempt {note.attempt} published {note.detail['name']} after attempt {later[0]} began",
                )


def alone(history: History) -> Found:
    """Two attempts are never at work at once, unless the earlier one's process was harmed before."""
    for op in history.acknowledged():
        if kind_of(op) == "hang":
            continue
        begins = {note.attempt: note.at for note in history.notes_of(op, "begin")}
        for note in history.notes_of(op, "step"):
            begun = begins.get(note.attempt, note.at)
            later = [attempt for attempt, at in begins.items() if attempt > note.attempt and at < note.at]
            if later and not harmed(history, begun, note.at):
                yield op, f"attempt {note.attempt} was at work after attempt {later[0]} began"


def excused(history: History) -> Found:
    """An operation that nobody harmed is neither interrupted nor run again."""
    for op in history.acknowledged():
        last = history.verdict(op)
        if kind_of(op) not in CALM or last is None or last.document is None:
            continue
        document = last.document
        keys = {each.key for each in history.of(Submitted, op)}
        asked = min(each.asked for each in history.of(Submitted) if each.key in keys)
        suffered = document["attempt"] > 1 or document["status"] == "failed"
        if suffered and not harmed(history, asked, last.asked):
            yield op, f"is {_short(document)} although nothing was done to it: {document['error']}"


def retried(history: History) -> Found:
    """An operation is run ``1 + retries`` times at most, and fails no earlier where that could help."""
    for op in history.acknowledged():
        most = 1 + retries_of(op)
        for view in history.of(View, op):
            if view.document is not None and view.document["attempt"] > most:
                yield op, f"came to attempt {view.document['attempt']} of {most}"
                break
        last = history.verdict(op)
        if last is None or last.document is None or last.document["status"] != "failed":
            continue
        if kind_of(op) in CALM:
            if last.document["attempt"] < most:
                yield op, f"gave up in attempt {last.document['attempt']} of {most}"
            if last.document["error"].get("type") != INTERRUPTED:
                yield op, f"failed with {last.document['error']}"


def canceled(history: History) -> Found:
    """Once a cancel was acknowledged no new attempt begins."""
    for ask in history.of(Asked):
        if ask.what != "cancel" or ask.document is None:
            continue
        current = ask.document["attempt"] if ask.document["status"] == "running" else 0
        for note in history.notes_of(ask.op, "begin"):
            if note.at > ask.at and note.attempt > current:
                yield ask.op, f"began attempt {note.attempt} after cancel was answered {_short(ask.document)}"
        if ask.document["status"] == "queued":
            yield ask.op, "was canceled in the queue, and is still queued"


# Parts


def parts(history: History) -> Found:
    """A part listed stays, can be read, and matches its digest; no read takes a piece for the whole."""
    for op in history.acknowledged():
        listings = sorted(history.of(PartsListed, op), key=lambda it: it.at)
        for before, after in pairwise(listings):
            if before.at < after.asked and after.parts[: len(before.parts)] != before.parts:
                yield op, f"listed {_names(before)}, then {_names(after)}"
        if op in history.deleted(perhaps=True) or not listings:
            continue
        last = dict(listings[-1].parts)
        if len(last) != len(listings[-1].parts):
            yield op, f"lists a name twice: {_names(listings[-1])}"
        yield from _published(history, op, last)
        yield from _read(history, op, last)


def _published(history: History, op: str, listed: dict[str, str]) -> Found:
    for note in history.notes_of(op, "published"):
        if note.detail["name"] not in listed:
            yield op, f"published {note.detail['name']}, which is not listed"
    verdict = history.verdict(op)
    if verdict is not None and verdict.document is not None and verdict.document["parts"] != len(listed):
        yield op, f"says that it has {verdict.document['parts']} parts, and lists {len(listed)}"


def _read(history: History, op: str, listed: dict[str, str]) -> Found:
    whole = set()
    for read in history.of(PartRead, op):
        if not read.whole:
            continue
        whole.add(read.name)
        if read.name not in listed:
            yield op, f"{read.name} could be read to an end, and is not listed"
        elif read.digest != listed[read.name]:
            yield op, f"{read.name} was read as {read.digest}, and is listed as {listed[read.name]}"
    for name in listed.keys() - whole:
        yield op, f"{name} is listed, and could not be read"


def _names(listing: PartsListed) -> list[str]:
    return [name for name, _ in listing.parts]


# Submissions


def idempotent(history: History) -> Found:
    """One key is one operation, and nothing runs that nobody submitted."""
    ops: dict[str, str] = {}
    for each in history.of(Submitted):
        if each.op and ops.setdefault(each.key, each.op) != each.op:
            yield each.op, f"and {ops[each.key]} were made with one key"
    if len(set(ops.values())) < len(ops):
        yield "", "two keys made one operation"
    for each in history.of(Submitted):
        if each.key not in ops:
            yield "", f"the submission {each.key} was never acknowledged"
    known = {op.rpartition("/")[2] for op in history.acknowledged()}
    # What began before this history may still end in it.
    for identity in {note.op for note in history.notes if note.what == "begin"} - known:
        yield identity, "ran, and nobody was told of it"
    for listed in history.of(Listed):
        missing = set(history.acknowledged()) - history.deleted(perhaps=True) - set(listed.ops)
        for op in missing:
            yield op, "is not in the listing"
        for op in set(listed.ops) - (set(history.acknowledged()) - history.deleted()):
            yield op, "is in the listing, and should not be"


def nothing_left(history: History) -> Found:
    """No process, no port and no mark outlives the servers."""
    for residue in history.of(Residue):
        yield "", residue.what


VALIDATORS: tuple[Validator, ...] = (
    forward,
    progress,
    one_end,
    gone_stays_gone,
    equal,
    single,
    fenced,
    alone,
    excused,
    retried,
    canceled,
    parts,
    idempotent,
    nothing_left,
)


# What the paths and faults say


def kind_of(op: str) -> str:
    """Of /{engine}/{retries}/{kind}/{id}."""
    return op.split("/")[3]


def retries_of(op: str) -> int:
    return int(op.split("/")[2])


HARMLESS = {"roll", "cut", "vanish"}


def harmed(history: History, begin: float, end: float) -> bool:
    """Whether anything was done, in that time, that may interrupt an operation."""
    late = [note for note in history.notes if note.what == "late" and begin <= note.at <= end]
    faults = [
        each
        for each in history.of(Fault)
        if each.what not in HARMLESS and each.at <= end and each.until >= begin
    ]
    return bool(late or faults)
