"""What is told of operations: numbers by their declared path, and one trace from POST to the last part.

The span of a submission is carried in the record (``trace``); each run is a span below it, in whichever
process, with its parts and reports as events; so is each attempt to tell of the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ..http.fields import Fields
from ..telemetry import metrics, tracing
from .progress import Progress
from .record import OperationRecord

__all__ = ["Witness", "count_notice", "notice", "submission"]


@contextmanager
def submission(path: str, fields: Fields) -> Iterator[Submitted]:
    """A submission to the operation at ``path``, by a request with these ``fields``."""
    received = tracing.received(fields)
    parent = None if tracing.cause() is not None else received
    with tracing.span(f"submit {path}", "producer", parent, restive__operation__path=path) as span:
        yield Submitted(path, span, tracing.carrier() or received)


class Submitted:
    """A submission under way."""

    def __init__(self, path: str, span: tracing.Span, trace: dict[str, str] | None) -> None:
        self.trace = trace
        """What the record carries on."""
        self._path, self._span = path, span

    def stored(self, identity: str) -> None:
        """It is accepted."""
        self._span.set(restive__operation__id=identity)
        metrics.submitted.of(self._path).value += 1


@contextmanager
def notice(operation: OperationRecord, attempt: int) -> Iterator[None]:
    """One attempt to tell of the operation's end."""
    path, parent = operation.declaration, tracing.checked(operation.trace) or tracing.ROOT
    said = {"restive__operation__id": operation.id, "restive__notice__attempt": attempt}
    with tracing.span(f"notify {path}", "client", parent, restive__operation__path=path, **said):
        yield


def count_notice(outcome: str) -> None:
    """Count an attempt to tell of an end, by what became of it."""
    metrics.notices.of(outcome).value += 1


class Witness:
    """Of one run, from its claim to its end. Any thread may call the methods."""

    def __init__(self, operation: OperationRecord) -> None:
        self._path = path = operation.declaration
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._over = False
        assert operation.lease is not None
        self._span = tracing.begin(
            f"run {path}",
            "consumer",
            tracing.checked(operation.trace) or tracing.ROOT,
            restive__operation__path=path,
            restive__operation__id=operation.id,
            restive__operation__attempt=operation.attempt,
            restive__operation__lease=operation.lease.number,
        )
        with self.current():
            self.trace = tracing.carrier() or tracing.checked(operation.trace)
            """What carries the run on into other processes."""
        waited = (operation.started or 0.0) - max(operation.created, operation.not_before or 0.0)
        metrics.wait_seconds.of(path).observe(max(0.0, waited))

    def current(self) -> AbstractContextManager[None]:
        """What begins meanwhile on this thread belongs to the run."""
        return tracing.current(self._span)

    def part(self, name: str, size: int) -> None:
        """A part was published."""
        metrics.parts.of(self._path).value += 1
        metrics.part_bytes.of(self._path).value += size
        self._span.event("part", name=name, size=size)

    def progress(self, progress: Progress) -> None:
        """A report was stored."""
        said = {"completed": progress.completed, "total": progress.total, "unit": progress.unit}
        self._span.event("progress", **{name: value for name, value in said.items() if value is not None})

    def end(self, stored: OperationRecord | None) -> None:
        """The end is stored; None where it was refused, since another has the last word."""
        if stored is None:
            self.over("refused")
        else:
            self.over(stored.status if stored.final else "retried")

    def over(self, outcome: str) -> None:
        """The run has ended; the first outcome counts."""
        with self._lock:
            if self._over:
                return
            self._over = True
        metrics.run_seconds.of(self._path, outcome).observe(time.monotonic() - self._begun)
        self._span.set(restive__operation__outcome=outcome)
        if outcome not in {"succeeded", "canceled"}:
            self._span.fail(outcome)
        self._span.end()
