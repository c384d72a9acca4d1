"""Ctrl-C as an answer to a question instead of the end of the program."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import click

__all__ = ["CtrlC", "Pressed", "ask", "ask_cancel"]

T = TypeVar("T")

QUESTION = "Cancel the operation, or leave it running? (c/l) [l]: "


class Pressed(Exception):
    """Ctrl-C was pressed."""


class CtrlC:
    """Takes Ctrl-C while its ``with`` block lasts; one that comes between two waits ends the next."""

    def __init__(self) -> None:
        self._presses = asyncio.Semaphore(0)

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._previous = signal.signal(
            signal.SIGINT, lambda *_: loop.call_soon_threadsafe(self._presses.release)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    async def until(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``. Raises ``Pressed`` when Ctrl-C ended it."""
        task, press = asyncio.ensure_future(work), asyncio.ensure_future(self._presses.acquire())
        try:
            await asyncio.wait({task, press}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Pressed
        finally:
            for each in (task, press):
                each.cancel()
            await asyncio.gather(task, press, return_exceptions=True)


async def ask(ctrl_c: CtrlC, question: str) -> str:
    """The line with which the user answers, in lower case.

    Raises ``Pressed``, and ``NotImplementedError`` where no event loop of this system can wait for stdin.
    """
    click.echo(question, nl=False, err=True)
    try:
        return (await ctrl_c.until(_line())).strip().lower()
    except (Pressed, NotImplementedError):
        click.echo(err=True)
        raise


async def ask_cancel(ctrl_c: CtrlC) -> bool:
    """Whether to cancel the operation. Where nobody can answer, or answers by Ctrl-C, it is left running."""
    if not sys.stdin.isatty():
        return False
    while True:
        try:
            answer = await ask(ctrl_c, QUESTION)
        except (Pressed, NotImplementedError):
            return False
        if answer in {"c", "cancel"}:
            return True
        if answer in {"", "l", "leave"}:
            return False


async def _line() -> str:
    """A line from stdin, on the event loop: a blocking read could miss a Ctrl-C that comes just before it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()
