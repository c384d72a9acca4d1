"""The engine of a ``ThreadPoolExecutor``: calls functions on its threads, in this process."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass

from ...errors import Problem
from ..calling import Outcome, call
from ..handle import Operation
from ..run import Run
from .ending import ended_early
from .port import Task
from .threads import Shared, Threads

__all__ = ["HostedEngine"]

logger = logging.getLogger("restive.operations")


@dataclass(frozen=True)
class _OnExecutor:
    """Help, given on the executor's threads."""

    shared: Shared
    executor: Executor

    def help(self) -> bool:
        return self.executor.submit(self.shared.help).result()


class HostedEngine:
    """Its attendants only wait. The executor is shut down with the engine where it is ``owned``."""

    def __init__(self, executor: Executor, workers: int, *, owned: bool) -> None:
        self.threads = Threads(workers)
        self.workers = workers
        self._executor, self._owned = executor, owned

    def call(self, task: Task, run: Run) -> Outcome:
        """Have the function called on one of the executor's threads, and wait for its end."""
        with self.threads.attending(run.id):
            try:
                return self._executor.submit(copy_context().run, self._called, task, run).result()
            except RuntimeError as error:  # it is shut down
                logger.error("Operation %s cannot be called: %s", run.id, error)
                problem = Problem(500, "The operation failed", "Its executor takes no more calls.")
                return Outcome("failed", error=problem.document(), retry=True)

    def _called(self, task: Task, run: Run) -> Outcome:
        if run.stopped is not None:
            return ended_early(run.stopped, run.timeout)
        return call(task.function, task.signature, task.stored, Operation(run, self), run)

    def share(self, shared: Shared, pieces: int) -> None:
        """Let idle attendants have idle threads help."""
        self.threads.share(_OnExecutor(shared, self._executor), pieces)

    def unshare(self, shared: Shared) -> None:
        """No more help is wanted."""
        self.threads.unshare(_OnExecutor(shared, self._executor))

    def give_up(self, run: Run) -> bool:
        """False: a thread cannot be ended."""
        self.threads.give_up(run.id)
        return False

    def close(self) -> None:
        """Shut the executor down, if it is ours."""
        if self._owned:
            self._executor.shutdown(wait=False, cancel_futures=True)
