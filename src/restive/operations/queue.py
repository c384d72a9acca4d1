"""The queue: which waiting operation an engine runs next. Pure: the clock is an argument.

Order: higher priority first, then the older one; identities sort by age. One that may not start yet waits
aside until its time. Two limits hold one back while others pass: ``concurrency=`` of its declaration and
``owner_running`` of its owner.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from ..telemetry import metrics
from ..telemetry.instruments import Reading, sources
from .record import Place

__all__ = ["Pace", "Queue", "Waiting"]

Rank = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """An operation that waits."""

    id: str
    engine: Hashable
    declaration: str
    location: str
    owner: str | None = None
    priority: int = 0
    not_before: float = 0.0
    limit: int | None = None
    """How many of its declaration may run at once."""
    attempt: int = 1
    sends: int = 0
    """How often it was sent, where its engine is on other machines, this time included."""

    @property
    def rank(self) -> Rank:
        """What the queue is sorted by."""
        return (-self.priority, self.id)


@dataclass(slots=True)
class Pace:
    """How long an engine's operations took lately."""

    seconds: float | None = None
    moved: float = 0.0
    """When the queue last moved (Unix time)."""

    def ran(self, seconds: float, now: float) -> None:
        """One has ended after ``seconds``."""
        self.seconds = seconds if self.seconds is None else self.seconds + 0.2 * (seconds - self.seconds)
        self.moved = now

    def starts(self, position: int, workers: int) -> float | None:
        """When the one at ``position`` may start, to the second; None before any has run."""
        if self.seconds is None:
            return None
        return float(round(self.moved + position * self.seconds / workers))


Lane = tuple[Hashable, str, str | None]


class Queue:
    """What waits in this process, and what of it is under way."""

    def __init__(self, owner_running: int = 0) -> None:
        self._owner_running = owner_running
        self._waiting: dict[str, Waiting] = {}
        self._lanes: dict[Lane, list[Rank]] = {}
        self._later: list[tuple[float, str]] = []
        self._taken: dict[str, Waiting] = {}
        self._running: Counter[tuple[str, str]] = Counter()
        self._of_owner: Counter[str] = Counter()
        sources.add(self)

    def __len__(self) -> int:
        return len(self._waiting)

    def readings(self) -> Iterator[Reading]:
        """How many there are, for metrics; called on any thread."""
        yield metrics.operations, ("queued",), len(self._waiting)
        yield metrics.operations, ("running",), len(self._taken)

    def __contains__(self, identity: str) -> bool:
        return identity in self._waiting or identity in self._taken

    def add(self, entry: Waiting, now: float) -> None:
        """Let it wait; nothing happens where it does so already, or is under way."""
        if entry.id in self:
            return
        self._waiting[entry.id] = entry
        if entry.owner is not None:
            self._of_owner[entry.owner] += 1
        if entry.not_before > now:
            heapq.heappush(self._later, (entry.not_before, entry.id))
        else:
            self._line_up(entry)

    def discard(self, identity: str) -> None:
        """It waits no more."""
        entry = self._waiting.pop(identity, None)
        if entry is None:
            return
        self._leave(entry)
        lane = self._lanes.get(self._lane(entry), [])
        if _holds(lane, entry.rank):
            self._remove(self._lane(entry), bisect_left(lane, entry.rank))

    def clear(self) -> None:
        """Nothing waits any more; what is under way stays so."""
        self._waiting.clear()
        self._lanes.clear()
        self._later.clear()
        self._of_owner.clear()

    def take(self, engine: Hashable, now: float) -> Waiting | None:
        """The next one for ``engine``, under way from now on; None where none may begin."""
        self._ripen(now)
        lanes = [lane for lane in self._lanes if lane[0] == engine and self._may(self._lanes[lane][0])]
        if not lanes:
            return None
        lane = min(lanes, key=lambda each: self._lanes[each][0])
        rank = self._lanes[lane][0]
        self._remove(lane, 0)
        entry = self._taken[rank[1]] = self._waiting.pop(rank[1])
        self._leave(entry)
        self._running.update(_counted(entry))
        return entry

    def done(self, identity: str) -> Hashable:
        """What was taken is under way no more. Its engine, None where it was not taken."""
        entry = self._taken.pop(identity, None)
        if entry is None:
            return None
        self._running.subtract(_counted(entry))
        return entry.engine

    def known(self) -> set[str]:
        """What waits or is under way."""
        return {*self._waiting, *self._taken}

    def next_due(self) -> float | None:
        """When the next one may start that waits for its time."""
        while self._later and self._later[0][1] not in self._waiting:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def due(self, now: float) -> list[Hashable]:
        """The engines of those whose time has come; they are lined up now."""
        return self._ripen(now)

    def owned(self, owner: str) -> int:
        """How many of one owner wait."""
        return self._of_owner[owner]

    def find(self, identity: str) -> Waiting | None:
        """The one of that name, where it waits."""
        return self._waiting.get(identity)

    def position(self, identity: str) -> int | None:
        """1 for the next of its engine; None for what waits for its time, or not at all."""
        entry = self._waiting.get(identity)
        if entry is None:
            return None
        rank = entry.rank
        if not _holds(self._lanes.get(self._lane(entry), []), rank):
            return None
        ahead = (bisect_left(ranks, rank) for lane, ranks in self._lanes.items() if lane[0] == entry.engine)
        return 1 + sum(ahead)

    def first(self, count: int) -> Iterator[Waiting]:
        """The ``count`` that come first in their lanes, whose position every start changes."""
        ranks = heapq.nsmallest(count, (rank for lane in self._lanes.values() for rank in lane[:count]))
        return (self._waiting[rank[1]] for rank in ranks)

    def place(self, identity: str, pace: Pace, workers: int) -> Place | None:
        """Its place in the queue."""
        position = self.position(identity)
        return None if position is None else Place(position, pace.starts(position, workers))

    def _may(self, rank: Rank) -> bool:
        entry = self._waiting[rank[1]]
        if entry.limit is not None and self._running["of", entry.declaration] >= entry.limit:
            return False
        owner, most = entry.owner, self._owner_running
        return not most or owner is None or self._running["by", owner] < most

    def _ripen(self, now: float) -> list[Hashable]:
        engines = []
        while self._later and self._later[0][0] <= now:
            entry = self._waiting.get(heapq.heappop(self._later)[1])
            if entry is not None:
                self._line_up(entry)
                engines.append(entry.engine)
        return engines

    def _line_up(self, entry: Waiting) -> None:
        insort(self._lanes.setdefault(self._lane(entry), []), entry.rank)

    def _remove(self, lane: Lane, at: int) -> None:
        del self._lanes[lane][at]
        if not self._lanes[lane]:
            del self._lanes[lane]

    def _lane(self, entry: Waiting) -> Lane:
        """Those that the same limits hold back wait in one line."""
        return (entry.engine, entry.declaration, entry.owner if self._owner_running else None)

    def _leave(self, entry: Waiting) -> None:
        if entry.owner is not None:
            self._of_owner[entry.owner] -= 1
            if not self._of_owner[entry.owner]:
                del self._of_owner[entry.owner]


def _holds(ranks: list[Rank], rank: Rank) -> bool:
    at = bisect_left(ranks, rank)
    return at < len(ranks) and ranks[at] == rank


def _counted(entry: Waiting) -> list[tuple[str, str]]:
    by = [] if entry.owner is None else [("by", entry.owner)]
    return [("of", entry.declaration), *by]
