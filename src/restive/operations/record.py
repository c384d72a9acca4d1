"""One operation as it is stored: its states, its lease, and the document that clients see.

Every function is a pure transition from a record to the next one; ``store`` saves what they return by
compare-and-set. States only move forward: queued, running, then one of the three final ones, which never
change. Of an operation that is tried again (attempt, state) moves forward: the next attempt is queued. A
running record carries a lease with a number that grows with each run; whoever reports with another number
is refused with ``Interrupted``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from ..errors import Canceled, Interrupted, Problem, TimedOut
from .progress import Progress

__all__ = ["FINAL", "Gone", "Lease", "OperationRecord", "Place", "Status"]

Status = Literal["queued", "running", "succeeded", "failed", "canceled"]

FINAL: frozenset[str] = frozenset({"succeeded", "failed", "canceled"})

FORGET_AFTER = 86_400.0
"""Seconds for which a deleted or expired operation is answered 410."""

RESEND_AFTER, RESEND_AT_MOST = 30.0, 3600.0
"""Seconds after which an operation that nobody has begun is sent again: the first time, and at most."""

NULL = msgspec.Raw(b"null")

INTERRUPTED = "urn:restive:interrupted"
TIMED_OUT = "urn:restive:timed-out"


class Lease(msgspec.Struct, frozen=True):
    """Who runs an operation, and until when (seconds, Unix time) without another word."""

    number: int
    holder: str
    expires: float
    seconds: float = 15.0
    """For how long it is given, and each renewal of it."""
    mark: str = ""
    """By which whoever asked for it knows it, where no answer came."""


class Place(msgspec.Struct, frozen=True):
    """A place in the queue: 1 is next; ``starts`` an estimate (Unix time), None where there is none."""

    position: int
    starts: float | None = None


class OperationRecord(msgspec.Struct, frozen=True, tag="operation", tag_field="kind", omit_defaults=True):
    """The stored state of one operation. Times are Unix times in seconds."""

    id: str
    declaration: str
    """The path under which the function was declared."""
    route: str
    """The path of the collection inside the app, its parameters filled in."""
    target: str
    """The same as clients know it: encoded, with the root path."""
    created: float
    retention: float
    owner: str | None = None
    status: Status = "queued"
    started: float | None = None
    finished: float | None = None
    attempt: int = 1
    """The run that it is in, or waits for."""
    retries: int = 0
    """How many more runs it gets where one fails."""
    backoff: float = 1.0
    """Seconds before the first retry; each further one waits twice as long."""
    priority: int = 0
    not_before: float | None = None
    """The earliest start."""
    key: str | None = None
    """The name of the record of its Idempotency-Key."""
    webhook: str | None = None
    """The URL that is told of its end."""
    notify: bool = False
    """Whether somebody is to be told of its end."""
    size: int = 0
    """Bytes that its uploads, parts and long result fill."""
    progress: Progress = Progress()
    parts: int = 0
    result: msgspec.Raw = NULL
    """The return value as JSON, where it is short."""
    long: bool = False
    """The result is longer, and lies beside the parts."""
    run: int = 0
    """The number of the lease whose run has left that result."""
    error: dict[str, Any] | None = None
    cancel: float | None = None
    """When cancel was asked for."""
    trace: dict[str, str] | None = None
    """What carries its trace on (W3C Trace Context)."""
    lease: Lease | None = None
    sent: float | None = None
    """When it was last sent to an engine on other machines; None where it runs in a server's process."""
    sends: int = 0
    """How often this attempt was sent."""
    home: str = ""
    """The state folder of the server that took it, where it is sent."""

    @property
    def location(self) -> str:
        """The operation's own path, as clients know it."""
        return f"{self.target}/{self.id}"

    @property
    def final(self) -> bool:
        """Whether it has reached its final state."""
        return self.status in FINAL

    @property
    def targets(self) -> list[str]:
        """The paths of everything that may have changed with the document."""
        found = [self.location, f"{self.location}/parts"]
        if self.final:
            found.append(f"{self.location}/result")
        return found if self.owner is None else [*found, self.target]

    @property
    def scattered(self) -> bool:
        """Whether files of it may lie where this process would not look by itself."""
        return bool(self.parts or self.long or self.sent is not None)

    def part_location(self, name: str) -> str:
        """The path of one of its parts."""
        return f"{self.location}/parts/{quote(name, safe='')}"

    def expires(self) -> float | None:
        """When it is no longer kept; None while it is not final."""
        return None if self.finished is None else self.finished + self.retention

    # Transitions

    def claimed(
        self, holder: str, now: float, seconds: float, attempt: int | None = None, mark: str = ""
    ) -> OperationRecord | None:
        """Running under a new lease; None where it is not to be run (any more, or yet).

        Whoever was sent an ``attempt`` runs only that one, whose time has come by the sender's clock.
        """
        early = (self.not_before or 0.0) > now if attempt is None else attempt != self.attempt
        if self.status != "queued" or early:
            return None
        lease = Lease((self.lease.number if self.lease else 0) + 1, holder, now + seconds, seconds, mark)
        return replace(self, status="running", started=now, lease=lease, progress=Progress())

    def renewed(self, number: int, progress: Progress, expires: float) -> OperationRecord:
        """With a later end of the lease, and what was reported meanwhile; parts count themselves.

        Raises ``Interrupted`` where ``number`` is not the current lease's, ``Canceled`` where it ended so.
        """
        lease = self.check(number)
        return replace(self, progress=progress, lease=replace(lease, expires=expires))

    def with_part(self, number: int, size: int) -> OperationRecord:
        """With one more part of ``size`` bytes. Raises as ``renewed`` does."""
        self.check(number)
        return replace(self, parts=self.parts + 1, size=self.size + size)

    def check(self, number: int) -> Lease:
        """The current lease, if it is the one with this number; raises as ``renewed`` does."""
        if self.status == "canceled":
            raise Canceled(f"Operation {self.id} is canceled.")
        if self.status != "running" or self.lease is None or self.lease.number != number:
            raise Interrupted(f"Operation {self.id} is no longer run under lease {number}.")
        return self.lease

    def ended(self, status: Status, now: float, **outcome: Any) -> OperationRecord:
        """In a final state; ``outcome`` may give result, error, progress and size."""
        return replace(self, status=status, finished=now, lease=None, **outcome)

    def cancel_asked(self, now: float) -> OperationRecord | None:
        """Canceled at once where it is still queued, else marked; None where that changes nothing."""
        if self.final or self.cancel is not None:
            return None
        marked = replace(self, cancel=now)
        return marked.ended("canceled", now) if self.status == "queued" else marked

    def cancel_marked(self, now: float) -> OperationRecord | None:
        """Marked as to be canceled, whatever its state; None where that changes nothing."""
        return None if self.final or self.cancel is not None else replace(self, cancel=now)

    def lost(self, over: Callable[[Lease], bool]) -> bool:
        """Whether it should be running and nobody holds its lease any more; ``over`` says so of a lease."""
        return self.status == "running" and (self.lease is None or over(self.lease))

    def sent_again(self, now: float) -> OperationRecord:
        """About to be sent once more."""
        return replace(self, sent=now, sends=self.sends + 1)

    def unsent(self) -> OperationRecord:
        """Known not to be sent after all."""
        return replace(self, sends=0)

    def send_at(self) -> float:
        """When it is to be sent next (Unix time), as long as nobody has begun it.

        A message that was lost is sent again, ever more seldom, since it may only wait behind many others;
        a second one finds nothing to do.
        """
        if self.sent is None or not self.sends:
            return self.not_before or 0.0
        return self.sent + min(RESEND_AT_MOST, RESEND_AFTER * 2.0 ** (self.sends - 1))

    def failed(
        self, problem: Mapping[str, Any], now: float, *, retry: bool, **outcome: Any
    ) -> OperationRecord:
        """Ended with a problem; queued again where ``retry`` says so and there are retries left.

        A cancel that was asked for before has its way. ``outcome`` may give progress, parts and size.
        """
        if self.cancel is not None:
            return self.ended("canceled", now, **outcome)
        if not retry or self.retries <= 0:
            return self.ended("failed", now, error=dict(problem), **outcome)
        message = f"Attempt {self.attempt}: {problem.get('detail') or problem.get('title')}"
        assert self.lease is not None
        return replace(
            self,
            **{**outcome, "progress": Progress(message=message[:1000])},
            status="queued",
            attempt=self.attempt + 1,
            retries=self.retries - 1,
            backoff=self.backoff * 2,
            not_before=now + self.backoff,
            lease=replace(self.lease, holder="", expires=0.0),
            sends=0,
        )

    def interrupted(self, now: float, **outcome: Any) -> OperationRecord:
        """What becomes of it when its runner is gone."""
        return self.failed(interruption().document(), now, retry=True, **outcome)

    def document(self, place: Place | None = None) -> dict[str, Any]:
        """The operation as clients see it; ``place`` is its place in the queue, where that is known."""
        return {
            "id": self.id,
            "status": self.status,
            "created": _date(self.created),
            "started": _date(self.started),
            "finished": _date(self.finished),
            "attempt": self.attempt,
            "queue": self._queue(place) if self.status == "queued" else None,
            "progress": self.progress,
            "parts": self.parts,
            "result": self.result,
            "error": self.error,
            "links": self._links(),
        }

    def _queue(self, place: Place | None) -> dict[str, Any]:
        starts = place.starts if place is not None else None
        if self.not_before is not None:
            starts = max(starts or 0.0, self.not_before)
        return {"position": place.position if place is not None else None, "starts": _date(starts)}

    def _links(self) -> Mapping[str, str]:
        links = {
            "self": self.location,
            "result": f"{self.location}/result",
            "parts": f"{self.location}/parts",
        }
        if not self.final and self.cancel is None:
            links["cancel"] = f"{self.location}/cancel"
        if self.owner is not None:
            links["collection"] = self.target
        return links


class Gone(msgspec.Struct, frozen=True, tag="gone", tag_field="kind"):
    """What is left of an operation for a day after it was deleted or expired."""

    id: str
    declaration: str
    route: str
    owner: str | None
    why: str
    until: float
    key: str | None = None
    scattered: bool = False

    @classmethod
    def of(cls, operation: OperationRecord, why: str, now: float) -> Gone:
        """The trace of ``operation``, kept from ``now`` on."""
        return cls(
            operation.id,
            operation.declaration,
            operation.route,
            operation.owner,
            why,
            now + FORGET_AFTER,
            operation.key,
            operation.scattered,
        )


def interruption() -> Problem:
    """The problem of an operation whose runner is gone."""
    detail = "The process that ran it stopped before it was done. Submit it again."
    return Problem(500, "The operation was interrupted", detail, type=INTERRUPTED)


def timeout(seconds: float | None) -> Problem:
    """The problem of an operation that has run too long."""
    detail = f"It had not finished after {seconds:g} seconds." if seconds else "It had not finished in time."
    return Problem(504, "The operation timed out", detail, type=TIMED_OUT)


def stopped(stop: Canceled | Interrupted, seconds: float | None) -> Problem:
    """The problem of an attempt that was ended from outside."""
    return timeout(seconds) if isinstance(stop, TimedOut) else interruption()


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
