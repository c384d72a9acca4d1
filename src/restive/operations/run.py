"""One run of one operation in this process: what was reported and not yet stored, and whether to go on.

Any thread of the function may report; the keeper's thread stores. A report costs a lock and a small object;
what is stored in between is merged, and what is stored last is the last report.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import BackendError, BackendUnavailable, Canceled, Conflict, Interrupted
from .files import Files, Part
from .patience import WAITS, patiently
from .progress import Meter
from .record import OperationRecord
from .stop import Stop
from .store import Store
from .witness import Witness

__all__ = ["Run"]

logger = logging.getLogger("restive.operations")

LOOK_EVERY = 0.5
"""Seconds after which ``check`` reads the record again, for a cancel that came through another process."""


class Run:
    """Holds the lease with the number that ``operation`` was claimed with."""

    def __init__(
        self,
        operation: OperationRecord,
        store: Store,
        files: Files,
        *,
        interval: float,
        lease: float,
        timeout: float | None = None,
        budget: int | None = None,
        look: float | None = None,
        wake: Callable[[], None],
        announce: Callable[[OperationRecord], None],
    ) -> None:
        """``look``: seconds after which a cancel is looked for, of a function that does not ask itself."""
        assert operation.lease is not None
        self.operation = operation
        self.id, self.attempt, self.number = operation.id, operation.attempt, operation.lease.number
        self.store, self.files = store, files
        self.timeout = timeout
        self.size = operation.size
        self.open_files: dict[str, Any] = {}
        """The parts that are being written, by name."""
        self._interval, self._lease, self._look = interval, lease, look
        self._wake, self._announce = wake, announce
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._listing = threading.Lock()
        self._listed: set[str] | None = None
        """The names of the parts that are listed, once a run after the first has asked for them."""
        self._meter = Meter()
        self.witness = Witness(operation)
        self._dirty = False
        self._stored_at = self._looked_at = time.monotonic()
        self._deadline = None if timeout is None else self._stored_at + timeout
        self._budget = budget
        self._stop = Stop(self.id)
        self.stopped_at: float | None = None
        """When (monotonic) the function was first asked to end."""
        self.given_up = False
        """Whether its end was stored although the function has not ended."""

    # What the function calls

    def report(
        self,
        completed: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> None:
        """Merge a report into the progress."""
        self._stop.check()
        with self._lock:
            self._meter = self._meter.report(time.monotonic(), completed, total, unit, message)
            was, self._dirty = self._dirty, True
        if not was:
            self._wake()

    def advance(self, by: float, total: float = 0, unit: str | None = None) -> None:
        """Count ``by`` more as completed, and know of ``total`` more."""
        with self._lock:
            self._meter = self._meter.advance(time.monotonic(), by, total, unit)
            was, self._dirty = self._dirty, True
        if not was:
            self._wake()

    def check(self) -> None:
        """Raise ``Canceled`` or ``Interrupted`` where the function should end."""
        self._stop.check()
        if time.monotonic() - self._looked_at >= LOOK_EVERY:
            with contextlib.suppress(BackendError):  # it may be back before the lease is over
                self.fence()

    @property
    def room(self) -> int | None:
        """Bytes that its parts may still fill, where its owner has a quota."""
        return None if self._budget is None else max(0, self._budget - self.size)

    def fence(self) -> None:
        """As ``check``, by the stored record: nothing of an old lease comes in."""
        self._stop.check()
        self._looked_at = time.monotonic()
        found = self.store.load(self.id)
        if not isinstance(found, OperationRecord):
            self.stop(Canceled)
        else:
            self._see(found)
        self._stop.check()

    def publish(self, part: Part) -> None:
        """Add a finished part to the operation's stream, unless an earlier run has done so."""
        if self.number > 1 and self._is_listed(part.name):
            return
        self._publish_patiently(part, msgspec.json.encode(part))
        self._stop.check()
        self._wake()

    def _publish_patiently(self, part: Part, data: bytes) -> None:
        for wait in WAITS:
            try:
                self._publish(part, data)
            except BackendUnavailable:
                time.sleep(wait)
                self._stop.check()
                if self._went_in(part.name):  # no answer came, and yet it was done
                    self._count(self._loaded())
                    return
            else:
                return
        self._publish(part, data)

    def _publish(self, part: Part, data: bytes) -> None:
        with self._storing:
            try:
                # One step with the lease: no part is listed under one that is over.
                saved = self.store.update(self.id, lambda it: it.with_part(self.number, part.size), part=data)
            except (Canceled, Interrupted) as stop:
                self.stop(type(stop))
            except Conflict:
                self.stop(Interrupted)
            else:
                self._count(saved)
                if saved is not None:
                    self.witness.part(part.name, part.size)

    def _went_in(self, name: str) -> bool:
        """Whether it is listed. Raises ``BackendUnavailable`` where that cannot be known now."""
        return name in patiently(lambda: _names(self.store, self.id))

    def _loaded(self) -> OperationRecord | None:
        found = self.store.load(self.id)
        return found if isinstance(found, OperationRecord) else None

    def _count(self, saved: OperationRecord | None) -> None:
        if saved is None:
            self.stop(Canceled)
            return
        with self._lock:
            self.size = saved.size
            self._dirty = True

    def _is_listed(self, name: str) -> bool:
        """Whether the stream has a part of that name; from now on it counts as listed."""
        with self._listing:
            if self._listed is None:
                self._listed = _names(self.store, self.id)
            was = name in self._listed
            self._listed.add(name)
        return was

    def part_location(self, name: str) -> str:
        """The path of one of its parts, as clients know it."""
        return self.operation.part_location(name)

    # What the runner calls

    @property
    def stopped(self) -> type[Canceled | Interrupted] | None:
        """Why the function should end, if it should."""
        return self._stop.why

    def stop(self, why: type[Canceled | Interrupted]) -> None:
        """Ask the function to end; the first reason counts."""
        if self._stop.set(why):
            self.stopped_at = time.monotonic()
        self._wake()

    def on_stop(self, callback: Callable[[], None] | None) -> None:
        """Call this when the function should end; at once where it should already."""
        self._stop.on(callback)

    def due(self) -> float:
        """The monotonic time at which ``tend`` is next to be called."""
        due = self._save_at()
        return due if self._look is None else min(due, self._looked_at + self._look)

    def _save_at(self) -> float:
        return self._stored_at + (self._interval if self._dirty else self._lease / 3)

    def tend(self) -> None:
        """Do what is due: store, or only look for a cancel."""
        if self._save_at() <= time.monotonic():
            self.save()
        else:
            with contextlib.suppress(Canceled, Interrupted, BackendError):  # who asks is told
                self.fence()

    def overdue(self, grace: float) -> float | None:
        """The monotonic time at which it has run too long, or has had ``grace`` seconds to end; or never."""
        return self._deadline if self.stopped_at is None else self.stopped_at + grace

    def save(self) -> None:
        """Store what was reported, and renew the lease."""
        with self._storing:
            with self._lock:
                now = self._stored_at = time.monotonic()
                shown, self._dirty = self._dirty, False
                self._meter = self._meter.settle(now)
                progress = self._meter.progress
            expires = self.store.clock() + self._lease
            try:
                saved = self.store.update(
                    self.id,
                    lambda it: it.renewed(self.number, progress, expires),
                    durable=False,
                )
            except (Canceled, Interrupted) as stop:
                self.stop(type(stop))
                return
            except BackendError as error:
                logger.warning("Operation %s: its progress cannot be stored now: %s", self.id, error)
                with self._lock:
                    self._dirty = True
                return
        if saved is None:
            self.stop(Canceled)
        else:
            self._see(saved)
            if shown:
                self.witness.progress(progress)
                self._announce(saved)

    def _see(self, found: OperationRecord) -> None:
        self._looked_at = time.monotonic()
        try:
            found.check(self.number)
        except (Canceled, Interrupted) as stop:
            self.stop(type(stop))
        if found.cancel is not None:
            self.stop(Canceled)

    def end(self, transition: Callable[[OperationRecord, Meter], OperationRecord]) -> OperationRecord | None:
        """Save the final state with the last report; None where another had the last word."""
        with self._storing:
            with self._lock:
                meter = self._meter.settle(time.monotonic())

            def final(found: OperationRecord) -> OperationRecord:
                found.check(self.number)
                return transition(found, meter)

            try:
                saved = self.store.update(self.id, final)
            except (Canceled, Interrupted):
                saved = None
            self.witness.end(saved)
            return saved


def _names(store: Store, identity: str) -> set[str]:
    """The names of the parts that are listed."""
    names: set[str] = set()
    after = ""
    while True:
        page = store.parts(identity, after, 1000)
        names.update(msgspec.json.decode(item, type=Part).name for item in page.items)
        after = page.next
        if page.up_to_date or not page.items:
            return names
