"""Takes queued operations, runs them on the engine's threads under a lease, and stores how they end.

Nothing starts before there is work. What another process left behind (queued, or running under a lease that
is over) is found by ``resume``, on the first request, and by the keeper's sweeps while something runs here.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

import msgspec

from ..errors import BackendError, Canceled, Interrupted, Problem
from ..settings import Settings
from .calling import Outcome, call
from .declaration import Declaration
from .files import Files
from .handle import Operation
from .keeper import Keeper
from .record import NULL, OperationRecord
from .run import Run
from .store import Store
from .threads import Threads

__all__ = ["Runner"]

logger = logging.getLogger("restive.operations")

INLINE_RESULT = 64 * 1024
"""Bytes of a result that is part of the document; a longer one is only at its own URL."""

LAST_WORDS = 0.5
"""Seconds that a function gets to end by itself once it was told that it is interrupted."""

END_WAITS = (0.1, 0.4, 1.6, 5.0, 5.0)
"""Seconds between the tries to store how an operation ended."""


class Runner:
    """The operations that this process runs or will run. All methods block; any thread may call them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        find: Callable[[str], Declaration | None],
        announce: Callable[[OperationRecord], None],
    ) -> None:
        self._settings, self.store, self.files = settings, store, files
        self._find, self._announce = find, announce
        self._threads = Threads(settings.workers or max(2, os.cpu_count() or 1))
        self._keeper = Keeper(self.sweep, settings.lease)
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._changed = threading.Condition()
        self._queued: set[str] = set()
        self._reserved = self._active = 0
        self._draining = False
        self.resumed = False
        """Whether what earlier processes left behind was looked for."""

    # The queue

    def reserve(self) -> None:
        """Take a place in the queue. Raises ``Problem`` (503) where there is none."""
        with self._changed:
            if self._draining:
                raise Problem(503, "The server is stopping", headers={"Retry-After": "5"})
            if len(self._queued) + self._reserved >= self._settings.max_queued:
                detail = f"{self._settings.max_queued} operations are waiting already."
                raise Problem(503, "The queue is full", detail, headers={"Retry-After": "10"})
            self._reserved += 1

    def release(self) -> None:
        """Give a reserved place back."""
        with self._changed:
            self._reserved -= 1

    def enqueue(self, identity: str) -> None:
        """Run a stored operation as soon as a thread is free; once, however often this is called."""
        with self._changed:
            if identity in self._queued or self._draining or self._keeper.find(identity):
                return
            self._queued.add(identity)
        self._threads.submit(lambda: self._run(identity))

    def resume(self) -> None:
        """Once for each process: take over what earlier ones left behind."""
        with self._changed:
            if self.resumed:
                return
            self.resumed = True
        self.sweep()

    def sweep(self) -> None:
        """Queue what waits, end what lost its runner, forget what was kept long enough."""
        with self._changed:
            known = self._queued | {run.id for run in self._keeper.runs()}
        for found in self.store.open(known):
            if found.status == "queued" and self._find(found.declaration) is not None:
                self.enqueue(found.id)
            elif found.lost(self.store.clock()):
                self.end_lost(found)
        self.store.expire(self.files.remove)

    def end_lost(self, found: OperationRecord) -> OperationRecord | None:
        """End an operation whose lease is over. Returns what it is now, None where it is no longer so."""
        run = self._keeper.find(found.id)
        if run is not None:  # the keeper is late, not the runner gone
            run.save()
            return None
        parts = self.store.count_parts(found.id)

        def end(it: OperationRecord) -> OperationRecord | None:
            now = self.store.clock()
            return it.interrupted(now, parts) if it.lost(now) else None

        ended = self.store.update(found.id, end)
        if ended is not None:
            logger.warning("Operation %s is interrupted: its runner is gone.", found.id)
            self._announce(ended)
        return ended

    # One run

    def _run(self, identity: str) -> None:
        with self._changed:
            self._queued.discard(identity)
            if self._draining:
                return
            self._active += 1
        try:
            run = self._claim(identity)
            if run is not None:
                self._complete(run)
        except BackendError:
            logger.exception("Operation %s cannot be run now; it stays stored.", identity)
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _claim(self, identity: str) -> Run | None:
        lease = self._settings.lease
        claimed = self.store.update(
            identity,
            lambda it: it.claimed(self._holder, self.store.clock(), lease) if self._knows(it) else None,
        )
        if claimed is None:
            return None
        run = Run(
            claimed,
            self.store,
            self.files,
            interval=self._settings.report_interval,
            lease=lease,
            wake=self._keeper.wake,
            announce=self._announce,
        )
        self._keeper.add(run)
        self._announce(claimed)
        return run

    def _knows(self, operation: OperationRecord) -> bool:
        return self._find(operation.declaration) is not None

    def _complete(self, run: Run) -> None:
        try:
            declaration = self._find(run.operation.declaration)
            assert declaration is not None
            stored = self.store.arguments(run.id)
            operation = Operation(run, self._threads)
            self._end(run, call(declaration.function, declaration.signature, stored, operation, run))
        except KeyError:  # deleted since it was claimed
            run.stop(Canceled)
        finally:
            self._keeper.remove(run)
            if run.stopped is Canceled and not isinstance(self.store.load(run.id), OperationRecord):
                self.store.drop_parts(run.id)  # it was deleted meanwhile, and may have written since
                self.files.remove(run.id)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Store the final state, trying again while the backend is away: the work is done and cost time."""
        for wait in (*END_WAITS, None):
            try:
                self._told(run, self._store_end(run, outcome))
            except (BackendError, OSError) as error:
                if wait is None:
                    logger.error("Operation %s: its end cannot be stored: %s", run.id, error)
                else:
                    time.sleep(wait)
            else:
                return

    def _told(self, run: Run, ended: OperationRecord | None) -> None:
        if ended is None:
            logger.warning("Operation %s: its end came too late and is refused.", run.id)
        else:
            self._announce(ended)

    def _store_end(self, run: Run, outcome: Outcome) -> OperationRecord | None:
        result, long = outcome.result, False
        if result is not None and len(result) > INLINE_RESULT:
            self.files.write_result(run.id, result)
            result, long = None, True
        return run.end(
            lambda found, meter, parts: found.ended(
                outcome.status,
                self.store.clock(),
                progress=msgspec.structs.replace(meter.progress, eta=None),
                parts=parts,
                result=NULL if result is None else msgspec.Raw(result),
                long=long,
                error=outcome.error,
            )
        )

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
        run = self._keeper.find(identity)
        if run is not None:
            run.stop(Canceled)

    def drain(self, seconds: float) -> None:
        """Let what runs finish within ``seconds``, then interrupt it; what is queued stays stored."""
        with self._changed:
            self._draining = True
            self._queued.clear()
            self._threads.withdraw()
        try:
            if self._idle(seconds):
                return
            for run in self._keeper.runs():
                run.stop(Interrupted)
            self._idle(LAST_WORDS)
            for run in self._keeper.runs():
                self._interrupt(run)
        finally:
            with self._changed:
                self._draining = self.resumed = False

    def _idle(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        with self._changed:
            while self._active:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _interrupt(self, run: Run) -> None:
        """End a run whose function did not: its lease number is worth nothing from now on."""
        ended = run.end(lambda found, _, parts: found.interrupted(self.store.clock(), parts))
        self._keeper.remove(run)
        if ended is not None:
            self._announce(ended)
