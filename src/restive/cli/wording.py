"""An operation's document in words: amounts, times, its place in the queue, its state in short.

Pure: what depends on the time takes it as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .exits import printable

if TYPE_CHECKING:
    from ..client import OperationState, Place

__all__ = [
    "age",
    "amount",
    "bar",
    "clock",
    "date_of",
    "duration",
    "gist",
    "headline",
    "one_line",
    "pace",
    "size_of",
    "waiting",
]

BAR = 10
"""Characters of a bar."""

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def amount(progress: Mapping[str, Any]) -> str:
    """``3/8 chunks``, as far as it is known."""
    completed, total = progress.get("completed") or 0, progress.get("total")
    count = _number(completed) + (f"/{_number(total)}" if total else "")
    return f"{count} {printable(progress.get('unit') or '')}".strip()


def pace(progress: Mapping[str, Any]) -> str:
    """``2.5/s, 0:04 left``, as far as it is known."""
    rate, eta = progress.get("rate"), progress.get("eta")
    said = [f"{_number(rate)}/s"] if rate else []
    if eta is not None:
        said.append(f"{clock(eta)} left")
    return ", ".join(said)


def bar(progress: Mapping[str, Any]) -> str:
    """``[###.......]``; nothing where the total is not known."""
    total = progress.get("total")
    if not total:
        return ""
    done = min(BAR, int(BAR * (progress.get("completed") or 0) / total))
    return f"[{'#' * done}{'.' * (BAR - done)}]"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """``0.25 s``, and from a minute on as ``clock``."""
    return clock(seconds) if seconds >= 60 else f"{seconds:.3g} s"


def size_of(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def age(seconds: float) -> str:
    """``3 min ago``."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now" if seconds < 1 else f"{seconds:.0f} s ago"


def date_of(text: object) -> datetime | None:
    """A date of the document; None where there is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def headline(document: Mapping[str, Any]) -> str:
    """The status, with the attempt where it is not the first."""
    status, attempt = printable(str(document["status"])), document.get("attempt")
    return f"{status}, attempt {attempt}" if isinstance(attempt, int) and attempt > 1 else status


def waiting(place: Place | None, now: datetime) -> str:
    """``number 3 in the queue, starts in 0:40``, as far as it is known."""
    if place is None:
        return ""
    said = [] if place.position is None else [f"number {place.position} in the queue"]
    if place.starts is not None:
        left = (place.starts - now).total_seconds()
        said.append(f"starts in {clock(left)}" if left >= 1 else "about to start")
    return ", ".join(said)


def gist(document: OperationState, now: datetime) -> str:
    """What is to know of it beside its status: where it waits, how far it is, or why it failed."""
    if document["status"] == "queued":
        return waiting(document.queue, now)
    error = document.get("error")
    if isinstance(error, dict):
        return one_line(str(error.get("detail") or error.get("title") or ""))
    progress = document.get("progress") or {}
    if not (progress.get("total") or progress.get("completed") or progress.get("message")):
        return ""
    left = pace(progress) if document["status"] == "running" else ""
    counted = f"{bar(progress)} {amount(progress)}".strip()
    return ", ".join(filter(None, [counted, left, one_line(progress.get("message") or "")]))


def one_line(text: str) -> str:
    """``text`` for a line of a table."""
    return printable(" ".join(text.split()))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3g}"
