"""How far an operation is, on stderr: a bar on a terminal, else a line now and then.

Fed by what the server pushes; it computes nothing but how to show it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import IO, Any, Protocol

from .exits import printable

__all__ = ["Bar", "Display", "Lines", "amount", "clock", "display"]

LINE_EVERY = 5.0
"""Seconds between two lines where stderr is no terminal."""


class Display(Protocol):
    """Shows progress until it is closed."""

    def show(self, progress: Mapping[str, Any], status: str) -> None: ...
    def upload(self, sent: int, size: int | None) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def display(stream: IO[str]) -> Display:
    """A bar where ``stream`` is a terminal."""
    return Bar(stream) if stream.isatty() else Lines(stream)


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


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size_of(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3g}"


class Lines:
    """One line for each change of status, and for progress every few seconds."""

    def __init__(self, stream: IO[str], now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream, now
        self._next = float("-inf")
        self._status = ""

    def show(self, progress: Mapping[str, Any], status: str) -> None:
        now = self._now()
        if status == self._status and now < self._next:
            return
        self._status, self._next = status, now + LINE_EVERY
        said = [
            status,
            amount(progress) if progress.get("total") or progress.get("completed") else "",
            pace(progress),
        ]
        said.append(printable(progress.get("message") or ""))
        self.say(": ".join(filter(None, [said[0], ", ".join(filter(None, said[1:]))])))

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

    def show(self, progress: Mapping[str, Any], status: str) -> None:
        said = printable(progress.get("message") or "").replace("\n", " ")
        self._bar.update(
            self._task,
            description=f"{status} {said}".strip(),
            completed=progress.get("completed") or 0,
            total=progress.get("total"),
            amount=amount(progress),
            pace=pace(progress),
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
