"""What the keeper does besides tending runs: taking over what others left, and telling of the queue.

Each is a chore: it says when it is due, and is done then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BackendError
from .record import OperationRecord

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["News", "Patrol", "Recount", "Retrying", "Ripening", "Sweep"]

logger = logging.getLogger("restive.operations")

RECOUNT_EVERY = 0.5
"""Seconds between two looks at what runs elsewhere and holds others back."""

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
        self._cleared = False
        self.serving = False

    def begin(self) -> None:
        """Sweep now, and from now on, even if now raises; nothing where that was begun before."""
        if not self.serving:
            self.serving, self._cleared = True, False
            self.do()

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
        runner = self._runner
        holders, running = set(), set()
        marks = runner.settle()
        for found in runner.store.open(runner.known(), marks):
            if runner.follows(found):
                continue
            if found.status == "queued":
                runner.adopt(found)
                continue
            running.add(found.id)
            if runner.attempts.vigil.lost(found):
                runner.end_lost(found)
            elif found.lease is not None:
                holders.add(found.lease.holder)
        runner.attempts.vigil.keep(running)
        runner.holders.forget(holders)
        runner.store.expire(runner.files.remove)
        if not self._cleared:
            self._clear()
            self._cleared = True
        self._then()


class Patrol:
    """Looks more often at the leases of other machines, whose end nothing else tells of."""

    def __init__(self, runner: Runner, lease: float) -> None:
        self._runner = runner
        self._every = max(0.1, min(1.0, lease / 10))
        self._done = 0.0

    def due(self) -> float | None:
        """A moment after the last look, while there are any."""
        return self._done + self._every if self._runner.attempts.vigil.watched() else None

    def do(self) -> None:
        """Look at them."""
        self._done = time.monotonic()
        runner = self._runner
        for identity, holder in runner.attempts.vigil.watched():
            if runner.holders.alive(holder):
                continue  # it is on this machine: the sweep will do
            found = runner.store.load(identity)
            if isinstance(found, OperationRecord) and runner.attempts.vigil.lost(found):
                runner.end_lost(found)


class Recount:
    """Sees sooner than the sweep which of those that hold others back have ended."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._done = 0.0

    def due(self) -> float | None:
        """A moment after the last time, while anything is held back."""
        return self._done + RECOUNT_EVERY if self._runner.held_back else None

    def do(self) -> None:
        """Count."""
        self._done = time.monotonic()
        self._runner.settle()


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


class Retrying:
    """Tries engines again that took nothing."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def due(self) -> float | None:
        """When the first of them is to be tried, where anything waits for it."""
        found = self._runner.posting.next_try() if self._runner.busy else None
        return None if found is None else found[0]

    def do(self) -> None:
        """Try it."""
        found = self._runner.posting.next_try()
        if found is not None:
            self._runner.wake(found[1])


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
