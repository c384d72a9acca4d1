"""How many looks run at once, and whose is next (design 2.4).

At most ``concurrency`` looks, taken in turn from each principal, none of whom gets more than
``rate`` a second. Pure bookkeeping: the hub starts the looks, and lets users' own requests go first.
A principal for whom nothing waits costs one number until it has its whole rate again, then nothing.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from typing import Generic, TypeVar

__all__ = ["ADDRESS", "SWEEP", "Gate"]

T = TypeVar("T")

ADDRESS = "@"
"""What the name of a principal begins with that is only an address: many may be behind it."""

SWEEP = 1.0
"""Seconds between two of ``tick``."""


class Gate(Generic[T]):
    """Hands out the right to look, fairly."""

    def __init__(self, concurrency: int, rate: float) -> None:
        self._concurrency = max(1, concurrency)
        self._rate = max(rate, 0.1)
        # How far a principal may be ahead of its rate: as many looks at once as come in a second. The rest is
        # for what rounding does to the loop's clock.
        self._ahead = (max(1.0, self._rate) - 1) / self._rate + 1e-6
        self._waiting: OrderedDict[str, T | deque[T]] = OrderedDict()
        self._count = 0
        self._paid: dict[str, float] = {}
        """When all looks of a principal so far would have come at its rate; the last to look is the last."""
        self.running = 0

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """No look may begin before one has ended."""
        return self.running >= self._concurrency

    @property
    def remembers(self) -> bool:
        """Whether ``tick`` has something to forget, now or later."""
        return bool(self._paid)

    def put(self, principal: str, item: T) -> None:
        """``item`` wants to look."""
        found = self._waiting.get(principal)
        if found is None:
            self._waiting[principal] = item
        elif isinstance(found, deque):
            found.append(item)
        else:
            self._waiting[principal] = deque((found, item))
        self._count += 1

    def take(self, now: float) -> T | None:
        """The next that may look now; it counts as running until ``free``. None: nobody, or not now."""
        if self.full:
            return None
        for principal in self._waiting:
            if self._pays(principal, now):
                self.running += 1
                self._count -= 1
                return self._next(principal)
        return None

    def free(self) -> None:
        """A look that was taken is over."""
        self.running -= 1

    def next_time(self, now: float) -> float | None:
        """When somebody who waits only for the rate may look; None where nobody does."""
        waits = (max(now, self._paid.get(principal, now) - self._ahead) for principal in self._waiting)
        return min(waits, default=None)

    def tick(self, now: float) -> float | None:
        """Forget who has their whole rate again. Returns when to come back, None where nobody is left."""
        gone = list(itertools.takewhile(lambda principal: self._paid[principal] <= now, self._paid))
        for principal in gone:
            del self._paid[principal]
        return now + SWEEP if self._paid else None

    def _next(self, principal: str) -> T:
        """The first of what waits; the principal's next turn comes after everybody's."""
        found = self._waiting[principal]
        if not isinstance(found, deque):
            del self._waiting[principal]
            return found
        item = found.popleft()
        if found:
            self._waiting.move_to_end(principal)
        else:
            del self._waiting[principal]
        return item

    def _pays(self, principal: str, now: float) -> bool:
        if not principal or principal.startswith(ADDRESS):
            return True  # takes turns, and is bounded by `concurrency` alone
        paid = max(self._paid.get(principal, now), now)
        if paid - now > self._ahead:
            return False
        self._paid.pop(principal, None)
        self._paid[principal] = paid + 1 / self._rate
        return True
