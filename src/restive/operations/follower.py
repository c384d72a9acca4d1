"""Follows tasks of Celery that are operations: looks at them, soon after they were sent and ever more seldom.

Every server may look at every task, since all see the same; the one that has sent it looks most often.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BackendError, Problem
from ..settings import Settings
from .attempts import INLINE_RESULT, Find
from .declaration import Declaration
from .engines.choosing import Engines
from .engines.given_task import GivenTask
from .engines.task_states import Result, TaskSeen, after
from .files import Files
from .record import OperationRecord
from .store import Store

__all__ = ["Follower"]

logger = logging.getLogger("restive.operations")

SOONEST, LATEST = 0.1, 2.0
"""Seconds between two looks at a task that this server has sent: at first, and at most."""

SELDOM = 5.0
"""Seconds between two looks at another server's."""

SLOWER = 1.3
LOOK_EVERY = 10.0
"""Seconds after which the operation is looked at, where its task shows nothing new."""


@dataclass(slots=True)
class _Followed:
    operation: OperationRecord
    declaration: Declaration
    engine: GivenTask
    delay: float
    seen: TaskSeen | None = None
    stored_at: float = float("-inf")


class Follower:
    """Any thread may call its methods; they return at once."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        engines: Engines,
        find: Find,
        announce: Callable[[OperationRecord], None],
    ) -> None:
        self._grace, self._store, self._files = settings.stop_grace, store, files
        self._engines, self._find, self._announce = engines, find, announce
        self._changed = threading.Condition()
        self._followed: dict[str, _Followed] = {}
        self._due: list[tuple[float, str]] = []
        self._running = self._away = False

    def follow(self, operation: OperationRecord, *, soon: bool = False) -> None:
        """Look at its task until it is final; ``soon``: it was sent, or is to end, just now."""
        declaration = self._find(operation.declaration)
        engine = None if declaration is None else self._engines.of(declaration)
        if declaration is None or not isinstance(engine, GivenTask):
            return
        with self._changed:
            one = self._followed.get(operation.id)
            if one is None:
                one = self._followed[operation.id] = _Followed(operation, declaration, engine, SELDOM)
            elif not soon:
                return
            one.delay = SOONEST if soon else SELDOM
            one.stored_at = float("-inf")
            heapq.heappush(self._due, (time.monotonic() + one.delay, operation.id))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="restive-follower", daemon=True).start()
            self._changed.notify()

    def known(self) -> set[str]:
        """All that are followed."""
        with self._changed:
            return set(self._followed)

    def clear(self) -> None:
        """Follow none any more."""
        with self._changed:
            self._followed.clear()
            self._due.clear()
            self._changed.notify()

    def _work(self) -> None:
        while (one := self._next()) is not None:
            try:
                over = self._look(one)
            except Exception as error:  # noqa: BLE001 - whatever a result backend raises
                over = False
                self._trouble(error)
            with self._changed:
                identity = one.operation.id
                if over and self._followed.pop(identity, None) is not None:
                    one.engine.forget(identity)
                elif identity in self._followed:
                    heapq.heappush(self._due, (time.monotonic() + one.delay, identity))

    def _next(self) -> _Followed | None:
        """The next one to be looked at, once it is due; None, and this thread ends, where there is none."""
        with self._changed:
            while self._followed:
                while self._due and self._due[0][1] not in self._followed:
                    heapq.heappop(self._due)
                left = self._due[0][0] - time.monotonic() if self._due else LATEST
                if left <= 0:
                    identity = heapq.heappop(self._due)[1]
                    self._due = [each for each in self._due if each[1] != identity]
                    heapq.heapify(self._due)
                    return self._followed[identity]
                self._changed.wait(left)
            self._running = False
            return None

    def _trouble(self, error: Exception) -> None:
        if not self._away:
            logger.error("Tasks of Celery cannot be seen now: %s: %s", type(error).__name__, error)
        self._away = True

    def _look(self, one: _Followed) -> bool:
        """Look at one; whether it is over."""
        seen = one.engine.look(one.operation.id)
        if self._away:
            self._away = False
            logger.warning("Tasks of Celery can be seen again.")
        now = time.monotonic()
        if seen == one.seen and now < one.stored_at + LOOK_EVERY and not self._pressed(one):
            one.delay = min(max(LATEST, one.delay), one.delay * SLOWER)
            return False
        if seen != one.seen:
            one.delay = min(one.delay, 2 * SOONEST)
        found = self._store_seen(one, seen)
        one.seen, one.stored_at = seen, now
        return found is None or found.final

    def _pressed(self, one: _Followed) -> bool:
        """Whether time alone may end it."""
        return one.operation.cancel is not None or one.declaration.timeout is not None

    def _store_seen(self, one: _Followed, seen: TaskSeen) -> OperationRecord | None:
        """The operation as it is then; None where it is gone."""
        result = self._result(one, seen) if seen.state == "SUCCESS" else Result()
        was: list[OperationRecord] = []

        def change(it: OperationRecord) -> OperationRecord | None:
            was[:] = [it]
            now = self._store.clock()
            name, limit = one.declaration.name, one.declaration.timeout
            new = after(it, seen, now, result, name=name, limit=limit)
            if new is None or new.final or it.cancel is None or now < it.cancel + self._grace:
                return new
            return it.ended("canceled", now)  # it may still be at work: nothing of that is seen

        saved = self._store.update(one.operation.id, change, durable=True)
        found = saved or next(iter(was), None)
        if found is not None:
            one.operation = found
        if saved is not None:
            if saved.final and seen.state in {"PENDING", "RECEIVED", "RETRY", "STARTED"}:
                one.engine.withdraw(saved.id, saved.attempt)
            self._announce(saved)
        return found

    def _result(self, one: _Followed, seen: TaskSeen) -> Result:
        identity = one.operation.id
        try:
            data = one.declaration.signature.dump_result(seen.info)
        except Exception:
            logger.exception("Operation %s: the result of its task cannot be stored.", identity)
            kind = type(seen.info).__name__
            detail = f"The {kind} that {one.declaration.name}() returned is not what its annotation says."
            return Result(problem=Problem(500, "The result cannot be stored", detail))
        if len(data) <= INLINE_RESULT:
            return Result(data)
        try:
            self._files.write_result(identity, data, 1)
        except OSError as error:
            raise BackendError(f"the result of operation {identity} cannot be kept: {error}") from error
        return Result(data, long=True)
