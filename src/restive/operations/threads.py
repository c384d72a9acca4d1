"""The thread engine: runs jobs on a few threads, and lets idle ones help those that share their work.

Threads are started when there is work, end after a while without, and never keep the process alive.
A job always goes before help, so that a long ``op.map`` takes no queued operation's place.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Shared", "Threads"]

logger = logging.getLogger("restive.operations")

IDLE = 2.0
"""Seconds after which a thread without work ends."""


class Shared(Protocol):
    """Work that idle threads may take a piece of."""

    def help(self) -> bool:
        """Do one piece; false where there was none."""
        ...


class Threads:
    """At most ``workers`` threads, for jobs in the order in which they came."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._shared: deque[Shared] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` as soon as a thread is free."""
        with self._changed:
            self._jobs.append(job)
            self._wake(0)

    def withdraw(self) -> None:
        """Drop the jobs that were not begun."""
        with self._changed:
            self._jobs.clear()

    def share(self, shared: Shared, pieces: int) -> None:
        """Let idle threads help: ``pieces`` more pieces are there to be taken."""
        with self._changed:
            if shared not in self._shared:
                self._shared.append(shared)
            self._wake(pieces)

    def unshare(self, shared: Shared) -> None:
        """No more help is wanted."""
        with self._changed:
            if shared in self._shared:
                self._shared.remove(shared)

    def _wake(self, pieces: int) -> None:
        """Enough threads for all jobs and ``pieces``; one that was woken counts as idle until it has run."""
        wanted = len(self._jobs) + pieces
        self._changed.notify(wanted)
        for _ in range(min(wanted - self._idle, self.workers - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, name="restive-operations", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                job, shared = self._next()
                if job is None and shared is None:
                    self._threads -= 1
                    return
            self._do(job, shared)

    def _next(self) -> tuple[Callable[[], None] | None, Shared | None]:
        while True:
            if self._jobs:
                return self._jobs.popleft(), None
            if self._shared:
                return None, self._shared[0]
            self._idle += 1
            woken = self._changed.wait(IDLE)
            self._idle -= 1
            if not woken and not self._jobs and not self._shared:
                return None, None

    def _do(self, job: Callable[[], None] | None, shared: Shared | None) -> None:
        try:
            if job is not None:
                job()
            elif shared is not None and not shared.help():
                self.unshare(shared)
            elif shared is not None:
                self._rotate(shared)
        except BaseException:
            logger.exception("An engine thread met an error that no operation caught.")

    def _rotate(self, shared: Shared) -> None:
        with self._changed:
            if self._shared and self._shared[0] is shared:
                self._shared.rotate(-1)
