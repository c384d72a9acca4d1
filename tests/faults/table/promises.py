"""One function for each promise to those who watch resources and run nodes: it reads a history and yields
what violates it. Pure; what is promised of operations is judged by ``faults.validators``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from faults import validators
from faults.history import Fault, History, Submitted
from faults.validators import Found, Validator, Violation, harmed

from .events import Ended, Fleet, Inside, Put, Resident, Settled, Told, Watcher, Wiped
from .stream_promises import STREAM_PROMISES

FRESH = 3.0
"""Seconds after which no watcher is told of an older state any more, where nothing was done to anybody."""

RECOVERY = 4.0
"""Seconds after a fault in which operations may suffer from it: leases wait for the backend."""

RECHECKED = 8.0
"""Seconds; a shorter recheck is waited for."""

AT_ONCE = 0.5
"""Seconds after its answer in which a process that is killed may not have announced what it did."""

AWAY = {"kill-server", "stop-server", "wipe", "cut-net", "hold-net", "hold-replies", "slow-net", "full-disk"}
"""The faults in which a node has no way to the backend."""

HELD = ("restive.hub.", "restive.transports.", "restive.wire.", "restive.door.", "restive.streams.tail")
"""What is there for as long as somebody is connected: the modules of its types."""

KEPT = {
    "restive.transports.uvicorn.streams.Repeated",
    "restive.transports.uvicorn.reads.Origin",
    "restive.door.watching.Again",
    "restive.wire.websocket.Opcode",
}
"""What stays all the same: requests known by their bytes, of which there are only so many, and names."""

SLACK = 2
"""Objects of one type that may be more."""

GROWTH = 12 * 1024 * 1024
"""Bytes by which a process may grow from its first schedules to its last ones."""

WARM = 4
"""Schedules after which a process has its size, and over which a size is averaged."""


def judge(history: History) -> list[Violation]:
    """Everything that a history violates."""
    found = [Violation(each.__name__, who, text) for each in PROMISES for who, text in each(history)]
    return found + validators.judge(of_operations(history))


# Resources


def real(history: History) -> Found:
    """Nobody is told of a state that never was, and a tag always means the same state."""
    begun: dict[tuple[str, int], float] = {}
    for put in history.of(Put):
        begun.setdefault((put.resource, put.version), put.asked)
    tags: dict[tuple[str, str | None], int] = {}
    for told in history.of(Told):
        if told.kind != "state":
            continue
        if not told.sound:
            yield told.resource, f"{told.who} was told of something that is no state: version {told.version}"
        elif told.version and begun.get((told.resource, told.version), told.at + 1) > told.at:
            yield told.resource, f"{told.who} was told of version {told.version}, which nobody had written"
        if tags.setdefault((told.resource, told.etag), told.version) != told.version:
            yield told.resource, f"the tag {told.etag} is of two versions ({told.who})"


def understood(history: History) -> Found:
    """Watches are neither ended nor answered by what the protocol does not know."""
    for told in history.of(Told):
        if told.kind in {"end", "odd"}:
            yield told.resource, f"{told.who} was told on node {told.node}: {told.kind} {told.detail}"


def known(history: History) -> Iterator[tuple[Told, int]]:
    """What watchers were told, with the version that it means, in the order of time."""
    tags = {(it.resource, it.etag): it.version for it in history.of(Told) if it.kind == "state"}
    for told in sorted(history.of(Told), key=lambda it: it.at):
        if told.kind == "state":
            yield told, told.version
        elif told.kind == "current" and (told.resource, told.etag) in tags:
            yield told, tags[told.resource, told.etag]


def in_order(history: History) -> Found:
    """Over one connection versions never go back."""
    links: dict[tuple[str, int], int] = {}
    for told, version in known(history):
        before = links.get((told.who, told.link), version)
        if version < before:
            yield told.resource, f"{told.who} went back from {before} to {version} on node {told.node}"
        links[told.who, told.link] = version


def up_to_date(history: History) -> Found:
    """A GET answers with all that was acknowledged before it; a watch with all but the very latest.

    For the watch it holds where nobody was harmed in that time; for the GET always.
    """
    acknowledged: dict[str, list[Put]] = defaultdict(list)
    for put in history.of(Put):
        if put.status == 200:
            acknowledged[put.resource].append(put)
    for told, version in known(history):
        later = [put for put in acknowledged[told.resource] if put.version > version]
        since = min((put.at for put in later), default=told.at)
        if told.way == "poll":
            if since < told.asked:
                yield (
                    told.resource,
                    f"{told.who} was given {version}, {told.asked - since:.2f} s after {later[0]}",
                )
        elif told.at - since > FRESH and not struck(history, since - FRESH, told.at):
            yield (
                told.resource,
                f"{told.who} was told {told.kind} of {version} {told.at - since:.2f} s too late",
            )


def struck(history: History, begin: float, end: float) -> bool:
    """Whether anything at all was done in that time."""
    faults = any(fault.at <= end and fault.until >= begin for fault in history.of(Fault))
    return faults or harmed(history, begin, end)


def ends_on_last(history: History) -> Found:
    """Every watcher ends on the last state."""
    last = last_versions(history)
    seen = {told.who: version for told, version in known(history)}
    for watcher in history.of(Watcher):
        wanted, found = last.get(watcher.resource, 0), seen.get(watcher.who, -1)
        if found != wanted and not unannounced(history, watcher.resource, found):
            yield watcher.resource, f"{watcher.who} ends on {found}, the last one is {wanted}"


def last_versions(history: History) -> dict[str, int]:
    """The last version of each resource that was acknowledged."""
    found: dict[str, int] = {}
    for put in history.of(Put):
        if put.status == 200:
            found[put.resource] = max(put.version, found.get(put.resource, 0))
    return found


def unannounced(history: History, resource: str, version: int) -> bool:
    """Whether all later versions may be known to nobody but processes that have ended.

    That is so where each was killed at once after it had answered, or ended while it had no way to the
    backend. Others see it then at their next recheck, which these histories do not wait for.
    """
    if any(fleet.recheck <= RECHECKED for fleet in history.of(Fleet)):
        return False
    later = [
        put
        for put in history.of(Put)
        if put.resource == resource and put.version > version and put.status == 200
    ]
    return bool(later) and all(_died_with(history, put) for put in later)


def _died_with(history: History, put: Put) -> bool:
    for ended in history.of(Ended):
        if ended.node != put.node or ended.at < put.asked:
            continue
        if not ended.orderly and ended.at - put.at < AT_ONCE:
            return True
        if any(
            fault.what in AWAY and fault.at <= ended.at and fault.until >= put.asked
            for fault in history.of(Fault)
        ):
            return True
    return False


def in_time(history: History) -> Found:
    """Everyone catches up."""
    resources = {watcher.who: watcher.resource for watcher in history.of(Watcher)}
    seen = {told.who: version for told, version in known(history)}
    for settled in history.of(Settled):
        for who in settled.late:
            if who in resources and unannounced(history, resources[who], seen.get(who, -1)):
                continue
            yield who, f"was late, {settled.at - settled.begun:.1f} s after the last fault"


# Nodes


def polite(history: History) -> Found:
    """Whatever is away, no request is answered 500."""
    for each in (*history.of(Put), *history.of(Submitted)):
        if each.status == 500:
            yield "", f"was answered 500: {each}"


def returns(history: History) -> Found:
    """What a process holds for clients is gone with them."""
    for inside in history.of(Inside):
        for name, count in inside.after.items():
            if is_held(name) and count > inside.before.get(name, 0) + SLACK:
                yield (
                    name,
                    f"there are {count} in process {inside.pid}, and were {inside.before.get(name, 0)}",
                )


def is_held(name: str) -> bool:
    """Whether objects of this type are there for clients only."""
    return name.startswith(HELD) and name not in KEPT


def bounded(history: History) -> Found:
    """A process that has served for long is no larger than after its first schedules."""
    for resident in history.of(Resident):
        sizes = resident.sizes[WARM:]
        if len(sizes) < 2 * WARM:
            continue
        first, last = sorted(sizes[:WARM])[WARM // 2], sorted(sizes[-WARM:])[WARM // 2]
        if last - first > GROWTH:
            yield f"process {resident.pid}", f"grew by {(last - first) >> 20} MiB in {len(sizes)} schedules"


PROMISES: tuple[Validator, ...] = (
    real,
    understood,
    in_order,
    up_to_date,
    ends_on_last,
    in_time,
    polite,
    returns,
    bounded,
    *STREAM_PROMISES,
)


# Operations


def of_operations(history: History) -> History:
    """What is judged of operations: all but those that a wipe may have taken.

    Faults excuse an interruption for a while after they are over.
    """
    wipes = [wiped.until + RECOVERY for wiped in history.of(Wiped)]
    lost = {each.key for each in history.of(Submitted) if any(each.asked < end for end in wipes)}
    gone = {each.op for each in history.of(Submitted) if each.key in lost}
    events = [
        each
        for each in history.events
        if not (isinstance(each, Submitted) and each.key in lost) and getattr(each, "op", None) not in gone
    ]
    events = [
        replace(each, until=each.until + RECOVERY) if isinstance(each, Fault) else each for each in events
    ]
    kept = {op.rpartition("/")[2] for op in History(events).acknowledged()} if wipes else None
    return History(events, [note for note in history.notes if kept is None or not note.op or note.op in kept])
