"""An engine's threads: each takes a job from the queue when it is free, else helps those that share work.

Threads are started when there is work, end after a while without, and never keep the process alive.
A job always goes before help, so that a long ``op.map`` takes no queued operation's place.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

__all__ = ["Job", "Shared", "Threads"]

logger = logging.getLogger("restive.operations")

IDLE = 2.0
"""Seconds after which a thread without work ends."""

MOST_LOST = 4
"""Times the number of workers: so many threads that never came back are replaced."""

T = TypeVar("T")
Job = Callable[[], None]


class Shared(Protocol):
    """Work that idle threads may take a piece of."""

    def help(self) -> bool:
        """Do one piece; false where there was none."""
        ...


def _nothing() -> Job | None:
    return None


class Threads:
    """At most ``workers`` threads at work."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._take: Callable[[], Job | None] = _nothing
        self._changed = threading.Condition()
        self._shared: deque[Shared] = deque()
        self._wakes = self._wanted = 0
        self._threads: set[int] = set()
        self._starting = 0
        self._idle = 0
        self._lost: set[int] = set()
        self._attending: dict[str, int] = {}

    def serve(self, take: Callable[[], Job | None]) -> None:
        """Get jobs by ``take``, which gives None where there is none that may begin now."""
        self._take = take

    def wake(self, jobs: int = 1) -> None:
        """There may be ``jobs`` more jobs to be taken."""
        with self._changed:
            self._wake(jobs)

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

    @contextmanager
    def attending(self, run: str) -> Iterator[None]:
        """Count this thread as at work for the run of that id, until it leaves."""
        self._attending[run] = threading.get_ident()
        try:
            yield
        finally:
            self._attending.pop(run, None)

    def give_up(self, run: str) -> None:
        """What attends to that run hangs."""
        ident = self._attending.get(run)
        if ident is not None:
            self.lose(ident)

    def lose(self, ident: int) -> None:
        """The thread ``ident`` hangs in a job for ever: another may take its place."""
        with self._changed:
            if ident not in self._threads or len(self._lost) >= MOST_LOST * self.workers:
                logger.error("%d threads hang in functions that do not end.", len(self._lost) + 1)
                return
            self._threads.discard(ident)
            self._lost.add(ident)
            self._wake(1)

    def _wake(self, pieces: int) -> None:
        """Enough threads for all that was called for and that no thread has come for yet.

        One that was woken counts as idle until it has run, so that two calls at once get two threads.
        """
        self._wakes += 1
        self._wanted += pieces
        self._changed.notify(pieces)
        room = self.workers - len(self._threads) - self._starting
        for _ in range(min(self._wanted - self._idle - self._starting, room)):
            self._starting += 1
            threading.Thread(target=self._work, name="restive-operations", daemon=True).start()

    def _work(self) -> None:
        ident = threading.get_ident()
        with self._changed:
            self._starting -= 1
            self._threads.add(ident)
        while self._turn(ident):
            pass

    def _turn(self, ident: int) -> bool:
        """Do one job or one piece, or wait for some; false when this thread is to end."""
        with self._changed:
            seen, self._wanted = self._wakes, max(0, self._wanted - 1)
        job = self._guarded(self._take)
        if job is not None:
            self._guarded(job)
        elif self._shared:
            self._guarded(self._help)
        else:
            return self._wait(ident, seen)
        with self._changed:
            if ident not in self._lost:
                return True
            self._lost.discard(ident)  # it came back after all; another one has its place
            return False

    def _wait(self, ident: int, seen: int) -> bool:
        with self._changed:
            if self._wakes == seen and not self._shared:
                self._idle += 1
                woken = self._changed.wait(IDLE)
                self._idle -= 1
                if not woken and self._wakes == seen:
                    self._threads.discard(ident)
                    return False
            return True

    def _help(self) -> None:
        with self._changed:
            if not self._shared:
                return
            shared = self._shared[0]
            self._shared.rotate(-1)
        if not shared.help():
            self.unshare(shared)

    def _guarded(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except BaseException:
            logger.exception("An engine thread met an error that no operation caught.")
            return None
