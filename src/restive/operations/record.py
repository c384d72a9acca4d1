"""One operation as it is stored: its states, its lease, and the document that clients see.

Every function is a pure transition from a record to the next one; ``store`` saves what they return by
compare-and-set. States only move forward: queued, running, then one of the three final ones, which never
change. A running record carries a lease with a number that grows with each run; whoever reports with
another number is refused with ``Interrupted``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from ..errors import Canceled, Interrupted, Problem
from .progress import Progress

__all__ = ["FINAL", "Gone", "Lease", "OperationRecord", "Status"]

Status = Literal["queued", "running", "succeeded", "failed", "canceled"]

FINAL: frozenset[str] = frozenset({"succeeded", "failed", "canceled"})

FORGET_AFTER = 86_400.0
"""Seconds for which a deleted or expired operation is answered 410."""

NULL = msgspec.Raw(b"null")

INTERRUPTED = "urn:restive:interrupted"


class Lease(msgspec.Struct, frozen=True):
    """Who runs an operation, and until when (seconds, Unix time) without another word."""

    number: int
    holder: str
    expires: float


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
    attempt: int = 0
    progress: Progress = Progress()
    parts: int = 0
    result: msgspec.Raw = NULL
    """The return value as JSON, where it is short."""
    long: bool = False
    """The result is longer, and lies beside the parts."""
    error: dict[str, Any] | None = None
    cancel: float | None = None
    """When cancel was asked for."""
    lease: Lease | None = None

    @property
    def location(self) -> str:
        """The operation's own path, as clients know it."""
        return f"{self.target}/{self.id}"

    @property
    def final(self) -> bool:
        """Whether it has reached its final state."""
        return self.status in FINAL

    def part_location(self, name: str) -> str:
        """The path of one of its parts."""
        return f"{self.location}/parts/{quote(name, safe='')}"

    def expires(self) -> float | None:
        """When it is no longer kept; None while it is not final."""
        return None if self.finished is None else self.finished + self.retention

    # Transitions

    def claimed(self, holder: str, now: float, seconds: float) -> OperationRecord | None:
        """Running under a new lease; None where it is not to be run (any more)."""
        if self.status != "queued":
            return None
        number = (self.lease.number if self.lease else 0) + 1
        lease = Lease(number, holder, now + seconds)
        return replace(self, status="running", started=now, attempt=self.attempt + 1, lease=lease)

    def renewed(self, number: int, progress: Progress, parts: int, expires: float) -> OperationRecord:
        """With a later end of the lease, and what was reported meanwhile.

        Raises ``Interrupted`` where ``number`` is not the current lease's, ``Canceled`` where it ended so.
        """
        lease = self.check(number)
        return replace(self, progress=progress, parts=parts, lease=replace(lease, expires=expires))

    def check(self, number: int) -> Lease:
        """The current lease, if it is the one with this number; raises as ``renewed`` does."""
        if self.status == "canceled":
            raise Canceled(f"Operation {self.id} is canceled.")
        if self.status != "running" or self.lease is None or self.lease.number != number:
            raise Interrupted(f"Operation {self.id} is no longer run under lease {number}.")
        return self.lease

    def ended(self, status: Status, now: float, **outcome: Any) -> OperationRecord:
        """In a final state; ``outcome`` may give result, error, progress and parts."""
        return replace(self, status=status, finished=now, lease=None, **outcome)

    def cancel_asked(self, now: float) -> OperationRecord | None:
        """Canceled at once where it is still queued, else marked; None where that changes nothing."""
        if self.final or self.cancel is not None:
            return None
        marked = replace(self, cancel=now)
        return marked.ended("canceled", now) if self.status == "queued" else marked

    def lost(self, now: float) -> bool:
        """Whether it should be running and nobody holds its lease any more."""
        return self.status == "running" and (self.lease is None or self.lease.expires < now)

    def interrupted(self, now: float, parts: int) -> OperationRecord:
        """Ended because its runner is gone; a cancel that was asked for before has its way."""
        if self.cancel is not None:
            return self.ended("canceled", now, parts=parts)
        return self.ended("failed", now, parts=parts, error=interruption().document())

    def document(self) -> dict[str, Any]:
        """The operation as clients see it."""
        return {
            "id": self.id,
            "status": self.status,
            "created": _date(self.created),
            "started": _date(self.started),
            "finished": _date(self.finished),
            "attempt": self.attempt,
            "progress": self.progress,
            "parts": self.parts,
            "result": self.result,
            "error": self.error,
            "links": self._links(),
        }

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

    @classmethod
    def of(cls, operation: OperationRecord, why: str, now: float) -> Gone:
        """The trace of ``operation``, kept from ``now`` on."""
        return cls(
            operation.id, operation.declaration, operation.route, operation.owner, why, now + FORGET_AFTER
        )


def interruption() -> Problem:
    """The problem of an operation whose runner is gone."""
    detail = "The process that ran it stopped before it was done. Submit it again."
    return Problem(500, "The operation was interrupted", detail, type=INTERRUPTED)


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
