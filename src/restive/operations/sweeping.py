"""What the keeper does besides tending runs: taking over what others left, and telling of the queue.

Each is a chore: it says when it is due, and is done then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BackendError

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["News", "Ripening", "Sweep"]

logger = logging.getLogger("restive.operations")

NEWS_EVERY = 1.0
"""Seconds between two announcements of places in the queue."""

NEWS_FOR = 100
"""How many, from the front, are told that they moved; those further behind see it when they look."""


class Sweep:
    """Queues what waits in the store, ends what lost its runner, forgets what was kept long enough.

    Where other processes may share the store it goes on as long as this one serves, else while it is busy.
    """

    def __init__(
        self, runner: Runner, lease: float, shared: Callable[[], bool], swept: Callable[[], None]
    ) -> None:
        self._runner, self._shared, self._then = runner, shared, swept
        self._every = max(0.2, min(5.0, lease / 3))
        self._swept = 0.0
        self.serving = False

    def begin(self) -> None:
        """Sweep now, and from now on; nothing where that was begun before."""
        if not self.serving:
            self.serving = True
            self.do()
            self._clear()

    def _clear(self) -> None:
        """Remove the uploads of submissions that a crash cut off before they were stored."""
        runner = self._runner
        for identity in runner.files.left_behind():
            if runner.store.is_orphan(identity):
                runner.files.remove(identity)

    def due(self) -> float | None:
        """Some seconds after the last sweep."""
        wanted = self.serving and (self._runner.busy or self._shared())
        return self._swept + self._every if wanted else None

    def do(self) -> None:
        """Sweep."""
        self._swept = time.monotonic()
        runner, now = self._runner, self._runner.store.clock()
        holders = set()
        for found in runner.store.open(runner.known()):
            if found.status == "queued":
                runner.enqueue(found)
            elif found.lost(now, runner.holders.dead):
                runner.end_lost(found)
            elif found.lease is not None:
                holders.add(found.lease.holder)
        runner.holders.forget(holders)
        runner.store.expire(runner.files.remove)
        self._then()


class Ripening:
    """Lines up operations whose ``not_before`` has come."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def due(self) -> float | None:
        """When the first of them may start."""
        when = self._runner.next_due()
        return None if when is None else time.monotonic() + when - self._runner.store.clock()

    def do(self) -> None:
        """Line them up."""
        self._runner.ripen()


class News:
    """Tells those at the front of the queue that they moved, now and then."""

    def __init__(self, first: Callable[[int], list[str]], tell: Callable[[list[str]], None]) -> None:
        self._first, self._tell = first, tell
        self._told = 0.0
        self.wanted = False
        """Whether the queue has moved since."""

    def due(self) -> float | None:
        """A while after the last time, where it has moved since."""
        return self._told + NEWS_EVERY if self.wanted else None

    def do(self) -> None:
        """Tell them."""
        self._told, self.wanted = time.monotonic(), False
        paths = self._first(NEWS_FOR)
        if paths:
            try:
                self._tell(paths)
            except BackendError as error:
                logger.warning("Places in the queue cannot be told now: %s", error)
