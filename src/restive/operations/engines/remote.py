"""The run of an operation as its function sees it in a worker process; the run itself is in the server's."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ...errors import Canceled, Interrupted
from ..files import Files, Part
from ..mapping import Work
from ..progress import Meter
from ..stop import Stop
from .jobs import FunctionJob, pickler
from .lifeline import Lifeline
from .messages import Done, Look, Piece, Pull, Report, Share, Unshare

__all__ = ["RemoteRun"]

LOOK_EVERY = 0.5
"""Seconds after which ``check`` has the server look at the record, for a cancel through another process."""


class RemoteRun:
    """Also the crew of its ``op.map``: who is idle in the server's process has another worker help."""

    def __init__(self, job: FunctionJob, line: Lifeline) -> None:
        self.id, self.attempt, self.number = job.id, job.attempt, job.lease
        self.timeout, self.room = job.timeout, job.room
        self.files = Files(lambda: job.files)
        self.open_files: dict[str, Any] = {}
        self.workers = job.workers
        self.call = job.number
        self._job, self._line = job, line
        self._crew = _Handing(job.number, job.by_value, line)
        self._lock = threading.Lock()
        self._meter = Meter()
        self._dirty = False
        self._sent_at = float("-inf")
        self._looked_at = time.monotonic()
        self._stop = Stop(job.id)

    # Progress

    def report(
        self,
        completed: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> None:
        """Merge a report into the progress; it is sent soon."""
        self._stop.check()
        with self._lock:
            before = self._meter.progress.unit
            self._meter = self._meter.report(time.monotonic(), completed, total, unit, message)
            self._changed(before)

    def advance(self, by: float, total: float = 0, unit: str | None = None) -> None:
        """Count ``by`` more as completed, and know of ``total`` more."""
        with self._lock, contextlib.suppress(Interrupted):  # ``check`` is what raises
            before = self._meter.progress.unit
            self._meter = self._meter.advance(time.monotonic(), by, total, unit)
            self._changed(before)

    def _changed(self, before: str | None) -> None:
        """Send it when it is time to; a new unit at once, for its count begins anew."""
        if before is not None and before != self._meter.progress.unit:
            self._send_report()
        elif not self._dirty:
            self._dirty = True
            self._line.clerk.do_at(self._sent_at + self._job.interval, self._flush)

    def _flush(self) -> None:
        with self._lock:
            if self._dirty:
                self._send_report()

    def _send_report(self) -> None:
        self._dirty, self._sent_at = False, time.monotonic()
        self._line.send(self._report())

    def _report(self) -> Report:
        it = self._meter.progress
        return Report(self.call, it.completed, it.total, it.unit, it.message)

    def last_report(self) -> Report | None:
        """What was reported and not sent."""
        with self._lock:
            dirty, self._dirty = self._dirty, False
            return self._report() if dirty else None

    # Whether to go on

    @property
    def stopped(self) -> type[Canceled | Interrupted] | None:
        """Why the function should end, if it should."""
        return self._stop.why

    def stop(self, why: type[Canceled | Interrupted]) -> None:
        """Ask the function to end; the first reason counts."""
        self._stop.set(why)

    def on_stop(self, callback: Callable[[], None] | None) -> None:
        """Call this when the function should end; at once where it should already."""
        self._stop.on(callback)

    def check(self) -> None:
        """Raise ``Canceled`` or ``Interrupted`` where the function should end."""
        self._stop.check()
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._line.send(Look(self.call))

    # Parts

    def part_location(self, name: str) -> str:
        """The path of one of its parts, as clients know it."""
        return self._job.parts_at + quote(name, safe="")

    def fence(self) -> None:
        """As ``check``, by the stored record."""
        self._stop.check()
        self._ask(None)

    def publish(self, part: Part) -> None:
        """Add a finished part to the operation's stream."""
        self._ask(part)
        with self._lock:
            self.room = None if self.room is None else max(0, self.room - part.size)

    def _ask(self, part: Part | None) -> None:
        try:
            self._line.ask(self.call, part)
        except (Canceled, Interrupted) as stop:
            self.stop(type(stop))
            self._stop.check()

    # The crew of op.map

    def share(self, shared: Work, pieces: int) -> None:
        """Let idle workers help."""
        self._crew.share(shared, pieces)

    def unshare(self, shared: Work) -> None:
        """No more help is wanted."""
        self._crew.unshare(shared)

    def hand_out(self, pull: Pull) -> None:
        """Give a piece away, if there is one."""
        self._crew.hand_out(pull)

    def take_back(self, done: Done) -> None:
        """It is done, or could not be begun."""
        self._crew.take_back(done)


class _Handing:
    """The mappings whose pieces may be handed to other workers."""

    def __init__(self, call: int, by_value: bool, line: Lifeline) -> None:
        self._call, self._line = call, line
        self._dumps = pickler(by_value)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._mappings: dict[int, Work] = {}
        self._refused: set[int] = set()
        self._handed: dict[int, tuple[Work, Any]] = {}

    def share(self, work: Work, pieces: int) -> None:
        with self._lock:
            number = self._number(work)
            if number is None:
                number = next(self._numbers)
                self._mappings[number] = work
            if number in self._refused:
                return
        with contextlib.suppress(Interrupted):
            self._line.send(Share(self._call, number, pieces))

    def unshare(self, work: Work) -> None:
        with self._lock:
            number = self._number(work)
            if number is None:
                return
            del self._mappings[number]
        with contextlib.suppress(Interrupted):
            self._line.send(Unshare(self._call, number))

    def _number(self, work: Work) -> int | None:
        return next((number for number, each in self._mappings.items() if each is work), None)

    def hand_out(self, pull: Pull) -> None:
        work = self._mappings.get(pull.mapping)
        taken = None if work is None else work.take()
        data = None
        if work is not None and taken is not None:
            try:
                data = self._dumps(taken)
            except Exception:  # noqa: BLE001 - what cannot be sent is done here
                self._refused.add(pull.mapping)
                work.put_back(taken[1])
            else:
                self._handed[pull.ticket] = work, taken[1]
        self._line.send(Piece(pull.job, pull.mapping, pull.ticket, data))

    def take_back(self, done: Done) -> None:
        handed = self._handed.pop(done.ticket, None)
        if handed is None:
            return
        work, item = handed
        if done.data is None:
            work.put_back(item)
            return
        try:
            result, error = pickle.loads(done.data)  # noqa: S301 - from a worker of ours
        except Exception as unfit:  # noqa: BLE001 - it belongs to the caller of op.map
            result, error = None, RuntimeError(f"A result of op.map cannot be sent: {unfit!r}")
        work.done(result, error)
