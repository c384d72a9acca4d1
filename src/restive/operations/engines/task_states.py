"""What a task's state in Celery's result backend means for its operation. Pure: the clock is an argument.

Celery tells the last state only, and ``PENDING`` of tasks that it has never heard of too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from ...errors import Problem
from ..progress import Progress
from ..record import Lease, OperationRecord, interruption, timeout

__all__ = ["Result", "TaskSeen", "after"]

UNSEEN = frozenset({"PENDING", "RECEIVED"})
FAILED = frozenset({"FAILURE", "REJECTED", "IGNORED"})

COMPLETED = ("completed", "current", "done", "processed", "n")
TOTAL = ("total", "of")
MESSAGE = ("message", "status", "description", "detail")
"""What people call these in the meta of ``update_state``; the first that fits counts."""

FOR_EVER = 1e12
"""Seconds of the lease of a task: Celery has it, and nobody here renews or takes it."""

DOUBT = 30.0
"""Seconds after which a task that may never have been sent, and that Celery does not know, is given up."""


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """A task as its result backend has it."""

    state: str
    info: Any = None
    """The result, the exception, or the meta of ``update_state``."""
    retries: int | None = None
    """How often it was retried, where that is stored (``result_extended``)."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a task has returned, as it is stored; a problem where it cannot be."""

    data: bytes = b"null"
    long: bool = False
    problem: Problem | None = None


def after(
    it: OperationRecord, seen: TaskSeen, now: float, result: Result, *, name: str, limit: float | None
) -> OperationRecord | None:
    """The operation once this was seen of its task; None where nothing changes.

    ``limit``: the seconds that an attempt may run.
    """
    if it.final:
        return None
    if seen.state != "RETRY" and (seen.retries or 0) >= it.attempt:
        it = replace(it, attempt=(seen.retries or 0) + 1, status="queued")
    if seen.state == "SUCCESS":
        return _succeeded(it, now, result)
    if seen.state == "REVOKED":
        return it.ended("canceled", now)
    if seen.state in FAILED:
        return _failed(it, seen, now, name)
    if seen.state == "RETRY":
        return _to_be_retried(it, seen, name)
    if seen.state not in UNSEEN:
        it = _running(it, seen, now)
    return _over_time(it, seen, now, limit)


def _succeeded(it: OperationRecord, now: float, result: Result) -> OperationRecord:
    if result.problem is not None:
        return it.ended("failed", now, error=result.problem.document())
    progress = replace(it.progress, eta=None)
    if result.long:
        return it.ended("succeeded", now, progress=progress, long=True, run=1, size=len(result.data))
    return it.ended("succeeded", now, progress=progress, result=msgspec.Raw(result.data))


def _failed(it: OperationRecord, seen: TaskSeen, now: float, name: str) -> OperationRecord:
    if it.cancel is not None:
        return it.ended("canceled", now)
    kind = type(seen.info).__name__ if isinstance(seen.info, BaseException) else seen.state.capitalize()
    problem = Problem(500, "The operation failed", f"{name}() raised {kind}.", exception=kind)
    return it.ended("failed", now, error=problem.document())


def _to_be_retried(it: OperationRecord, seen: TaskSeen, name: str) -> OperationRecord | None:
    kind = type(seen.info).__name__ if isinstance(seen.info, BaseException) else "Retry"
    message = f"{name}() raised {kind} and is tried again."
    known = it.status == "queued" and it.progress.message == message
    attempt = it.attempt + (not known) if seen.retries is None else seen.retries + 1
    if attempt <= it.attempt and it.status == "queued":
        return None
    return replace(
        it, status="queued", attempt=max(attempt, it.attempt), progress=Progress(message=message), lease=None
    )


def _running(it: OperationRecord, seen: TaskSeen, now: float) -> OperationRecord:
    if it.status == "queued":
        lease = Lease(1, "", 0.0, FOR_EVER)
        it = replace(it, status="running", started=now, lease=lease, sends=2, progress=Progress())
    if isinstance(seen.info, Mapping) and seen.state != "STARTED":
        it = replace(it, progress=_progress(it.progress, seen.info))
    return it


def _progress(old: Progress, meta: Mapping[Any, Any]) -> Progress:
    done, total = _number(meta, COMPLETED), _number(meta, TOTAL)
    message, unit = _text(meta, MESSAGE), _text(meta, ("unit",))
    percent = _number(meta, ("percent", "percentage", "progress"))
    if done is None and percent is not None:
        done, total, unit = percent, 100 if total is None else total, unit or "%"
    return replace(
        old,
        completed=old.completed if done is None else max(done, old.completed),
        total=old.total if total is None else total,
        message=old.message if message is None else message,
        unit=old.unit if unit is None else unit,
    )


def _number(meta: Mapping[Any, Any], names: tuple[str, ...]) -> float | int | None:
    for name in names:
        value = meta.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return max(value, 0)
    return None


def _text(meta: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = meta.get(name)
        if isinstance(value, str):
            return value[:1000]
    return None


def _over_time(it: OperationRecord, seen: TaskSeen, now: float, limit: float | None) -> OperationRecord:
    begun = it.started if it.status == "running" else it.sent
    if limit is not None and begun is not None and it.sends and now >= begun + limit:
        return it.ended("failed", now, error=timeout(limit).document())
    if it.sends == 1 and seen.state in UNSEEN and now >= (it.sent or 0.0) + DOUBT:
        return it.ended("failed", now, error=interruption().document())
    return it
