"""Takes queued operations, has them called by their engines under a lease, and stores how they end.

Nothing starts before there is work. What another process left behind is found by ``Sweep``.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

import msgspec

from ..errors import BackendError, Canceled, Interrupted, Problem, SettingError, TimedOut
from ..settings import Settings
from .calling import Outcome
from .declaration import Declaration
from .engines.choosing import Engines
from .engines.port import Engine, Task
from .engines.threads import Job
from .files import Files
from .holders import Holders
from .keeper import Keeper
from .progress import Meter
from .queue import Pace, Queue, Waiting
from .record import NULL, OperationRecord, Place, stopped
from .run import Run
from .store import Store
from .sweeping import News, Ripening, Sweep

__all__ = ["Runner"]

logger = logging.getLogger("restive.operations")

INLINE_RESULT = 64 * 1024
"""Bytes of a result that is part of the document; a longer one is only at its own URL."""

LAST_WORDS = 0.5
"""Seconds that a function gets to end by itself once it was told that it is interrupted."""

END_WAITS = (0.1, 0.4, 1.6, 5.0, 5.0)
"""Seconds between the tries to store how an operation ended."""

Find = Callable[[str], Declaration | None]


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
    ) -> None:
        """``announce`` tells of a changed document, ``moved`` of paths whose place in the queue has changed.

        ``swept`` is called after each look at what others left behind.
        """
        self._settings, self.store, self.files = settings, store, files
        self._find, self._announce, self._shared = find, announce, shared
        self.holders = Holders(home)
        self.engines = Engines(settings, home, self._serve)
        self._changed = threading.Condition()
        self._queue = Queue(settings.owner_running)
        self._paces: dict[Hashable, Pace] = {}
        self._reserved: Counter[str | None] = Counter()
        self._stopped: set[str] = set()
        """Those that were canceled between being taken from the queue and having a run."""
        self._active = 0
        self._draining = False
        self._sweeping = Sweep(self, settings.lease, shared, swept)
        self._news = News(self.first, moved)
        self._keeper = Keeper(self._tend, self._due, [self._sweeping, Ripening(self), self._news])

    # The queue

    def reserve(self, owner: str | None = None) -> None:
        """Take a place in the queue. Raises ``Problem`` (503, 429) where there is none."""
        most, own = self._settings.max_queued, self._settings.owner_queued
        with self._changed:
            if self._draining:
                raise Problem(503, "The server is stopping", headers={"Retry-After": "5"})
            if len(self._queue) + self._reserved.total() >= most:
                detail = f"{most} operations are waiting already."
                raise Problem(503, "The queue is full", detail, headers={"Retry-After": "10"})
            if owner is not None and own and self._queue.owned(owner) + self._reserved[owner] >= own:
                detail = f"{own} operations of this owner are waiting already: wait until one has started."
                raise Problem(429, "The owner's queue is full", detail, headers={"Retry-After": "10"})
            self._reserved[owner] += 1

    def release(self, owner: str | None = None) -> None:
        """Give a reserved place back."""
        with self._changed:
            self._reserved[owner] -= 1
            if not self._reserved[owner]:
                del self._reserved[owner]

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
        )
        with self._changed:
            if self._draining:
                return
            self._queue.add(entry, self.store.clock())
        engine.threads.wake()
        self._keeper.wake()

    def place(self, operation: OperationRecord) -> Place | None:
        """The place in the queue of one that waits; None where it has none (yet)."""
        if operation.status != "queued":
            return None
        with self._changed:
            known = operation.id in self._queue
        if not known:  # it came through another process: whoever is free first runs it
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
        """What waits or runs in this process."""
        with self._changed:
            return self._queue.known()

    def next_due(self) -> float | None:
        """When (Unix time) the next one may start that waits for its time."""
        with self._changed:
            return None if self._draining else self._queue.next_due()

    def ripen(self) -> None:
        """Line up those whose time has come."""
        with self._changed:
            engines = self._queue.due(self.store.clock())
        for key in engines:
            self._wake(key)

    @property
    def resumed(self) -> bool:
        """Whether what earlier processes left behind was looked for."""
        return self._sweeping.serving

    def resume(self) -> None:
        """Once for each process: take over what earlier ones left behind, and go on looking for more."""
        self._sweeping.begin()
        self._keeper.wake()

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(len(self._queue) or self._active)

    def _serve(self, key: Hashable, engine: Engine) -> None:
        engine.threads.serve(partial(self._take, key))

    def _take(self, key: Hashable) -> Job | None:
        with self._changed:
            entry = None if self._draining else self._queue.take(key, self.store.clock())
            if entry is None:
                return None
            self._active += 1
        self._moved()
        return partial(self._run, entry)

    def _moved(self) -> None:
        if len(self._queue) and not self._news.wanted:
            self._news.wanted = True
            self._keeper.wake()

    def _wake(self, key: Hashable) -> None:
        engine = self.engines.find(key)
        if engine is not None:
            engine.threads.wake()

    # One run

    def _run(self, entry: Waiting) -> None:
        begun, again = time.monotonic(), None
        try:
            run = self._claim(entry.id)
            if run is not None:
                again = self._complete(run)
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
            self._wake(entry.engine)

    def _claim(self, identity: str) -> Run | None:
        settings = self._settings
        if self._shared():
            self._live()
        claimed = self.store.update(
            identity,
            lambda it: it.claimed(self.holders.name, self.store.clock(), settings.lease),
        )
        if claimed is None:
            return None
        declaration = self._find(claimed.declaration)
        run = Run(
            claimed,
            self.store,
            self.files,
            interval=settings.report_interval,
            lease=settings.lease,
            timeout=None if declaration is None else declaration.timeout,
            budget=self._budget(claimed),
            wake=self._keeper.wake,
            announce=self._announce,
        )
        self._keeper.add(run)
        with self._changed:
            canceled = identity in self._stopped
        if canceled:
            run.stop(Canceled)
        self._announce(claimed)
        return run

    def _live(self) -> None:
        try:
            self.holders.live()
        except OSError as error:  # a full disk: others then wait for the lease instead
            logger.warning("The end of this process will be seen by its leases only: %s", error)

    def _budget(self, operation: OperationRecord) -> int | None:
        """Bytes that the operation may fill, uploads included, so that its owner keeps to the quota."""
        most = self._settings.owner_bytes
        if not most or operation.owner is None:
            return None
        return most - self.store.owned_bytes(operation.owner) + operation.size

    def _complete(self, run: Run) -> OperationRecord | None:
        """Call the function and store how it ended; the operation where it is to be run again."""
        declaration = self._find(run.operation.declaration)
        assert declaration is not None
        try:
            if run.number > 1:
                self._take_over(run)
            task = Task(declaration.function, declaration.signature, self.store.arguments(run.id))
            outcome = self.engines.of(declaration).call(task, run)
            return None if run.given_up else self._end(run, outcome)
        except KeyError:  # deleted since it was claimed
            run.stop(Canceled)
            return None
        finally:
            self._keeper.remove(run)
            if run.stopped is Canceled and not isinstance(self.store.load(run.id), OperationRecord):
                self.store.drop_parts(run.id)  # it was deleted meanwhile, and may have written since
                self.files.remove(run.id)

    def _take_over(self, run: Run) -> None:
        """Drop what earlier attempts left half written; list what they finished and did not come to list."""
        with contextlib.suppress(Canceled, Interrupted, OSError):  # the function meets the same when it asks
            self.files.clear_open(run.id, run.number)
            for part in self.files.finished(run.id):
                run.publish(part)

    def _end(self, run: Run, outcome: Outcome) -> OperationRecord | None:
        """Store the end, trying again while the backend is away: the work is done and cost time.

        Returns the operation where it is queued again.
        """
        for wait in (*END_WAITS, None):
            try:
                ended = self._store_end(run, outcome)
            except (BackendError, OSError, Problem) as error:
                if wait is None:
                    logger.error("Operation %s: its end cannot be stored: %s", run.id, error)
                    return None
                time.sleep(wait)
            else:
                return self._told(run, ended)
        return None

    def _told(self, run: Run, ended: OperationRecord | None) -> OperationRecord | None:
        if ended is None:
            logger.warning("Operation %s: its end came too late and is refused.", run.id)
            return None
        if ended.status != "succeeded":  # a worker that was killed has left what it wrote
            self._clear_open(run.operation)
        self._announce(ended)
        if ended.final:
            return None
        logger.warning("Operation %s: attempt %d failed; it will be run again.", run.id, run.attempt)
        return ended

    def _store_end(self, run: Run, outcome: Outcome) -> OperationRecord | None:
        result, long, size = outcome.result, False, run.size
        if result is not None and len(result) > INLINE_RESULT:
            self.files.write_result(run.id, result, run.number)
            long, size, result = True, size + len(result), None

        def ended(found: OperationRecord, meter: Meter, parts: int) -> OperationRecord:
            now = self.store.clock()
            progress = msgspec.structs.replace(meter.progress, eta=None)
            said = {"progress": progress, "parts": parts, "size": size}
            if outcome.error is not None:
                return found.failed(outcome.error, now, retry=outcome.retry, **said)
            raw = NULL if result is None else msgspec.Raw(result)
            return found.ended(outcome.status, now, result=raw, long=long, **said)

        return run.end(ended)

    # What the keeper does with a run

    def _due(self, run: Run) -> float:
        if run.given_up:
            return run.due()
        overdue = run.overdue(self._settings.stop_grace)
        return run.due() if overdue is None else min(run.due(), overdue)

    def _tend(self, run: Run) -> None:
        now, overdue = time.monotonic(), run.overdue(self._settings.stop_grace)
        if overdue is not None and overdue <= now:
            if run.stopped_at is None:
                run.stop(TimedOut)
            else:
                self._give_up(run)
        elif run.due() <= now:
            run.save()

    def _give_up(self, run: Run) -> None:
        """End a run whose function did not end when it was asked to."""
        run.given_up = True
        declaration = self._find(run.operation.declaration)
        assert declaration is not None
        assert run.stopped is not None
        killed = self.engines.of(declaration).give_up(run)
        logger.warning(
            "Operation %s: its function did not end and is %s.", run.id, "killed" if killed else "given up"
        )
        why = run.stopped
        if why is Canceled:
            outcome = Outcome("canceled")
        else:
            # What may still be at work in this process is not begun a second time.
            outcome = Outcome("failed", error=stopped(why(), run.timeout).document(), retry=killed)
        self._keeper.remove(run)
        again = self._told(run, self._store_end(run, outcome))
        if again is not None:
            self.enqueue(again)

    # From outside

    def cancel(self, identity: str) -> OperationRecord | None:
        """Ask for the cancel. Returns what the operation is now, None where nothing changed."""
        asked = self.store.update(identity, lambda it: it.cancel_asked(self.store.clock()))
        if asked is not None:
            self._stop(identity)
            self._announce(asked)
        return asked

    def delete(self, identity: str) -> OperationRecord | None:
        """Cancel if need be, and forget all but a trace."""
        deleted = self.store.forget(identity, "deleted")
        if deleted is not None:
            self._stop(identity)
            self.files.remove(identity)
        return deleted

    def _stop(self, identity: str) -> None:
        with self._changed:
            self._queue.discard(identity)
            if identity in self._queue:
                self._stopped.add(identity)
        self._moved()
        run = self._keeper.find(identity)
        if run is not None:
            run.stop(Canceled)

    def end_lost(self, found: OperationRecord) -> OperationRecord | None:
        """What becomes of an operation whose lease is over; None where it is no longer so."""
        run = self._keeper.find(found.id)
        if run is not None:  # the keeper is late, not the runner gone
            run.save()
            return None

        def end(it: OperationRecord) -> OperationRecord | None:
            now = self.store.clock()
            return it.interrupted(now) if it.lost(now, self.holders.dead) else None

        ended = self.store.update(found.id, end)
        if ended is not None:
            fate = "it failed" if ended.final else f"attempt {ended.attempt} follows"
            logger.warning("Operation %s is interrupted, its runner is gone: %s.", found.id, fate)
            self._clear_open(found)
            self._announce(ended)
            if not ended.final:
                self.enqueue(ended)
        return ended

    def _clear_open(self, operation: OperationRecord) -> None:
        """Remove what a run that is over, and did not end by itself, has left half written."""
        assert operation.lease is not None
        try:
            self.files.clear_open(operation.id, operation.lease.number + 1)
        except OSError as error:
            logger.warning("Operation %s: its unfinished parts cannot be removed: %s", operation.id, error)

    # Shutdown

    def drain(self, seconds: float) -> None:
        """Let what runs finish within ``seconds``, then interrupt it; what is queued stays stored."""
        with self._changed:
            self._draining = True
            self._queue.clear()
        try:
            if not self._idle(seconds):
                self._interrupt_all()
            self.engines.close()
            self.holders.close()
        finally:
            self._sweeping.serving = False
            with self._changed:
                self._draining = False
            self._keeper.wake()

    def _interrupt_all(self) -> None:
        for run in self._keeper.runs():
            run.stop(Interrupted)
        self._idle(LAST_WORDS)
        for run in self._keeper.runs():
            run.given_up = True
            ended = run.end(lambda found, *_: found.interrupted(self.store.clock()))
            self._keeper.remove(run)
            self._told(run, ended)

    def _idle(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        with self._changed:
            while self._active:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True
