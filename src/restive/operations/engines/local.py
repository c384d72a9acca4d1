"""The engines of this process: threads for ``def``, one event loop for ``async def``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import CancelledError, Future

from ..calling import Outcome, acall, call, lost
from ..handle import Operation
from ..run import Run
from .port import Task
from .threads import Threads

__all__ = ["LoopEngine", "ThreadEngine"]

logger = logging.getLogger("restive.operations")

ANSWERS_IN = 0.5
"""Seconds within which a loop that is not blocked runs a callback."""


class ThreadEngine:
    """Calls each function on its attendant's thread."""

    def __init__(self, workers: int) -> None:
        self.threads = Threads(workers)

    def call(self, task: Task, run: Run) -> Outcome:
        """Call the function here."""
        with self.threads.attending(run.id):
            return call(task.function, task.signature, task.stored, Operation(run, self.threads), run)

    def give_up(self, run: Run) -> bool:
        """False: a thread cannot be ended. Another one takes its place."""
        self.threads.give_up(run.id)
        return False

    def close(self) -> None:
        """Nothing: threads without work end by themselves."""


class LoopEngine:
    """Runs coroutine functions on one event loop, in a thread of its own; ``crew`` helps their ``op.map``."""

    def __init__(self, at_once: int, crew: Threads) -> None:
        self.threads = Threads(at_once)
        self._crew = crew
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[str, Future[Outcome]] = {}

    def call(self, task: Task, run: Run) -> Outcome:
        """Run the coroutine on the loop, and wait here for its end."""
        operation = Operation(run, self._crew)
        called = acall(task.function, task.signature, task.stored, operation, run)
        future = self._calls[run.id] = asyncio.run_coroutine_threadsafe(called, self._running())
        try:
            return future.result()
        except CancelledError:  # given up
            return lost("Its coroutine did not end when it was asked to.")
        finally:
            self._calls.pop(run.id, None)

    def give_up(self, run: Run) -> bool:
        """False: a coroutine that does not end cannot be ended. A loop that it blocks is replaced."""
        self._replace_if_blocked()
        future = self._calls.get(run.id)
        if future is not None:
            future.cancel()
        return False

    def close(self) -> None:
        """End the loop."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=[self._loop], name="restive-loop", daemon=True).start()
            return self._loop

    def _replace_if_blocked(self) -> None:
        loop, answered = self._loop, threading.Event()
        if loop is None:
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(answered.set)
        if not answered.wait(ANSWERS_IN):
            logger.error("An async operation blocks its event loop: call what blocks in asyncio.to_thread.")
            with self._lock:
                if self._loop is loop:
                    self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
