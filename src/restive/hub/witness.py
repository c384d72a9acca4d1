"""What is told of one look: how long it took and how it ended, and a span where traces are made."""

from __future__ import annotations

from contextvars import Context
from typing import Any, Literal

from ..telemetry import metrics, tracing

__all__ = ["Outcome", "Witness"]

Outcome = Literal["changed", "same", "ended", "failed", "moot"]
"""Another state, the same, the end of the watch, no answer, or nobody waits for it any more."""


class Witness:
    """Made when a look begins; times are of one monotonic clock, in seconds."""

    __slots__ = ("_begun", "_reason", "_span")

    def __init__(self, now: float, reason: str, path: str, cause: Any) -> None:
        """``cause`` is what announced the change, as ``tracing.cause`` gives it."""
        self._begun, self._reason = now, reason
        # A trace of its own: many announcements may have one look, and one announcement many.
        self._span = tracing.begin(
            "look", "internal", tracing.ROOT, link=cause, url__path=path, restive__reason=str(reason)
        )

    @property
    def context(self) -> Context:
        """In which the app is asked: nothing of the watcher's or the announcer's."""
        return self._span.context()

    def over(self, now: float, outcome: Outcome) -> None:
        """The look has ended."""
        metrics.look_seconds.of(self._reason, outcome).observe(now - self._begun)
        self._span.set(restive__outcome=outcome)
        if outcome == "failed":
            self._span.fail("no answer")
        self._span.end()
