"""Group commit: batches that several threads bring at once go in one call, one transaction, one flush.

One thread leads: it takes what waits, has it done, and tells each what became of it. Whoever came meanwhile
waits, and the first of them leads next. A Conflict undoes its batch alone, on the server. Where the server
does not answer, nobody waits for a second try: all that wait fail with what the leader found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from restive.errors import BackendError, BackendUnavailable

from ..port import Step
from .steps import Result, size

__all__ = ["Batch", "GroupCommit", "extra"]

MOST_BATCHES = 48
"""In one transaction: more than 64 savepoints slow every other one down."""

MOST_BYTES = 8 * 1_048_576
RATE = 4_000_000
"""Bytes per second that a slow server takes: large batches may take so much longer."""


class Batch:
    """The steps of one call, and what became of them."""

    __slots__ = ("durable", "error", "leads", "over", "results", "size", "steps", "woken")

    def __init__(self, steps: Sequence[Step], durable: bool) -> None:
        self.steps, self.durable, self.size = steps, durable, size(steps)
        self.results: list[Result] = []
        self.error: Exception | None = None
        self.over = self.leads = False
        self.woken = threading.Lock()
        """Held until the batch is over or its thread is to lead."""
        self.woken.acquire()


Do = Callable[[Sequence[Batch], bool], None]
"""Do the batches, durably or not, and set what became of each. Raises BackendUnavailable for all."""


class GroupCommit:
    """The batches of one process; ``patience`` is the seconds that one waits for its turn at least."""

    def __init__(self, do: Do, *, patience: float) -> None:
        self._do = do
        self._patience = patience
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child the parent's threads do not exist."""
        self._lock = threading.Lock()
        self._waiting: list[Batch] = []
        self._led = False
        self._under_way = 0.0

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[Result]:
        """Do all of the steps, or none; what each returned. Raises Conflict and BackendUnavailable."""
        batch = Batch(steps, durable)
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

    def _wait(self, batch: Batch) -> None:
        """Return once the batch is over or to lead; one that another has begun is waited for to its end."""
        try:
            if batch.woken.acquire(timeout=self._patience + self._under_way):
                return
        except BaseException:
            self._leave(batch)
            raise
        with self._lock:
            withdrawn = batch in self._waiting and not batch.leads
            if withdrawn:
                self._waiting.remove(batch)
        if withdrawn:
            raise BackendUnavailable(f"The backend is busy: the call had no turn in {self._patience:g} s.")
        batch.woken.acquire()

    def _leave(self, batch: Batch) -> None:
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
        """Do what waits now, and tell each what became of it."""
        with self._lock:
            batches = self._take()
            self._under_way = extra(batches)
        try:
            self._do(batches, any(batch.durable for batch in batches))
        except BackendUnavailable as error:
            with self._lock:  # they would wait for the same, and longer
                batches += self._waiting
                self._waiting = []
            _fail(batches, error)
        except BaseException:
            _fail(batches, BackendUnavailable("The call was interrupted; what became of it is unknown."))
            raise
        finally:
            with self._lock:
                self._pass_on()
            for batch in batches:
                batch.over = True
                if not batch.leads:
                    batch.woken.release()

    def _take(self) -> list[Batch]:
        """The first that wait, as many as go in one call; the caller holds the lock."""
        room, count = MOST_BYTES, 0
        for batch in self._waiting[:MOST_BATCHES]:
            room -= batch.size
            if room < 0 and count:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


def extra(batches: Sequence[Batch]) -> float:
    """Seconds that the size of the batches adds to the patience with the server."""
    return sum(batch.size for batch in batches) / RATE


def _fail(batches: Sequence[Batch], error: BackendError) -> None:
    """Each thread raises an error of its own."""
    for batch in batches:
        batch.error = BackendUnavailable(str(error))
        batch.error.__cause__ = error.__cause__
