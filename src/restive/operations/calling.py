"""Calls an operation's function, on this thread or on a running loop, and says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile

from ..errors import Canceled, Interrupted, Problem
from .arguments import Signature
from .handle import Operation
from .record import INTERRUPTED, Status, stopped
from .running import Running, current

__all__ = ["Outcome", "acall", "call", "lost"]

logger = logging.getLogger("restive.operations")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state that an attempt ended in, with the result as JSON or the problem's document."""

    status: Status
    result: bytes | None = None
    error: dict[str, Any] | None = None
    retry: bool = False
    """Whether another attempt may fare better."""


def call(
    function: Callable[..., Any], signature: Signature, stored: bytes, operation: Operation, run: Running
) -> Outcome:
    """Run ``function`` with its stored arguments to its end; nothing is raised."""
    if inspect.iscoroutinefunction(function):
        return asyncio.run(acall(function, signature, stored, operation, run))
    try:
        with _values(signature, stored, operation) as values:
            returned = _calling(lambda: function(**values), operation)
            return _with_parts(_ended(returned, signature, run, _name(function)), run, _name(function))
    except _Unfit as unfit:
        return _unfit(unfit, run, _name(function))


async def acall(
    function: Callable[..., Any], signature: Signature, stored: bytes, operation: Operation, run: Running
) -> Outcome:
    """As ``call``, of a coroutine function, on the running loop."""
    name = _name(function)
    try:
        with _values(signature, stored, operation) as values:
            current.set(operation)  # of this task's own context
            returned = await _settled(function(**values), run)
            outcome = _ended(returned, signature, run, name)
            return await asyncio.to_thread(_with_parts, outcome, run, name)
    except _Unfit as unfit:
        return _unfit(unfit, run, name)


def lost(detail: str) -> Outcome:
    """The outcome where the worker that ran the function is gone."""
    problem = Problem(500, "The operation was interrupted", detail, type=INTERRUPTED)
    return Outcome("failed", error=problem.document(), retry=True)


class _Unfit(Exception):
    """The stored arguments are not what the function takes any more."""


@contextlib.contextmanager
def _values(signature: Signature, stored: bytes, operation: Operation) -> Iterator[dict[str, Any]]:
    """The arguments of the function; their files are closed at the end."""
    try:
        values = signature.restore(stored)
    except Exception as error:
        raise _Unfit from error
    uploads = [each for value in values.values() for each in _uploads(value)]
    if signature.handle is not None:
        values[signature.handle] = operation
    try:
        yield values
    finally:
        for upload in uploads:
            upload.file.close()


def _unfit(unfit: _Unfit, run: Running, name: str) -> Outcome:
    logger.error("Operation %s: its stored arguments do not fit %s() any more.", run.id, name, exc_info=unfit)
    return _failed(
        Problem(500, "The operation failed", f"The stored arguments do not fit {name}() any more.")
    )


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "function"))


def _calling(function: Callable[[], Any], operation: Operation) -> Callable[[], Any]:
    def called() -> Any:
        token = current.set(operation)
        try:
            value = function()
            return asyncio.run(value) if inspect.iscoroutine(value) else value
        finally:
            current.reset(token)

    return called


async def _settled(coroutine: Any, run: Running) -> Callable[[], Any]:
    """Await it to its end; a cancel reaches it wherever it waits, not only at ``op.check``."""
    task: asyncio.Future[Callable[[], Any]] = asyncio.ensure_future(_caught(coroutine))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just ended by itself
            loop.call_soon_threadsafe(task.cancel)

    run.on_stop(stop)
    try:
        await asyncio.wait([task])
    finally:
        run.on_stop(None)

    def returned() -> Any:
        return task.result()()

    return returned


async def _caught(coroutine: Any) -> Callable[[], Any]:
    """A ``SystemExit`` of one coroutine would end the loop of all."""
    try:
        value = await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        exit_: BaseException = error

        def ended() -> Any:
            raise exit_

        return ended
    return lambda: value


def _with_parts(outcome: Outcome, run: Running, name: str) -> Outcome:
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


def _ended(returned: Callable[[], Any], signature: Signature, run: Running, name: str) -> Outcome:
    try:
        value = returned()
    except (Canceled, Interrupted) as stop:
        return _stopped(stop, run)
    except asyncio.CancelledError as error:
        return _raised(error, run, name) if run.stopped is None else _stopped(run.stopped(), run)
    except Problem as problem:
        logger.info("Operation %s failed: %s", run.id, problem)
        # What the function refuses stays refused; what is away for now may be back.
        return Outcome("failed", error=problem.document(), retry=problem.status == 503)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the operation and not the worker
        return _raised(error, run, name)
    return _result(value, signature, run, name)


def _result(value: Any, signature: Signature, run: Running, name: str) -> Outcome:
    try:
        result = signature.dump_result(value)
    except Exception:
        logger.exception("Operation %s: what %s() returned cannot be stored.", run.id, name)
        kind = type(value).__name__
        detail = f"The {kind} that {name}() returned is not what its annotation says, or no JSON can hold it."
        return _failed(Problem(500, "The result cannot be stored", detail))
    return Outcome("succeeded", result)


def _raised(error: BaseException, run: Running, name: str) -> Outcome:
    logger.error("Operation %s: %s() raised %s.", run.id, name, type(error).__name__, exc_info=error)
    kind = type(error).__name__
    problem = Problem(500, "The operation failed", f"{name}() raised {kind}.", exception=kind)
    return Outcome("failed", error=problem.document(), retry=True)


def _stopped(stop: Canceled | Interrupted, run: Running) -> Outcome:
    if isinstance(stop, Canceled):
        return Outcome("canceled")
    problem = stopped(stop, run.timeout)
    logger.warning("Operation %s: %s.", run.id, problem.title)
    return Outcome("failed", error=problem.document(), retry=True)


def _failed(problem: Problem) -> Outcome:
    return Outcome("failed", error=problem.document())


def _uploads(value: Any) -> list[UploadFile]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, UploadFile)]
