"""One function for each promise to those who write and read streams. Pure, as ``promises``.

A reader's items are judged by its runs: from the start, or from where its offset was refused, to the next
refusal. Where the backend lost its data, what was acknowledged before that is owed to nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from faults.history import History
from faults.validators import Found, Validator

from .events import Appended, Item, Read, Reader, Refused, Wiped

DONE = {200, 204}
AFTER_WIPE = 1.0
"""Seconds after a wipe in which an acknowledgement may still be of the old data."""


@dataclass(slots=True)
class Run:
    """What one reader got in one go."""

    who: str
    stream: str
    reads: list[Read] = field(default_factory=list)

    @property
    def items(self) -> list[Item]:
        return [item for read in self.reads for item in read.items]


def runs(history: History) -> list[Run]:
    """Of every reader, in the order of time; each reader has one at least."""
    found = {each.who: [Run(each.who, each.stream)] for each in history.of(Reader)}
    events = [*history.of(Read), *history.of(Refused)]
    for event in sorted(events, key=lambda it: it.at):
        if isinstance(event, Read):
            found[event.who][-1].reads.append(event)
        else:
            found[event.who].append(Run(event.who, event.stream))
    return [run for each in found.values() for run in each]


def owed(history: History, stream: str) -> set[Item]:
    """The items of a stream that were acknowledged, and that no wipe took."""
    last = max((wiped.until + AFTER_WIPE for wiped in history.of(Wiped)), default=0.0)
    return {
        item
        for each in history.of(Appended)
        if each.stream == stream and each.status in DONE and each.asked > last
        for item in each.items
    }


def genuine(history: History) -> Found:
    """No reader gets what nobody has sent."""
    sent: dict[tuple[str, Item], float] = {}
    for each in history.of(Appended):
        for item in each.items:
            sent.setdefault((each.stream, item), each.asked)
    for read in history.of(Read):
        for item in read.items:
            if sent.get((read.stream, item), read.at + 1) > read.at:
                yield read.stream, f"{read.who} got {item}, which nobody had sent"


def once(history: History) -> Found:
    """No reader gets an item twice."""
    for run in runs(history):
        seen: set[Item] = set()
        for item in run.items:
            if item in seen:
                yield run.stream, f"{run.who} got {item} twice"
            seen.add(item)


def sorted_by_writer(history: History) -> Found:
    """What one writer sent comes in its order."""
    for run in runs(history):
        last: dict[str, int] = {}
        for writer, number in run.items:
            if number <= last.get(writer, -1):
                yield run.stream, f"{run.who} got {number} of {writer} after {last[writer]}"
            last[writer] = number


def one_order(history: History) -> Found:
    """All readers get the same items in the same order, from the first on."""
    if history.of(Wiped):
        return
    longest: dict[str, Run] = {}
    for run in runs(history):
        other = longest.setdefault(run.stream, run)
        if len(run.items) > len(other.items):
            longest[run.stream], run, other = run, other, run
        if other.items[: len(run.items)] != run.items:
            place = next(i for i, (a, b) in enumerate(zip(run.items, other.items, strict=False)) if a != b)
            yield (
                run.stream,
                f"{run.who} got {run.items[place]} as item {place}, {other.who} {other.items[place]}",
            )


def complete(history: History) -> Found:
    """Every reader gets every item that was acknowledged."""
    last = {run.who: run for run in runs(history)}
    for run in last.values():
        missing = owed(history, run.stream) - set(run.items)
        if missing:
            yield (
                run.stream,
                f"{run.who} misses {len(missing)} items that were acknowledged: {min(missing)}, …",
            )


def one_life(history: History) -> Found:
    """An offset of lost data is refused, never taken for one of what came after."""
    first: dict[tuple[str, Item], float] = defaultdict(lambda: float("inf"))
    for each in history.of(Appended):
        for item in each.items:
            first[each.stream, item] = min(each.asked, first[each.stream, item])
    for run in runs(history):
        for wiped in history.of(Wiped):
            before = [read for read in run.reads if read.items and read.at < wiped.at]
            after = [
                item for read in run.reads for item in read.items if first[read.stream, item] > wiped.until
            ]
            if before and after:
                yield (
                    run.stream,
                    f"{run.who} went on behind lost data: {after[0]} behind {before[-1].items[-1]}",
                )


def refused_rightly(history: History) -> Found:
    """No offset is refused but where data was lost before."""
    for refused in history.of(Refused):
        if not any(wiped.at < refused.at for wiped in history.of(Wiped)):
            yield refused.stream, f"{refused.who} was refused: {refused.status} for {refused.after}"


def accepted(history: History) -> Found:
    """No producer is told that it missed a number, or that a stream is not there, but where data was lost."""
    for each in history.of(Appended):
        lost = any(wiped.at < each.at for wiped in history.of(Wiped))
        if each.status == 500 or (400 <= each.status < 500 and each.status != 429 and not lost):
            yield each.stream, f"{each.items[0]} was answered {each.status} {each.detail}"


def offsets(history: History) -> Iterator[tuple[str, str]]:
    """Offsets sort like the items: each one that a reader gets is behind the one before."""
    for run in runs(history):
        last = ""
        for read in run.reads:
            if read.items and read.offset <= last:
                yield run.stream, f"{run.who} got the offset {read.offset} after {last}"
            last = read.offset


STREAM_PROMISES: tuple[Validator, ...] = (
    genuine,
    once,
    sorted_by_writer,
    one_order,
    complete,
    one_life,
    refused_rightly,
    accepted,
    offsets,
)
