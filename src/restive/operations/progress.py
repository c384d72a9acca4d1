"""How far an operation is: merging reports, and the rate and time left that follow from them.

Pure: the clock is an argument. Within one attempt and one unit progress never goes back; a new unit
begins a new phase, whose count starts anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec

__all__ = ["Meter", "Progress"]

SMOOTHING = 5.0
"""Seconds over which the rate is averaged."""

BRIEFEST = 0.05
"""Seconds below which nothing new is said of the rate."""

LONGEST = 1e8
"""Seconds (three years) above which a time left means nothing."""

LONGEST_TEXT = 1000
"""Characters of a unit or a message that are kept."""


class Progress(msgspec.Struct, frozen=True):
    """What the document shows as ``progress``; ``rate`` is per second, ``eta`` in seconds."""

    completed: float | int = 0
    total: float | int | None = None
    unit: str | None = None
    message: str | None = None
    rate: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """A progress and what its rate is computed from; ``now`` is a monotonic time in seconds."""

    progress: Progress = Progress()
    begun: float | None = None
    """The time of the first report."""
    marked: float = 0.0
    """The time at which ``base`` was the count."""
    base: float = 0.0
    rate: float | None = None

    def report(
        self,
        now: float,
        completed: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> Meter:
        """The meter after one report. Raises ``ValueError`` for what is no count."""
        for name, value in (("completed", completed), ("total", total)):
            if value is not None and not _is_count(value):
                raise ValueError(f"{name}= takes a number that is finite and not negative, not {value!r}.")
        unit, message = _text("unit", unit), _text("message", message)
        old = self.progress
        if unit is not None and old.unit is not None and unit != old.unit:
            return Meter(Progress(message=old.message)).report(now, completed, total, unit, message)
        done = old.completed if completed is None else max(old.completed, completed)
        new = replace_known(old, total=total, unit=unit, message=message, completed=done)
        if self.begun is None:  # how long it took to come here is not known
            return replace(self, progress=new, begun=now, marked=now, base=float(done))
        return replace(self, progress=new)

    def advance(self, now: float, by: float, total: float = 0, unit: str | None = None) -> Meter:
        """The meter after ``by`` more are completed and ``total`` more are known of."""
        old = self.progress
        changed = unit is not None and old.unit is not None and unit != old.unit
        done, known = (0, 0) if changed else (old.completed, old.total or 0)
        return self.report(
            now, done + by, known + total if total or (old.total and not changed) else None, unit
        )

    def settle(self, now: float) -> Meter:
        """The meter with rate and eta as of ``now``; called when the progress is about to be stored."""
        if self.begun is None:
            return self
        elapsed, done = now - self.marked, float(self.progress.completed)
        if elapsed < BRIEFEST or done <= self.base:
            return replace(self, progress=_with_rate(self.progress, self.rate))
        current, before = (done - self.base) / elapsed, self.rate or 0.0
        weight = min(1.0, elapsed / min(now - self.begun, SMOOTHING))  # the plain average at first
        rate = before + weight * (current - before)
        return replace(self, progress=_with_rate(self.progress, rate), marked=now, base=done, rate=rate)


def replace_known(progress: Progress, **given: float | str | None) -> Progress:
    """The progress with those fields replaced that are given."""
    return msgspec.structs.replace(
        progress, **{name: value for name, value in given.items() if value is not None}
    )


def _with_rate(progress: Progress, rate: float | None) -> Progress:
    eta = None
    if rate and progress.total is not None:
        left = max(0.0, progress.total - progress.completed) / rate
        eta = round(left, 1) if left < LONGEST else None
    return msgspec.structs.replace(progress, rate=None if rate is None else float(f"{rate:.4g}"), eta=eta)


def _is_count(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}= takes text, not {value!r}.")
    return value if value is None else value[:LONGEST_TEXT].encode(errors="replace").decode()
