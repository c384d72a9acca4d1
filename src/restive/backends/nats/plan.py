"""What a batch of steps publishes, given what is there: pure decisions, atomic as one JetStream batch.

Only the first message of each subject carries a condition; what a later step of the same batch finds is
known here. A condition that fails on what ``State`` says is a Conflict, which the caller believes if the
state was just read, and asks again if it was remembered. Nothing is published twice to a subject that
ends as gone: the server forgets the last message, and an earlier one would be there again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from restive.errors import Conflict

from .. import offsets
from ..port import Append, Delete, Drop, Save, Step
from .messages import EXPECTED, GONE_FOR, HEADER, ROLLUP, Items, Outgoing, Part, pack, split
from .offset import Offset, parse

__all__ = ["Plan", "Result", "State", "Subjects", "plan"]

Result = int | str | None
Number = Callable[[int], int]
"""The number of the message at an index of the batch."""

Finish = Callable[[Number], Result]


@dataclass(frozen=True, slots=True)
class State:
    """The last message of a subject: its sequence (0: none), and what it holds."""

    sequence: int = 0
    number: int = 0
    present: bool = False
    """It holds something: it does not say that this is gone."""
    items: Items | None = None
    """Of a stream that is there: its last items."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Where the records and the streams of an app lie."""

    record: Callable[[str], str]
    stream: Callable[[str], str]

    def of(self, step: Step) -> str:
        """The subject that a step is about."""
        match step:
            case Save() | Delete():
                return self.record(step.name)
            case Append() | Drop():
                return self.stream(step.stream)
        raise TypeError(step)


@dataclass(slots=True)
class Plan:
    """Messages to publish together; ``finish`` makes the steps' results of their numbers."""

    messages: list[Outgoing] = field(default_factory=list)
    finish: list[Finish] = field(default_factory=list)
    tails: dict[str, tuple[Items, int] | None] = field(default_factory=dict)
    """How each stream ends that was written, and the index of its last message; None where it is gone."""

    def results(self, number: Number) -> list[Result]:
        """What each step returns."""
        return [finish(number) for finish in self.finish]


@dataclass(slots=True)
class _Subject:
    """One subject of a batch: what is there now, and the messages that make it so."""

    subject: str
    stream: bool
    state: State
    blind: bool = True
    """No step has looked at what was there before the batch."""
    written: bool = False
    gone: bool = False
    """The messages begin by saying that what was there is gone."""
    closed: bool = False
    epoch: str = ""
    end: int = 0
    values: list[bytes] = field(default_factory=list)
    """Of a record: the values since it was last gone."""
    items: list[bytes] = field(default_factory=list)
    """Of a stream: the items since it was last gone."""
    whole: bool = False
    """The stream's messages replace all there was."""
    first: int = 0
    """Index in the batch of its first message."""
    ends: list[tuple[int, int]] = field(default_factory=list)
    """Of a stream: the position behind each of its messages' items, and the message's index."""
    at: list[int] = field(default_factory=list)
    """Of a record: the index of each value's last message."""

    @property
    def present(self) -> bool:
        """Whether something is there after the steps so far."""
        return bool(self.values) if self.written else self.state.present


def plan(steps: Sequence[Step], states: Mapping[str, State], subjects: Subjects, room: int) -> Plan:
    """The messages of ``steps``. Raises ``Conflict`` for one whose condition does not hold."""
    touched: dict[str, _Subject] = {}
    made = Plan()
    for step in steps:
        subject = subjects.of(step)
        found = touched.get(subject)
        if found is None:
            stream = isinstance(step, Append | Drop)
            found = touched[subject] = _begin(subject, stream, states.get(subject, State()))
        made.finish.append(_do(found, step))
    for each in touched.values():
        _publish(each, made.messages, room)
        if each.stream and each.written:
            made.tails[each.subject] = _tail(each, len(made.messages) - 1)
    return made


def _tail(found: _Subject, last: int) -> tuple[Items, int] | None:
    return (Items(found.epoch, found.end, 0, found.closed, Part(1, 1)), last) if found.epoch else None


def _begin(subject: str, stream: bool, state: State) -> _Subject:
    found = _Subject(subject, stream, state)
    if state.items is not None:
        found.epoch, found.end, found.closed = state.items.epoch, state.items.end, state.items.closed
    return found


def _do(found: _Subject, step: Step) -> Finish:
    match step:
        case Save():
            return _save(found, step)
        case Delete():
            return _delete(found, step)
        case Append():
            return _append(found, step)
        case Drop():
            return _drop(found)
    raise TypeError(step)


# Records


def _save(found: _Subject, step: Save) -> Finish:
    _compare(found, step)
    found.written = True
    life, index = found.values, len(found.values)
    found.values.append(bytes(step.value))

    def version(number: Number) -> int:
        # Of a value that a later step of the batch has deleted no version fits any more.
        return number(found.at[index] if life is found.values else found.first)

    return version


def _delete(found: _Subject, step: Delete) -> Finish:
    _compare(found, step)
    if found.present or found.blind:
        found.written, found.gone, found.values = True, True, []
    return _nothing


def _compare(found: _Subject, step: Save | Delete) -> None:
    if step.version is None:
        return
    if found.written:
        fits = step.version == 0 and not found.present
    else:
        found.blind = False
        fits = step.version == (found.state.number if found.state.present else 0)
    if not fits:
        raise Conflict(f"The record {step.name!r} is no longer at version {step.version}.")


# Streams


def _append(found: _Subject, step: Append) -> Finish:
    found.blind = found.blind and found.written
    if found.closed:
        raise Conflict(f"The stream {step.stream!r} is closed.")
    if step.after is not None and not _ends_at(found, step.after):
        raise Conflict(f"The stream {step.stream!r} does not end there.")
    if not found.epoch:
        found.epoch, found.end, found.whole, found.written = offsets.new_epoch(), 0, True, True
    elif not step.items and not step.close and not found.written:
        return _offset(found, found.epoch, found.end)
    found.written = True
    found.items += map(bytes, step.items)
    found.end += len(step.items)
    found.closed = step.close
    return _offset(found, found.epoch, found.end)


def _ends_at(found: _Subject, after: str) -> bool:
    """Whether the stream ends at that offset; no offset is known of what this batch has moved."""
    if not after or not found.epoch:
        return not after and not found.epoch
    if found.written:
        return False
    try:
        return parse(after) == Offset(found.epoch, found.end, found.state.number)
    except ValueError:
        return False


def _offset(found: _Subject, epoch: str, position: int) -> Finish:
    def offset(number: Number) -> str:
        if epoch != found.epoch:  # dropped by a later step of the batch
            return str(Offset(epoch, position, number(found.first)))
        if not found.whole and position == found.end - len(found.items):
            return str(Offset(epoch, position, found.state.number))
        for end, index in found.ends:
            if position <= end:
                return str(Offset(epoch, position, number(index), inside=position < end))
        raise AssertionError("an append returned no offset of its stream")

    return offset


def _drop(found: _Subject) -> Finish:
    if found.epoch or found.blind:
        found.written, found.gone = True, True
    found.epoch, found.end, found.closed, found.items, found.whole = "", 0, False, [], False
    return _nothing


def _nothing(number: Number) -> None:  # noqa: ARG001 - as the others
    return None


# Messages


def _publish(found: _Subject, messages: list[Outgoing], room: int) -> None:
    """Add the messages of one subject: the first with the condition, and replacing what was there."""
    if not found.written:
        return
    own: list[Outgoing] = []
    found.first = len(messages)
    if found.gone:
        own.append(Outgoing(found.subject, b"", {HEADER: "gone", "Nats-TTL": str(GONE_FOR)}))
    for value in found.values:
        own += split(found.subject, value, "record", room)
        found.at.append(found.first + len(own) - 1)
    if found.epoch:
        _publish_items(found, own, room)
    whole = found.gone or found.whole or bool(found.values)
    own[0].headers |= ROLLUP if whole else {}
    if not found.blind:
        own[0].headers[EXPECTED] = str(found.state.sequence)
    messages += own


def _publish_items(found: _Subject, own: list[Outgoing], room: int) -> None:
    position = found.end - len(found.items)
    packed = pack(found.subject, found.items, found.epoch, position, found.closed, room)
    for outgoing in packed:
        *_, count, _, piece, of = outgoing.headers[HEADER].split()
        if piece == of:
            position += int(count)
            found.ends.append((position, found.first + len(own)))
        own.append(outgoing)
