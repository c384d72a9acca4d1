"""How an attempt ends that was asked to end and cannot answer for itself."""

from __future__ import annotations

from ...errors import Canceled, Interrupted
from ..calling import Outcome
from ..record import stopped

__all__ = ["ended_early"]


def ended_early(why: type[Canceled | Interrupted], timeout: float | None) -> Outcome:
    """The outcome of a function that was stopped for that reason."""
    stop = why()
    if isinstance(stop, Canceled):
        return Outcome("canceled")
    return Outcome("failed", error=stopped(stop, timeout).document(), retry=True)
