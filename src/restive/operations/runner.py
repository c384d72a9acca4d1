"""Takes operations from the queue and has them run: in this process under a lease, or by sending them away.

Nothing starts before there is work. What another process left behind is found by ``Sweep``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BackendError, Canceled, Problem, SettingError
from ..settings import Settings
from .attempts import Attempts, Find
from .declaration import Declaration
from .engines.choosing import Engines
from .engines.port import Elsewhere, Engine
from .engines.threads import Job
from .files import Files
from .follower import Follower
from .holders import Holders
from .keeper import Chore, Keeper
from .posting import Posting
from .queue import Pace, Queue, Waiting
from .record import OperationRecord, Place
from .sending import Sending
from .store import Store
from .sweeping import News, Patrol, Recount, Retrying, Ripening, Sweep

__all__ = ["Runner"]

logger = logging.getLogger("restive.operations")

RECOUNT_EVERY = 0.1
"""Seconds between two counts of those that were sent away and wait, while there is no place left."""


class Runner:
    """The operations that this process runs or will run. All methods block; any thread may call them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        home: Callable[[], Path],
        find: Find,
        announce: Callable[[OperationRecord], None],
        moved: Callable[[list[str]], None],
        shared: Callable[[], bool],
        swept: Callable[[], None],
        twin: Callable[[], Any],
    ) -> None:
        """``announce`` tells of a changed document, ``moved`` of paths whose place in the queue has changed.

        ``swept`` is called after each look at what others left behind; ``twin`` is the host's.
        """
        self._settings, self.store, self.files = settings, store, files
        self._find, self.announce = find, announce
        self.holders = Holders(home)
        self.attempts = Attempts(settings, store, files, self.holders, find, self, shared)
        self.engines = Engines(settings, home, self._serve, twin)
        self._changed = threading.Condition()
        self._queue = Queue(settings.owner_running)
        self.posting = Posting()
        self._follower = Follower(settings, store, files, self.engines, find, announce)
        follow = partial(self._follower.follow, soon=True)
        self._sending = Sending(settings, store, self.posting, self.engines, find, follow)
        self._paces: dict[Hashable, Pace] = {}
        self._reserved: Counter[str | None] = Counter()
        self._stopped: set[str] = set()
        """Those that were canceled between being taken from the queue and having a run."""
        self._active = 0
        self._counted = 0.0
        self._draining = False
        self._sweeping = Sweep(self, settings.lease, shared, swept)
        self._news = News(self.first, moved)
        away: list[Chore] = [Patrol(self, settings.lease), Recount(self), Retrying(self)]
        chores: list[Chore] = [self._sweeping, *away, Ripening(self), self._news]
        self._keeper = Keeper(self.attempts.tend, self.attempts.due, chores)
        self.attempts.keeper = self._keeper

    # The queue

    def reserve(self, owner: str | None = None) -> None:
        """Take a place in the queue. Raises ``Problem`` (503, 429) where there is none."""
        most, own = self._settings.max_queued, self._settings.owner_queued
        with self._changed:
            if self._draining:
                raise Problem(503, "The server is stopping", headers={"Retry-After": "5"})
            if self._waiting() >= most:
                detail = f"{most} operations are waiting already."
                raise Problem(503, "The queue is full", detail, headers={"Retry-After": "10"})
            if owner is not None and own and self._owned(owner) >= own:
                detail = f"{own} operations of this owner are waiting already: wait until one has started."
                raise Problem(429, "The owner's queue is full", detail, headers={"Retry-After": "10"})
            self._reserved[owner] += 1

    def is_full(self, owner: str | None = None) -> bool:
        """Whether ``reserve`` would refuse, by what is known now."""
        own = self._settings.owner_queued
        with self._changed:
            full = self._waiting() >= self._settings.max_queued
            return full or bool(owner is not None and own and self._owned(owner) >= own)

    def _waiting(self) -> int:
        return len(self._queue) + len(self.posting) + self._reserved.total()

    def _owned(self, owner: str) -> int:
        return self._queue.owned(owner) + self.posting.owned(owner) + self._reserved[owner]

    def release(self, owner: str | None = None) -> None:
        """Give a reserved place back."""
        with self._changed:
            self._reserved[owner] -= 1
            if not self._reserved[owner]:
                del self._reserved[owner]

    @property
    def held_back(self) -> bool:
        """Whether something waits here for the end of what was sent away."""
        with self._changed:
            waiting = len(self._queue)
        return bool(waiting and self.posting.limited)

    def recount(self) -> None:
        """Where there seems to be no place left: see how many of those that were sent away have begun."""
        now = time.monotonic()
        if len(self.posting) and now - self._counted >= RECOUNT_EVERY:
            self._counted = now
            self.settle()

    def elsewhere(self, declaration: Declaration) -> Elsewhere | None:
        """The engine on other machines that runs a declaration, if it is one, and can be made."""
        try:
            engine = self.engines.of(declaration)
        except SettingError:  # ``enqueue`` says so
            return None
        return engine if isinstance(engine, Elsewhere) else None

    def enqueue(self, operation: OperationRecord) -> None:
        """Run a stored operation as soon as a worker is free; once, however often this is called."""
        declaration = self._find(operation.declaration)
        if declaration is None or self._keeper.find(operation.id):
            return
        try:
            engine = self.engines.of(declaration)
        except SettingError as error:
            logger.error("Operation %s cannot be run: %s", operation.id, error)
            return
        entry = Waiting(
            operation.id,
            self.engines.key(declaration),
            operation.declaration,
            operation.location,
            operation.owner,
            operation.priority,
            operation.not_before or 0.0,
            declaration.concurrency,
            operation.attempt,
            operation.sends,
        )
        with self._changed:
            if self._draining:
                return
            self._queue.add(entry, self.store.clock())
        engine.threads.wake()
        self._keeper.wake()

    def adopt(self, operation: OperationRecord) -> None:
        """Run what another process has stored, or left; what was sent away only where its time has come."""
        declaration = self._find(operation.declaration)
        if declaration is None or operation.status != "queued":
            return
        engine = self.elsewhere(declaration)
        if engine is None or not (engine.repeatable or operation.sends):
            self.enqueue(operation)
            return
        again = self._sending.due(operation)
        if again is not None:
            with self._changed:
                self._queue.done(operation.id)
            self.enqueue(again)

    def again(self, operation: OperationRecord) -> None:
        """An attempt of it has failed, and another one is to follow."""
        self.adopt(operation)

    def files_of(self, operation: OperationRecord) -> Files:  # noqa: ARG002 - the same for all
        """Where a run of it here finds and keeps files."""
        return self.files

    def place(self, operation: OperationRecord) -> Place | None:
        """The place in the queue of one that waits; None where it has none (yet)."""
        if operation.status != "queued":
            return None
        with self._changed:
            known = operation.id in self._queue
        if not known and operation.sent is None:  # it came through another process: whoever is free runs it
            self.enqueue(operation)
        with self._changed:
            entry = self._queue.find(operation.id)
            engine = None if entry is None else self.engines.find(entry.engine)
            if entry is None or engine is None:
                return None
            pace = self._paces.setdefault(entry.engine, Pace())
            return self._queue.place(entry.id, pace, engine.threads.workers)

    def first(self, count: int) -> list[str]:
        """The paths of the ``count`` that are next."""
        with self._changed:
            return [entry.location for entry in self._queue.first(count)]

    def known(self) -> set[str]:
        """What nobody has to look for: it waits or runs in this process, or was sent a while ago."""
        quiet = self.posting.quiet(self.store.clock())
        with self._changed:
            return (self._queue.known() - self.posting.limited) | quiet | self._follower.known()

    def follows(self, operation: OperationRecord) -> bool:
        """Whether it was sent to workers that know no backend: its task is followed from now on."""
        if operation.sent is None or not operation.sends:
            return False
        declaration = self._find(operation.declaration)
        engine = None if declaration is None else self.elsewhere(declaration)
        if engine is None or engine.repeatable:
            return False
        self._follower.follow(operation)
        return True

    def settle(self) -> Mapping[str, bool]:
        """See what became of those that were sent away, by the marks of all that is not final: these."""
        known = self.posting.known()
        marks = self.store.open_marks()
        ended = self.posting.settle(known, marks)
        if ended:
            with self._changed:
                engines = {self._queue.done(identity) for identity in ended}
            for key in engines:
                self.wake(key)
        return marks

    def next_due(self) -> float | None:
        """When (Unix time) the next one may start that waits for its time."""
        with self._changed:
            return None if self._draining else self._queue.next_due()

    def ripen(self) -> None:
        """Line up those whose time has come."""
        with self._changed:
            engines = self._queue.due(self.store.clock())
        for key in engines:
            self.wake(key)

    @property
    def resumed(self) -> bool:
        """Whether what earlier processes left behind was looked for."""
        return self._sweeping.serving

    def resume(self) -> None:
        """Once for each process: take over what earlier ones left behind, and go on looking for more.

        Raises ``BackendError`` where that cannot be read now; it goes on looking all the same.
        """
        try:
            self._sweeping.begin()
        finally:
            self._keeper.wake()

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(len(self._queue) or self._active)

    def _serve(self, key: Hashable, engine: Engine | Elsewhere) -> None:
        if isinstance(engine, Elsewhere):
            engine.threads.serve(lambda: self._take(key, partial(self._send, engine), away=True))
        else:
            engine.threads.serve(lambda: self._take(key, partial(self._run, engine)))

    def _take(self, key: Hashable, do: Callable[[Waiting], None], *, away: bool = False) -> Job | None:
        with self._changed:
            may = not self._draining and self._sending.may(key)
            entry = self._queue.take(key, self.store.clock()) if may else None
            if entry is None:
                return None
            if away:
                self.posting.leave(entry)
            self._active += 1
        self._moved()
        return partial(do, entry)

    def _moved(self) -> None:
        if len(self._queue) and not self._news.wanted:
            self._news.wanted = True
            self._keeper.wake()

    def wake(self, key: Hashable) -> None:
        """Something may have to be done on the engine of that key."""
        engine = self.engines.find(key)
        if engine is not None:
            engine.threads.wake()

    # One of them

    def _send(self, engine: Elsewhere, entry: Waiting) -> None:
        sent = False
        limited = entry.limit is not None or bool(self._settings.owner_running and entry.owner)
        try:
            with self._changed:
                stopped = entry.id in self._stopped
            sent = not stopped and self._sending.send(entry, engine)
        finally:
            with self._changed:
                if sent and limited:
                    self.posting.limit(entry.id)
                else:
                    self._queue.done(entry.id)
                if not sent:
                    self.posting.discard(entry.id)
                if not sent and entry.id not in self._stopped and not self._draining:
                    self._queue.add(entry, self.store.clock())
                self._stopped.discard(entry.id)
                self._active -= 1
                self._changed.notify_all()
        self._keeper.wake()
        if sent and len(self._queue):
            engine.threads.wake()

    def _run(self, engine: Engine, entry: Waiting) -> None:
        begun, again = time.monotonic(), None
        try:
            run = self.attempts.claim(entry.id)
            if run is not None:
                with self._changed:
                    canceled = entry.id in self._stopped
                if canceled:
                    run.stop(Canceled)
                again = self.attempts.complete(run, engine)
        except BackendError:
            logger.exception("Operation %s cannot be run now; it stays stored.", entry.id)
        finally:
            with self._changed:
                self._queue.done(entry.id)
                self._stopped.discard(entry.id)
                self._active -= 1
                pace = self._paces.setdefault(entry.engine, Pace())
                pace.ran(time.monotonic() - begun, self.store.clock())
                self._changed.notify_all()
        if again is not None:
            self.enqueue(again)
        if len(self._queue):  # a limit that held others back has room again
            self.wake(entry.engine)

    # From outside

    def cancel(self, identity: str) -> OperationRecord | None:
        """Ask for the cancel. Returns what the operation is now, None where nothing changed."""

        def change(it: OperationRecord) -> OperationRecord | None:
            now = self.store.clock()
            return it.cancel_marked(now) if self.follows(it) else it.cancel_asked(now)

        asked = self.store.update(identity, change)
        if asked is not None:
            self._stop(asked)
            if not asked.final and self.follows(asked):
                self._follower.follow(asked, soon=True)
            self.announce(asked)
        return asked

    def delete(self, identity: str) -> OperationRecord | None:
        """Cancel if need be, and forget all but a trace."""
        deleted = self.store.forget(identity, "deleted")
        if deleted is not None:
            self._stop(deleted)
            self.files.remove(identity, deleted.scattered)
        return deleted

    def _stop(self, operation: OperationRecord) -> None:
        identity = operation.id
        with self._changed:
            self._queue.discard(identity)
            if identity in self._queue:
                self._stopped.add(identity)
        self._moved()
        run = self._keeper.find(identity)
        if run is not None:
            run.stop(Canceled)
        elif operation.sent is not None:
            self._sending.withdraw(operation)

    def is_foreign(self, identity: str) -> bool:
        """Whether no run of it is in this process."""
        return self._keeper.find(identity) is None

    def end_lost(self, found: OperationRecord) -> OperationRecord | None:
        """What becomes of an operation whose lease is over; None where it is no longer so."""
        return self.attempts.end_lost(found)

    # Shutdown

    def drain(self, seconds: float) -> None:
        """Let what runs finish within ``seconds``, then interrupt it; what is queued stays stored."""
        with self._changed:
            self._draining = True
            self._queue.clear()
        try:
            if not self._idle(seconds):
                self.attempts.interrupt_all(self._idle)
            self._follower.clear()
            self.engines.close()
            self.holders.close()
        finally:
            self._sweeping.serving = False
            with self._changed:
                self._draining = False
            self._keeper.wake()

    def _idle(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        with self._changed:
            while self._active:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True
