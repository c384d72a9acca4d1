"""The thread that stores what running operations report, renews their leases, and does what is due besides.

It starts with the first thing to keep and ends soon after the last.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import BackendUnavailable
from .run import Run

__all__ = ["Chore", "Keeper"]

logger = logging.getLogger("restive.operations")


LINGER = 2.0
"""Seconds that the thread stays with nothing to keep: short operations follow each other."""


class Chore(Protocol):
    """What is done from time to time. Times are monotonic, in seconds."""

    def due(self) -> float | None:
        """When it is next to be done; None while there is nothing to do."""
        ...

    def do(self) -> None:
        """Do it."""
        ...


class Keeper:
    """Tends each run when it is due, and does the chores."""

    def __init__(
        self, tend: Callable[[Run], None], due: Callable[[Run], float], chores: Sequence[Chore]
    ) -> None:
        self._tend, self._due, self._chores = tend, due, chores
        self._changed = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._thread: threading.Thread | None = None
        self._until = 0.0
        """What the thread waits for."""
        self._away = False
        """Whether the backend was away the last time."""

    def add(self, run: Run) -> None:
        """Keep ``run`` until it is removed."""
        with self._changed:
            self._runs[run.id] = run
        self.wake()

    def remove(self, run: Run) -> None:
        """Keep it no more."""
        with self._changed:
            if self._runs.get(run.id) is run:
                del self._runs[run.id]
        self.wake()

    def wake(self) -> None:
        """Something may be due earlier than it was."""
        with self._changed:
            due = self._next()
            if self._thread is None and due is not None:
                self._thread = threading.Thread(target=self._work, name="restive-keeper", daemon=True)
                self._thread.start()
            elif due is not None and due < self._until:  # else it wakes soon enough by itself
                self._changed.notify()

    def runs(self) -> list[Run]:
        """Those that are kept."""
        with self._changed:
            return list(self._runs.values())

    def find(self, identity: str) -> Run | None:
        """The run of an operation, where it is this process's."""
        with self._changed:
            return self._runs.get(identity)

    def _work(self) -> None:
        while self._wait():
            now = time.monotonic()
            for run in self.runs():
                if self._due(run) <= now:
                    self._guarded(lambda run=run: self._tend(run))  # type: ignore[misc]
            for chore in self._chores:
                due = chore.due()
                if due is not None and due <= now:
                    self._guarded(chore.do)

    def _wait(self) -> bool:
        """Wait until something is due; false, and this thread ends, when there is nothing left to keep."""
        lingered = False
        with self._changed:
            while (due := self._next()) is not None or not lingered:
                left = LINGER if due is None else due - time.monotonic()
                if left <= 0:
                    return True
                self._until = math.inf if due is None else due
                lingered = not self._changed.wait(left) and due is None
                self._until = 0.0
            self._thread = None
            return False

    def _next(self) -> float | None:
        times = [self._due(run) for run in self._runs.values()]
        times += [due for chore in self._chores if (due := chore.due()) is not None]
        return min(times, default=None)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BackendUnavailable as error:  # which says itself when it is back
            if not self._away:
                logger.warning("Operations cannot be kept now; their leases run on: %s", error)
            self._away = True
            time.sleep(0.05)
        except Exception:
            logger.exception("Operations cannot be kept now; their leases run on.")
            time.sleep(0.05)  # what failed is due at once again
        else:
            self._away = False
