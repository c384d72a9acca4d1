"""What this server has sent, or is to send, to engines on other machines: what waits there, and since when.

An operation is sent once it is stored, so a broker that is away costs time and no operation: it is sent when
the broker is back. One that nobody has begun for a while is sent again, by whichever server looks first; who
gets it twice finds its lease taken. Pure but for the lock: the clock is an argument.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field

from .queue import Waiting

__all__ = ["Posting"]

SOONEST, LATEST = 0.5, 5.0
"""Seconds after which an engine that takes nothing is tried again: at first, and at most."""


@dataclass(slots=True)
class _Trouble:
    """An engine that takes nothing now."""

    tries: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Posting:
    """The operations that wait elsewhere, by identity."""

    _mine: dict[str, Waiting] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    """When (Unix time) each is to be sent again, those of other servers included."""
    _limited: set[str] = field(default_factory=set)
    _owned: Counter[str] = field(default_factory=Counter)
    _trouble: dict[Hashable, _Trouble] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._mine)

    def owned(self, owner: str) -> int:
        """How many of one owner wait."""
        return self._owned[owner]

    def quiet(self, now: float) -> set[str]:
        """Those that nobody has to look at yet."""
        with self._lock:
            return {identity for identity, due in self._due.items() if due > now}

    def note(self, identity: str, due: float) -> None:
        """It was sent, and is to be looked at again then."""
        with self._lock:
            self._due[identity] = due

    def leave(self, entry: Waiting) -> None:
        """It is about to be sent by this server, and waits elsewhere from now on."""
        with self._lock:
            if entry.id not in self._mine:
                self._mine[entry.id] = entry
                self._count(entry, 1)

    def limit(self, identity: str) -> None:
        """Until it has ended, a limit holds others back."""
        with self._lock:
            self._limited.add(identity)

    def discard(self, identity: str) -> None:
        """It waits no more."""
        with self._lock:
            self._drop(identity)

    def known(self) -> set[str]:
        """All that was sent."""
        with self._lock:
            return {*self._due, *self._limited}

    def settle(self, known: Collection[str], marks: Mapping[str, bool]) -> list[str]:
        """Forget what was begun; those that have ended and held others back.

        ``marks`` are of all that is not final, and were read after ``known``.
        """
        with self._lock:
            for identity in [each for each in self._due if each in known and marks.get(each, True)]:
                self._drop(identity)
            ended = [each for each in self._limited if each in known and each not in marks]
            self._limited.difference_update(ended)
            return ended

    @property
    def limited(self) -> set[str]:
        """Those whose end may let another begin."""
        with self._lock:
            return set(self._limited)

    # Engines that take nothing

    def may_send(self, engine: Hashable, now: float) -> bool:
        """Whether that engine is to be tried now (monotonic)."""
        with self._lock:
            trouble = self._trouble.get(engine)
            return trouble is None or trouble.until <= now

    def refused(self, engine: Hashable, now: float) -> bool:
        """It took nothing; whether that is new."""
        with self._lock:
            first = engine not in self._trouble
            trouble = self._trouble.setdefault(engine, _Trouble())
            delay = min(LATEST, SOONEST * 2.0**trouble.tries)
            trouble.tries += 1
            trouble.until = now + delay * random.uniform(0.7, 1.0)  # noqa: S311 - no secret
            return first

    def took(self, engine: Hashable) -> bool:
        """It took something; whether it is back by that."""
        with self._lock:
            return self._trouble.pop(engine, None) is not None

    def next_try(self) -> tuple[float, Hashable] | None:
        """When (monotonic) which engine is to be tried again."""
        with self._lock:
            times = ((trouble.until, engine) for engine, trouble in self._trouble.items())
            return min(times, default=None, key=lambda each: each[0])

    def _drop(self, identity: str) -> None:
        self._due.pop(identity, None)
        entry = self._mine.pop(identity, None)
        if entry is not None:
            self._count(entry, -1)

    def _count(self, entry: Waiting, by: int) -> None:
        if entry.owner is not None:
            self._owned[entry.owner] += by
            if not self._owned[entry.owner]:
                del self._owned[entry.owner]
