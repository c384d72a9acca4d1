"""How far an operation is, on stderr: a bar on a terminal, else a line now and then.

Fed by what the server pushes; it computes nothing but how to show it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Protocol

from .exits import printable
from .wording import amount, headline, one_line, pace, size_of, waiting

if TYPE_CHECKING:
    from ..client import OperationState

__all__ = ["Bar", "Display", "Lines", "display"]

LINE_EVERY = 5.0
"""Seconds between two lines where stderr is no terminal."""


class Display(Protocol):
    """Shows progress until it is closed."""

    def show(self, document: OperationState) -> None: ...
    def upload(self, sent: int, size: int | None) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def display(stream: IO[str]) -> Display:
    """A bar where ``stream`` is a terminal."""
    return Bar(stream) if stream.isatty() else Lines(stream)


class Lines:
    """One line for each change of status, and for progress every few seconds."""

    def __init__(self, stream: IO[str], now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream, now
        self._next = float("-inf")
        self._status = ""

    def show(self, document: OperationState) -> None:
        now, status = self._now(), headline(document)
        if status == self._status and now < self._next:
            return
        self._status, self._next = status, now + LINE_EVERY
        progress = document["progress"]
        said = [
            amount(progress) if progress.get("total") or progress.get("completed") else "",
            pace(progress),
            waiting(document.queue, datetime.now(UTC)),
            printable(progress.get("message") or ""),
        ]
        self.say(": ".join(filter(None, [status, ", ".join(filter(None, said))])))

    def upload(self, sent: int, size: int | None) -> None:
        now = self._now()
        if now >= self._next:
            self._next = now + LINE_EVERY
            self.say(f"uploading: {size_of(sent)}" + (f" of {size_of(size)}" if size else ""))

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left on the screen."""


class Bar:
    """A bar at the foot of the terminal; lines are printed above it."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=stream, highlight=False, markup=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TextColumn("{task.fields[pace]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, amount="", pace="")
        self._bar.start()

    def show(self, document: OperationState) -> None:
        progress = document["progress"]
        queued = document["status"] == "queued"
        self._bar.update(
            self._task,
            description=f"{headline(document)} {one_line(progress.get('message') or '')}".strip(),
            completed=progress.get("completed") or 0,
            total=progress.get("total"),
            amount="" if queued else amount(progress),
            pace=waiting(document.queue, datetime.now(UTC)) if queued else pace(progress),
        )

    def upload(self, sent: int, size: int | None) -> None:
        of = f"/{size_of(size)}" if size else ""
        self._bar.update(
            self._task, description="uploading", completed=sent, total=size, amount=size_of(sent) + of
        )

    def say(self, text: str) -> None:
        self._console.print(printable(text))

    def close(self) -> None:
        self._bar.stop()
