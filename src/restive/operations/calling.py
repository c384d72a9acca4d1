"""Calls an operation's function, on this thread, and says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile

from ..errors import Canceled, Interrupted, Problem
from .arguments import Signature
from .handle import Operation
from .record import Status, interruption
from .run import Run

__all__ = ["Outcome", "call"]

logger = logging.getLogger("restive.operations")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final state, with the result as JSON or the problem's document."""

    status: Status
    result: bytes | None = None
    error: dict[str, Any] | None = None


def call(
    function: Callable[..., Any], signature: Signature, stored: bytes, operation: Operation, run: Run
) -> Outcome:
    """Run ``function`` with its stored arguments to its end; nothing is raised."""
    name = getattr(function, "__name__", "function")
    try:
        values = signature.restore(stored)
    except Exception:
        logger.exception("Operation %s: its stored arguments do not fit %s() any more.", run.id, name)
        return _failed(
            Problem(500, "The operation failed", f"The stored arguments do not fit {name}() any more.")
        )
    uploads = [each for value in values.values() for each in _uploads(value)]
    if signature.handle is not None:
        values[signature.handle] = operation
    try:
        return _with_parts(_ended(lambda: _returned(function, values, run), signature, run, name), run, name)
    finally:
        for upload in uploads:
            upload.file.close()


def _with_parts(outcome: Outcome, run: Run, name: str) -> Outcome:
    """Finish the parts that were left open, or drop them where the operation did not succeed."""
    try:
        if outcome.status == "succeeded":
            for file in list(run.open_files.values()):
                file.close()
    except (Canceled, Interrupted) as stop:
        outcome = _stopped(stop, run)
    except Exception as error:  # noqa: BLE001 - a full disk, a lost backend: it is logged with the operation
        outcome = _raised(error, run, name)
    for file in list(run.open_files.values()):
        file.abandon()
    return outcome


def _ended(returned: Callable[[], Any], signature: Signature, run: Run, name: str) -> Outcome:
    try:
        value = returned()
    except (Canceled, Interrupted) as stop:
        return _stopped(stop, run)
    except asyncio.CancelledError as error:
        return _raised(error, run, name) if run.stopped is None else _stopped(run.stopped(), run)
    except Problem as problem:
        logger.info("Operation %s failed: %s", run.id, problem)
        return _failed(problem)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the operation and not the worker
        return _raised(error, run, name)
    return _result(value, signature, run, name)


def _returned(function: Callable[..., Any], values: Mapping[str, Any], run: Run) -> Any:
    result = function(**values)  # a coroutine is made here and begun on the loop below
    return asyncio.run(_awaited(result, run)) if inspect.iscoroutine(result) else result


async def _awaited(coroutine: Any, run: Run) -> Any:
    """A cancel reaches a coroutine wherever it waits, not only at ``op.check``."""
    task = asyncio.ensure_future(coroutine)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
            loop.call_soon_threadsafe(task.cancel)

    run.on_stop(stop)
    try:
        return await task
    finally:
        run.on_stop(None)


def _result(value: Any, signature: Signature, run: Run, name: str) -> Outcome:
    try:
        result = signature.dump_result(value)
    except Exception:
        logger.exception("Operation %s: what %s() returned cannot be stored.", run.id, name)
        kind = type(value).__name__
        detail = f"The {kind} that {name}() returned is not what its annotation says, or no JSON can hold it."
        return _failed(Problem(500, "The result cannot be stored", detail))
    return Outcome("succeeded", result)


def _raised(error: BaseException, run: Run, name: str) -> Outcome:
    logger.error("Operation %s: %s() raised %s.", run.id, name, type(error).__name__, exc_info=error)
    kind = type(error).__name__
    return _failed(Problem(500, "The operation failed", f"{name}() raised {kind}.", exception=kind))


def _stopped(stop: Canceled | Interrupted, run: Run) -> Outcome:
    if isinstance(stop, Canceled):
        return Outcome("canceled")
    logger.warning("Operation %s is interrupted.", run.id)
    return _failed(interruption())


def _failed(problem: Problem) -> Outcome:
    return Outcome("failed", error=problem.document())


def _uploads(value: Any) -> list[UploadFile]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, UploadFile)]
