"""What a stream's log says of its writers, folded item by item, and what it decides of the next write.

Pure: the log is the truth, every node folds the same items to the same state. The state lets a write be
judged as protocol section 5.2 asks: by closure, content type, producer and ``Stream-Seq``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from .items import Item, Producer, pack

__all__ = ["Outcome", "Snapshot", "State", "Verdict", "Write", "decide"]

Verdict = Literal[
    "appended",
    "duplicate",
    "was-closed",
    "closed",
    "other-type",
    "stale-epoch",
    "epoch-begins-at-0",
    "gap",
    "old-sequence",
    "absent",
]
"""Of the first three: stored now, stored before, and closed before where no more was asked for."""


@dataclass(frozen=True, slots=True)
class Write:
    """What one writer wants: to append ``items``, perhaps as the last, or only to close."""

    items: Sequence[bytes] = ()
    close: bool = False
    producer: Producer | None = None
    sequence: str | None = None
    content_type: str | None = None
    """The media type that it says it writes; None where it says none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write. ``offset`` is the end of the stream behind it, ``closed`` its state then."""

    verdict: Verdict
    offset: str = ""
    closed: bool = False
    epoch: int = 0
    """Of the producer as the stream knows it."""
    seq: int = 0
    """The highest that was accepted in that epoch; of a gap, the one that was expected."""


@dataclass(slots=True)
class State:
    """All that has to be known of the items so far to judge the next write."""

    count: int = 0
    """Items that there ever were."""
    closed: bool = False
    sequence: str | None = None
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Epoch and highest accepted sequence number by producer, the one that wrote last at the end."""

    def copy(self) -> State:
        """A state of its own."""
        return State(self.count, self.closed, self.sequence, dict(self.producers))

    def fold(self, item: Item, most: int) -> None:
        """Take in the next item; of more than ``most`` producers, forget who was silent for longest."""
        self.count += 1
        self.closed = self.closed or item.closes
        if item.sequence is not None:
            self.sequence = item.sequence
        if item.producer is not None:
            self.producers.pop(item.producer.id, None)
            self.producers[item.producer.id] = item.producer.epoch, item.producer.seq
            if len(self.producers) > most:
                del self.producers[next(iter(self.producers))]

    def stored(self, write: Write) -> list[bytes]:
        """The items that an accepted write comes to. What it says of its writer is on the first of them."""
        says = write.producer is not None or write.sequence is not None
        payloads: Sequence[bytes | None] = write.items or ((None,) if says else ())
        return [
            pack(
                payload,
                first=not self.count,
                producer=write.producer,
                sequence=write.sequence,
                closes=write.close,
            )
            if not at
            else pack(payload)
            for at, payload in enumerate(payloads)
        ]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A state as it is saved: that behind ``offset``."""

    offset: str
    count: int
    closed: bool
    sequence: str | None
    producers: list[tuple[str, int, int]]

    @classmethod
    def of(cls, state: State, offset: str) -> Snapshot:
        """The snapshot of ``state``, which is that behind ``offset``."""
        producers = [(name, epoch, seq) for name, (epoch, seq) in state.producers.items()]
        return cls(offset, state.count, state.closed, state.sequence, producers)

    def state(self) -> State:
        """The state again."""
        producers = {name: (epoch, seq) for name, epoch, seq in self.producers}
        return State(self.count, self.closed, self.sequence, producers)


def decide(state: State, write: Write, content_type: str) -> Outcome:
    """What becomes of ``write`` in this state; ``appended`` is still to be done.

    A batch that is stored is called a duplicate also after the stream was closed: whoever repeats it because
    the answer was lost must not be told that it was refused.
    """
    known = None if write.producer is None else state.producers.get(write.producer.id)
    outcome = _repeated(write, known, state.closed) or _closed(write, state.closed)
    if outcome is None and write.items and write.content_type not in {None, content_type}:
        outcome = Outcome("other-type")
    return outcome or _out_of_order(write, known, state.sequence) or Outcome("appended", closed=write.close)


def _repeated(write: Write, known: tuple[int, int] | None, closed: bool) -> Outcome | None:
    if write.producer is None or known is None:
        return None
    epoch, last = known
    if write.producer.epoch < epoch:
        return Outcome("stale-epoch", closed=closed, epoch=epoch)
    if write.producer.epoch == epoch and write.producer.seq <= last:
        return Outcome("duplicate", closed=closed, epoch=epoch, seq=last)
    return None


def _closed(write: Write, closed: bool) -> Outcome | None:
    if not closed:
        return None
    only_closes = write.close and not write.items and write.producer is None
    return Outcome("was-closed" if only_closes else "closed", closed=True)


def _out_of_order(write: Write, known: tuple[int, int] | None, sequence: str | None) -> Outcome | None:
    producer = write.producer
    if producer is not None:
        epoch, last = known or (producer.epoch, -1)
        if producer.epoch > epoch and producer.seq:
            return Outcome("epoch-begins-at-0", epoch=epoch)
        expected = last + 1 if producer.epoch == epoch else 0
        if producer.seq != expected:
            return Outcome("gap", epoch=epoch, seq=expected)
    if write.sequence is not None and sequence is not None and write.sequence <= sequence:
        return Outcome("old-sequence")
    return None
