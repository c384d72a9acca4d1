"""Group commit: batches that several threads bring at once share one transaction, and so one flush.

One thread leads: it takes all batches that wait, does them in one transaction, and commits. Whoever came
meanwhile waits, and the first of them leads next. Where one finds a Conflict all begin again, each in a
savepoint of its own, so that it is undone alone; where the file itself fails, each is tried by itself, so
that one that is too large harms no other.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence

from restive.errors import BackendUnavailable, Conflict

from .port import Step
from .sqlite_file import SqliteFile
from .sqlite_steps import Result

__all__ = ["GroupCommit"]

Do = Callable[[sqlite3.Connection, Sequence[Step]], list[Result]]


class _Batch:
    """The steps of one call, and what became of them."""

    __slots__ = ("error", "leads", "over", "results", "steps", "synced", "woken")

    def __init__(self, steps: Sequence[Step], synced: bool) -> None:
        self.steps, self.synced = steps, synced
        self.results: list[Result] = []
        self.error: Exception | None = None
        self.over = False
        self.leads = False
        self.woken = threading.Lock()
        """Held until the batch is over or its thread is to lead."""
        self.woken.acquire()

    def run(self, db: sqlite3.Connection, do: Do) -> None:
        """Do the steps in the transaction that is open. Raises Conflict."""
        self.error = None  # of an earlier transaction that failed
        self.results = do(db, self.steps)

    def run_apart(self, db: sqlite3.Connection, do: Do) -> None:
        """As ``run``, but a Conflict undoes these steps and nothing else."""
        db.execute("SAVEPOINT batch")
        try:
            self.run(db, do)
        except Conflict as error:
            self.error = error
            db.execute("ROLLBACK TO batch")
        db.execute("RELEASE batch")


class GroupCommit:
    """The batches of one process for ``file``. ``do`` does the steps of one in a transaction."""

    def __init__(self, file: SqliteFile, do: Do) -> None:
        self._file = file
        self._do = do
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child the parent's threads do not exist."""
        self._lock = threading.Lock()
        self._waiting: list[_Batch] = []
        self._led = False

    def apply(self, steps: Sequence[Step], *, synced: bool = True) -> list[Result]:
        """Do all of the steps, or none; what each returned. Raises Conflict and BackendUnavailable.

        On return they are on disk, or with ``synced=False`` at least in order.
        """
        batch = _Batch(steps, synced)
        with self._lock:
            self._waiting.append(batch)
            batch.leads, self._led = not self._led, True
        if not batch.leads:
            self._wait(batch)
        if not batch.over:
            self._lead()
        if batch.error is not None:
            raise batch.error
        return batch.results

    # Waiting

    def _wait(self, batch: _Batch) -> None:
        """Return once the batch is over or to lead; one that another has begun is waited for to its end."""
        try:
            if batch.woken.acquire(timeout=self._file.patience):
                return
        except BaseException:
            self._leave(batch)
            raise
        with self._lock:
            withdrawn = batch in self._waiting and not batch.leads
            if withdrawn:
                self._waiting.remove(batch)
        if withdrawn:
            raise self._file.busy()
        batch.woken.acquire()

    def _leave(self, batch: _Batch) -> None:
        """Take the batch of an interrupted thread away, and let another lead in its place."""
        with self._lock:
            if batch in self._waiting:
                self._waiting.remove(batch)
                if batch.leads:
                    self._pass_on()

    def _pass_on(self) -> None:
        """Let the first that waits lead. The caller leads, and holds the lock."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].woken.release()

    # Leading

    def _lead(self) -> None:
        """Do all that waits now, and tell each what became of it."""
        with self._lock:
            batches, self._waiting = self._waiting, []
        try:
            self._commit_all(batches)
        finally:
            with self._lock:
                self._pass_on()
            for batch in batches:
                if not batch.over:  # this thread is interrupted, which is no error of theirs
                    batch.over, batch.error = True, BackendUnavailable(f"{self._file} was interrupted.")
                if not batch.leads:
                    batch.woken.release()

    def _commit_all(self, batches: list[_Batch]) -> None:
        try:
            try:
                self._commit(batches)
            except Conflict as error:
                if len(batches) > 1:
                    self._commit(batches, apart=True)
                else:
                    batches[0].error = error
        except _Unwritten as failed:
            if len(batches) == 1 or not failed.begun:
                _fail(batches, failed.error)
                return
            for batch in batches:
                self._commit_all([batch])
        for batch in batches:
            batch.over = True

    def _commit(self, batches: list[_Batch], *, apart: bool = False) -> None:
        begun = False
        try:
            with self._file.writing(synced=any(batch.synced for batch in batches)) as db:
                begun = True
                for batch in batches:
                    if apart:
                        batch.run_apart(db, self._do)
                    else:
                        batch.run(db, self._do)
        except BackendUnavailable as error:
            raise _Unwritten(error, begun) from error


class _Unwritten(Exception):
    """A transaction failed, before it had begun or after."""

    def __init__(self, error: BackendUnavailable, begun: bool) -> None:
        super().__init__(error)
        self.error, self.begun = error, begun


def _fail(batches: Sequence[_Batch], error: BackendUnavailable) -> None:
    """Nothing of the batches was done: each thread raises an error of its own."""
    for batch in batches:
        batch.error = BackendUnavailable(str(error))
        batch.error.__cause__ = error.__cause__
        batch.over = True
