"""Whether a function is to end, and why: what the server's side of a run and a worker's have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import Canceled, Interrupted, TimedOut

__all__ = ["Stop"]

WHY = {Canceled: "is canceled", Interrupted: "is interrupted", TimedOut: "has run too long"}


class Stop:
    """Set once, by any thread; the function sees it when it asks, or by a callback."""

    __slots__ = ("_callback", "_lock", "_run", "why")

    def __init__(self, run: str) -> None:
        self.why: type[Canceled | Interrupted] | None = None
        self._run = run
        self._lock = threading.Lock()
        self._callback: Callable[[], None] | None = None

    def set(self, why: type[Canceled | Interrupted]) -> bool:
        """Ask the function to end; the first reason counts. Returns whether this was the first."""
        with self._lock:
            first = self.why is None
            if first:
                self.why = why
            callback = self._callback
        if callback is not None:
            callback()
        return first

    def on(self, callback: Callable[[], None] | None) -> None:
        """Call this when the function should end; at once where it should already."""
        with self._lock:
            self._callback = callback
            stopped = self.why is not None
        if callback is not None and stopped:
            callback()

    def check(self) -> None:
        """Raise ``Canceled`` or ``Interrupted`` where the function should end."""
        if self.why is not None:
            raise self.why(f"Operation {self._run} {WHY[self.why]}.")
