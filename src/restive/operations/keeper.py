"""The thread that stores what running operations report and renews their leases; it ends with the last."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .run import Run

__all__ = ["Keeper"]

logger = logging.getLogger("restive.operations")


class Keeper:
    """Saves each run when it is due, and calls ``sweep`` every ``every`` seconds meanwhile."""

    def __init__(self, sweep: Callable[[], None], every: float) -> None:
        self._sweep, self._every = sweep, every
        self._changed = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._swept = 0.0
        self._thread: threading.Thread | None = None

    def add(self, run: Run) -> None:
        """Keep ``run`` until it is removed."""
        with self._changed:
            self._runs[run.id] = run
            if self._thread is None:
                self._swept = time.monotonic()
                self._thread = threading.Thread(target=self._work, name="restive-keeper", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, run: Run) -> None:
        """Keep it no more."""
        with self._changed:
            self._runs.pop(run.id, None)
            self._changed.notify()

    def wake(self) -> None:
        """A run may be due earlier than it was."""
        with self._changed:
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
        while (due := self._next()) is not None:
            for run in due:
                self._guarded(run.save)
            if time.monotonic() >= self._swept + self._every:
                self._swept = time.monotonic()
                self._guarded(self._sweep)

    def _next(self) -> list[Run] | None:
        """Wait for the runs that are due; None when there is nothing left to keep."""
        with self._changed:
            while True:
                if not self._runs:
                    self._thread = None
                    return None
                now = time.monotonic()
                due = [run for run in self._runs.values() if run.due() <= now]
                if due or now >= self._swept + self._every:
                    return due
                until = min(self._swept + self._every, *(run.due() for run in self._runs.values()))
                self._changed.wait(max(0.001, until - now))

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            logger.exception("Operations cannot be kept now; their leases run on.")
