"""An executor that was given: its processes take one call after another, and break as a whole.

The next call then gets a new executor, where it is known how to make one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

from . import worker
from .attending import Call
from .jobs import Job
from .line import Line, Worker
from .messages import Address

__all__ = ["SharedPool"]

DRAINS_IN = 2.0
"""Seconds within which a process ends that has lost its line."""


class SharedPool:
    """One seat for all. ``make`` makes another executor; without it ``executor`` is somebody else's."""

    own = False

    def __init__(self, executor: Executor, make: Callable[[], Executor] | None, line: Line) -> None:
        self._given = None if make is not None else executor
        self._make = make or _remake(executor)
        self._line = line
        self._lock = threading.Lock()
        self._next: Executor | None = executor
        self._executor: Executor | None = None
        self._leaving: list[Worker] = []

    def address(self) -> Address | None:
        """Where a worker connects with its first call."""
        return self._line.address()

    def take(self) -> SharedPool:
        """Itself."""
        return self

    def give(self, seat: object) -> None:
        """Nothing: others use it too."""

    def prepare(self, call: Call) -> None:
        """Nothing: it is the executor's to have processes."""

    def kill(self, call: Call) -> None:
        """Nothing: the others' calls would break too."""

    def close(self) -> None:
        """Shut the executor down, but for one that is somebody else's; its workers keep their lines."""
        with self._lock:
            executor, self._executor = self._executor, None
            if executor is self._given:
                self._next = executor or self._next
                return
        if executor is not None:
            executor.shutdown(wait=True)

    def perform(self, job: Job, call: Call) -> bytes:
        """Give the executor the job, and wait for its end."""
        executor = self._current()
        call.when_lost = functools.partial(_nudge, executor)
        try:
            future: Future[bytes] = executor.submit(worker.work, job)
            return call.await_end(future)
        except BrokenExecutor:
            self._discard(executor)
            for each in self._leaving:  # one of them may have told that it has begun
                each.await_end(DRAINS_IN)
            raise

    def _current(self) -> Executor:
        with self._lock:
            if self._executor is None:
                if self._next is None and self._make is None:
                    raise RuntimeError("The executor is broken: give engine= a function that makes one.")
                executor, self._next = self._next, None
                if executor is None:
                    assert self._make is not None
                    executor = self._make()
                _enlist_at_start(executor, self._line)
                self._executor = executor
            return self._executor

    def _discard(self, broken: Executor) -> None:
        """Use it no more; all its processes are to end."""
        with self._lock:
            if self._executor is broken:
                self._executor = None
                self._leaving = self._line.dismiss()
        broken.shutdown(wait=False)


def _nudge(executor: Executor) -> None:
    """Have it look at its processes: one that it has just started is not watched before the next event."""
    with contextlib.suppress(RuntimeError):  # it has seen it, or is shut down
        executor.submit(os.getpid)


def _remake(executor: Executor) -> Callable[[], Executor] | None:
    """How to make another one with the same parameters, where that is known."""
    if type(executor) is not ProcessPoolExecutor:
        return None
    it: Any = executor
    options = {"max_tasks_per_child": it._max_tasks_per_child}  # noqa: SLF001 - it does not tell them
    parameters = (it._max_workers, it._mp_context, it._initializer, it._initargs)  # noqa: SLF001
    return lambda: ProcessPoolExecutor(*parameters, **options)


def _enlist_at_start(executor: Executor, line: Line) -> None:
    """Have its processes end with this one even before their first call, where none is started yet."""
    it: Any = executor
    if type(executor) is ProcessPoolExecutor and not it._processes:  # noqa: SLF001
        initializer, initargs = it._initializer, it._initargs  # noqa: SLF001
        it._initializer, it._initargs = worker.enlist, (line.address(), initializer, *initargs)  # noqa: SLF001
