"""One attempt of an operation in this process: claimed under a lease, called, tended, its end stored.

``Runner`` takes what comes next from a server's queue; a worker on another machine is told what to run.
Both run it here.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from ..errors import BackendError, Canceled, Interrupted, Problem, TimedOut
from ..settings import Settings
from .calling import Outcome
from .declaration import Declaration
from .engines.port import Caller, Task
from .files import Files
from .holders import Holders
from .keeper import Keeper
from .listed import Listed
from .patience import patiently
from .progress import Meter
from .record import NULL, OperationRecord, stopped
from .run import Run
from .store import Store
from .vigil import Vigil

__all__ = ["Attempts", "Find", "Tended"]

logger = logging.getLogger("restive.operations")

INLINE_RESULT = 64 * 1024
"""Bytes of a result that is part of the document; a longer one is only at its own URL."""

LAST_WORDS = 0.5
"""Seconds that a function gets to end by itself once it was told that it is interrupted."""

Find = Callable[[str], Declaration | None]


class Tended(Protocol):
    """Whoever has operations run here."""

    def again(self, operation: OperationRecord) -> None:
        """It is queued again."""
        ...

    @property
    def announce(self) -> Callable[[OperationRecord], None]:
        """Tells that its document has changed."""
        ...

    def files_of(self, operation: OperationRecord) -> Files:
        """Where a run of it here finds and keeps files."""
        ...


class Attempts:
    """What runs in this process. All methods block; any thread may call them."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        holders: Holders,
        find: Find,
        tended: Tended,
        shared: Callable[[], bool],
        look: float | None = None,
    ) -> None:
        """``look``: the seconds between two looks for a cancel, of functions that do not ask for one."""
        self._settings, self.store, self.files, self._find = settings, store, files, find
        self._tended, self._shared, self._look = tended, shared, look
        self.holders, self.vigil = holders, Vigil(holders.dead)
        self.listed = Listed(store)
        self.keeper: Keeper
        """Set by the owner, which may have chores for it."""
        self._callers: dict[str, Caller] = {}

    # One run

    def claim(self, identity: str, attempt: int | None = None) -> Run | None:
        """A run of the operation, None where it is not to be run here. Raises ``BackendError``."""
        if self._shared():
            self._live()
        mark, ours = secrets.token_hex(4), []

        def claimed(it: OperationRecord) -> OperationRecord | None:
            if it.lease is not None and it.lease.mark == mark:  # no answer came, and yet it was done
                ours.append(it)
                return None
            now = self.store.clock()
            return it.claimed(self.holders.name, now, self._settings.lease, attempt, mark)

        found = patiently(lambda: self.store.update(identity, claimed)) or next(iter(ours), None)
        return None if found is None else self.begin(found)

    def begin(self, claimed: OperationRecord) -> Run:
        """The run of an operation that was claimed."""
        settings, declaration = self._settings, self._find(claimed.declaration)
        run = Run(
            claimed,
            self.store,
            self._tended.files_of(claimed),
            interval=settings.report_interval,
            lease=settings.lease,
            timeout=None if declaration is None else declaration.timeout,
            budget=self._budget(claimed),
            look=self._look,
            wake=self.keeper.wake,
            announce=self._tended.announce,
        )
        self.keeper.add(run)
        self._tended.announce(claimed)
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

    def complete(self, run: Run, caller: Caller) -> OperationRecord | None:
        """Have ``caller`` call the function, and store how it ended.

        Returns the operation where it is queued again.
        """
        declaration = self._find(run.operation.declaration)
        assert declaration is not None
        self._callers[run.id] = caller
        try:
            if run.number > 1:
                self._take_over(run)
            with run.witness.current():
                outcome = self._called(run, declaration, caller)
                return None if run.given_up else self._end(run, outcome)
        except KeyError:  # deleted since it was claimed
            run.stop(Canceled)
            return None
        finally:
            run.witness.over("lost")
            self.keeper.remove(run)
            del self._callers[run.id]
            if run.stopped is Canceled and not isinstance(self.store.load(run.id), OperationRecord):
                self.store.drop_parts(run.id)  # it was deleted meanwhile, and may have written since
                self.files.remove(run.id, run.operation.scattered)

    def _called(self, run: Run, declaration: Declaration, caller: Caller) -> Outcome:
        """What becomes of the function. Raises ``KeyError`` where the operation was deleted."""
        stored = patiently(lambda: self.store.arguments(run.id))
        try:
            given = declaration.signature.with_uploads(stored, lambda it: run.files.fetched(run.id, it))
        except OSError as error:
            logger.error("Operation %s: its uploads are out of reach: %s", run.id, error)
            problem = Problem(500, "The operation failed", "Its uploads could not be fetched.")
            return Outcome("failed", error=problem.document(), retry=True)
        return caller.call(Task(declaration.function, declaration.signature, given), run)

    def _take_over(self, run: Run) -> None:
        """Drop what earlier attempts left half written; list what they finished and did not come to list."""
        with contextlib.suppress(Canceled, Interrupted, OSError):  # the function meets the same when it asks
            run.files.clear_open(run.id, run.number)
            if run.files.place.parts is not None:
                for part in self.listed.all(run.id):
                    run.files.adopt(run.id, part)
            for part in run.files.finished(run.id):
                run.publish(part)

    def _end(self, run: Run, outcome: Outcome) -> OperationRecord | None:
        """Store the end, trying again while the backend is away: the work is done and cost time.

        Returns the operation where it is queued again.
        """
        if len(outcome.result or b"") > INLINE_RESULT and not run.files.reachable:
            logger.error("Operation %s: its result is too long for its record.", run.id)
            detail = "It is long, and the worker has no place for it that servers reach."
            outcome = Outcome("failed", error=Problem(500, "The result cannot be stored", detail).document())
        try:
            ended = patiently(lambda: self._store_end(run, outcome), (BackendError, OSError, Problem))
        except (BackendError, OSError, Problem) as error:
            logger.error("Operation %s: its end cannot be stored: %s", run.id, error)
            return None
        return self._told(run, ended)

    def _told(self, run: Run, ended: OperationRecord | None) -> OperationRecord | None:
        if ended is None:
            logger.warning("Operation %s: its end came too late and is refused.", run.id)
            self._tell_what_is(run.id)
            return None
        if ended.status != "succeeded":  # a worker that was killed has left what it wrote
            self.clear_open(run.operation, run.files)
        self._tended.announce(ended)
        if ended.final:
            return None
        logger.warning("Operation %s: attempt %d failed; it will be run again.", run.id, run.attempt)
        return ended

    def _tell_what_is(self, identity: str) -> None:
        """Perhaps its end was stored, and no answer came: whoever watches it is to see that."""
        with contextlib.suppress(BackendError):
            entry = self.store.load(identity)
            if isinstance(entry, OperationRecord):
                self._tended.announce(entry)

    def _store_end(self, run: Run, outcome: Outcome) -> OperationRecord | None:
        result, long, more = outcome.result, False, 0
        if result is not None and len(result) > INLINE_RESULT:
            run.files.write_result(run.id, result, run.number)
            long, more, result = True, len(result), None

        def ended(found: OperationRecord, meter: Meter) -> OperationRecord:
            now = self.store.clock()
            progress = msgspec.structs.replace(meter.progress, eta=None)
            said = {"progress": progress, "size": found.size + more}
            if outcome.error is not None:
                return found.failed(outcome.error, now, retry=outcome.retry, **said)
            raw = NULL if result is None else msgspec.Raw(result)
            said["run"] = run.number if long else 0
            return found.ended(outcome.status, now, result=raw, long=long, **said)

        return run.end(ended)

    # What the keeper does with a run

    def due(self, run: Run) -> float:
        """When (monotonic) the run is next to be tended."""
        if run.given_up:
            return run.due()
        overdue = run.overdue(self._settings.stop_grace)
        return run.due() if overdue is None else min(run.due(), overdue)

    def tend(self, run: Run) -> None:
        """Store what it has reported, renew its lease, end it where it is to end and does not."""
        now, overdue = time.monotonic(), run.overdue(self._settings.stop_grace)
        if overdue is not None and overdue <= now:
            if run.stopped_at is None:
                run.stop(TimedOut)
            else:
                self._give_up(run)
        elif run.due() <= now:
            run.tend()

    def _give_up(self, run: Run) -> None:
        """End a run whose function did not end when it was asked to."""
        run.given_up = True
        assert run.stopped is not None
        caller = self._callers.get(run.id)
        killed = caller is not None and caller.give_up(run)
        logger.warning(
            "Operation %s: its function did not end and is %s.", run.id, "killed" if killed else "given up"
        )
        why = run.stopped
        if why is Canceled:
            outcome = Outcome("canceled")
        else:
            # What may still be at work in this process is not begun a second time.
            outcome = Outcome("failed", error=stopped(why(), run.timeout).document(), retry=killed)
        self.keeper.remove(run)
        again = self._told(run, self._store_end(run, outcome))
        if again is not None:
            self._tended.again(again)

    # What others have left

    def end_lost(self, found: OperationRecord) -> OperationRecord | None:
        """What becomes of an operation whose lease is over; None where it is no longer so."""
        run = self.keeper.find(found.id)
        if run is not None:  # the keeper is late, not the runner gone
            run.save()
            return None

        def end(it: OperationRecord) -> OperationRecord | None:
            return it.interrupted(self.store.clock()) if self.vigil.lost(it) else None

        ended = self.store.update(found.id, end)
        if ended is not None:
            fate = "it failed" if ended.final else f"attempt {ended.attempt} follows"
            logger.warning("Operation %s is interrupted, its runner is gone: %s.", found.id, fate)
            self.clear_open(found, self.files)
            self._tended.announce(ended)
            if not ended.final:
                self._tended.again(ended)
        return ended

    def clear_open(self, operation: OperationRecord, files: Files) -> None:
        """Remove what a run that is over, and did not end by itself, has left half written."""
        if operation.lease is None:
            return
        try:
            files.clear_open(operation.id, operation.lease.number + 1)
        except OSError as error:
            logger.warning("Operation %s: its unfinished parts cannot be removed: %s", operation.id, error)

    def interrupt_all(self, idle: Callable[[float], bool]) -> None:
        """Interrupt all that runs; ``idle`` waits so many seconds for nothing to run any more."""
        for run in self.keeper.runs():
            run.stop(Interrupted)
        idle(LAST_WORDS)
        for run in self.keeper.runs():
            run.given_up = True
            ended = run.end(lambda found, *_: found.interrupted(self.store.clock()))
            self.keeper.remove(run)
            self._told(run, ended)
