"""Group commit: steps that several callers bring while others are on their way go together, as one batch.

Who finds nothing on its way goes at once. Where a Conflict meets several, each is done again by itself, so
that it meets one alone; where the server is away, whoever waits behind need not wait for it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from restive.errors import BackendError, BackendUnavailable, Conflict

from ..port import Step
from .plan import Result

__all__ = ["Gathering"]

Do = Callable[[Sequence[Step]], Awaitable[list[Result]]]
Together = Callable[[Sequence[Sequence[Step]]], int]


class Gathering:
    """Steps on their way and those that wait. ``together`` says how many of them go next, one at least."""

    def __init__(self, do: Do, together: Together) -> None:
        self._do = do
        self._together = together
        self._waiting: list[tuple[Sequence[Step], asyncio.Future[list[Result]]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nobody waits, and nothing is on its way."""
        return not self._waiting

    async def add(self, steps: Sequence[Step]) -> list[Result]:
        """Do the steps, with others perhaps; what each returned."""
        loop = asyncio.get_running_loop()
        results: asyncio.Future[list[Result]] = loop.create_future()
        self._waiting.append((steps, results))
        if len(self._waiting) == 1:
            self._task = loop.create_task(self._drain())
        return await results

    async def _drain(self) -> None:
        """Do what waits until nothing does. It is taken away when it is done: that marks the work."""
        while self._waiting:
            count = self._together([steps for steps, _ in self._waiting])
            group = self._waiting[:count]
            try:
                await self._do_group(group)
            except BaseException as error:
                for _, results in self._waiting:
                    if not results.done():
                        results.set_exception(_copy(error))
                self._waiting.clear()
                if not isinstance(error, BackendError):
                    raise
            else:
                del self._waiting[:count]

    async def _do_group(self, group: list[tuple[Sequence[Step], asyncio.Future[list[Result]]]]) -> None:
        try:
            done = iter(await self._do([step for steps, _ in group for step in steps]))
        except Conflict as error:
            if len(group) == 1:
                _settle(group[0][1], error)
                return
            for each in group:
                await self._do_group([each])
            return
        for steps, results in group:
            _settle(results, [next(done) for _ in steps])


def _settle(results: asyncio.Future[list[Result]], outcome: list[Result] | Conflict) -> None:
    if results.done():  # the caller has gone
        return
    if isinstance(outcome, Conflict):
        results.set_exception(outcome)
    else:
        results.set_result(outcome)


def _copy(error: BaseException) -> BackendUnavailable:
    """An error for each thread: two must not raise the same one."""
    return BackendUnavailable(str(error) or "NATS: the backend was closed. The outcome is unknown.")
