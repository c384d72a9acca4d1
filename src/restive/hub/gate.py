"""How many looks run at once, and whose is next (design 2.4).

At most ``concurrency`` looks, taken in turn from each principal, none of whom gets more than
``rate`` a second. Pure bookkeeping: the hub starts the looks, and lets users' own requests go first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

ADDRESS = "@"
"""What the name of a principal begins with that is only an address: many may be behind it."""


class _Queue(Generic[T]):
    """What one principal waits for, and how many looks it may still begin."""

    __slots__ = ("tokens", "updated", "waiting")

    def __init__(self, tokens: float, now: float) -> None:
        self.waiting: deque[T] = deque()
        self.tokens = tokens
        self.updated = now


class Gate(Generic[T]):
    """Hands out the right to look, fairly."""

    def __init__(self, concurrency: int, rate: float) -> None:
        self._concurrency = max(1, concurrency)
        self._rate = max(rate, 0.1)
        self._burst = max(1.0, self._rate)
        self._queues: OrderedDict[str, _Queue[T]] = OrderedDict()
        self.running = 0

    def __len__(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    @property
    def full(self) -> bool:
        """No look may begin before one has ended."""
        return self.running >= self._concurrency

    def put(self, principal: str, item: T, now: float) -> None:
        """``item`` wants to look."""
        queue = self._queues.get(principal)
        if queue is None:
            queue = self._queues[principal] = _Queue(self._burst, now)
        queue.waiting.append(item)

    def take(self, now: float) -> T | None:
        """The next that may look now; it counts as running until ``free``. None: nobody, or not now."""
        if self.full:
            return None
        idle: list[str] = []
        found: str | None = None
        for principal, queue in self._queues.items():
            if not queue.waiting:
                idle.append(principal)
            elif self._pays(principal, queue, now):
                found = principal
                break
        for principal in idle:
            self._forget(principal, self._queues[principal], now)
        if found is None:
            return None
        self._queues.move_to_end(found)
        self.running += 1
        return self._queues[found].waiting.popleft()

    def free(self) -> None:
        """A look that was taken is over."""
        self.running -= 1

    def next_time(self, now: float) -> float | None:
        """When somebody who waits only for the rate may look; None where nobody does."""
        waits = [
            now + max(0.0, 1 - queue.tokens) / self._rate for queue in self._queues.values() if queue.waiting
        ]
        return min(waits, default=None)

    def _pays(self, principal: str, queue: _Queue[T], now: float) -> bool:
        if not principal or principal.startswith(
            ADDRESS
        ):  # takes turns, and is bounded by `concurrency` alone
            return True
        self._refill(queue, now)
        if queue.tokens < 1:
            return False
        queue.tokens -= 1
        return True

    def _refill(self, queue: _Queue[T], now: float) -> None:
        queue.tokens = min(self._burst, queue.tokens + (now - queue.updated) * self._rate)
        queue.updated = now

    def _forget(self, principal: str, queue: _Queue[T], now: float) -> None:
        self._refill(queue, now)
        if queue.tokens >= self._burst or not principal or principal.startswith(ADDRESS):
            del self._queues[principal]
