"""How long announcements take: this process hears its own back from the backend, like everybody else's.

While one has not come back, its age counts: an engine that delivers nothing shows as a growing lag.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from . import metrics

__all__ = ["Lag", "lag"]

MOST = 100
"""Announcements under way that are remembered."""


class Lag:
    """Of one process. Any thread may call the methods; ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: dict[bytes, float] = {}
        self._listeners = 0
        self._last: float | None = None

    def listening(self, change: int) -> None:
        """Announcements are heard from now on (+1), or no more (-1)."""
        with self._lock:
            self._listeners += change
            self._under_way.clear()

    def sending(self, payload: bytes) -> None:
        """``payload`` is about to be announced."""
        metrics.announcements.of("sent").value += 1
        with self._lock:
            if self._listeners and len(self._under_way) < MOST:
                self._under_way.setdefault(payload, self._clock())

    def failed(self, payload: bytes) -> None:
        """It was not announced."""
        with self._lock:
            self._under_way.pop(payload, None)

    def heard(self, payload: bytes) -> None:
        """``payload`` was heard, this process's own or another's."""
        metrics.announcements.of("heard").value += 1
        with self._lock:
            begun = self._under_way.pop(payload, None)
            if begun is None:
                return
            self._last = seconds = self._clock() - begun
        metrics.lag_seconds.of().observe(seconds)

    def lost(self) -> None:
        """What was under way may never come."""
        metrics.announcements_lost.of().value += 1
        with self._lock:
            self._under_way.clear()

    @property
    def seconds(self) -> float | None:
        """The lag as last seen, or the age of what is under way for longer; None before there is any."""
        with self._lock:
            oldest = next(iter(self._under_way.values()), None)
            age = None if oldest is None else self._clock() - oldest
        if self._last is None or age is None:
            return self._last if age is None else age
        return max(self._last, age)


lag = Lag()
"""This process's."""
