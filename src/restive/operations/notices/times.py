"""When to look again: a heap of times, each once."""

from __future__ import annotations

import heapq

__all__ = ["Times"]


class Times:
    """Points in time in seconds."""

    def __init__(self) -> None:
        self._heap: list[float] = []
        self._known: set[float] = set()

    def add(self, when: float) -> None:
        """Look again at ``when``."""
        if when not in self._known:
            self._known.add(when)
            heapq.heappush(self._heap, when)

    @property
    def next(self) -> float | None:
        """The first of them."""
        return self._heap[0] if self._heap else None

    def pass_to(self, now: float) -> bool:
        """Forget those that have come; whether there were any."""
        passed = False
        while self._heap and self._heap[0] <= now:
            self._known.discard(heapq.heappop(self._heap))
            passed = True
        return passed
