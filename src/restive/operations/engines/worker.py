"""What runs in a worker process: it has a line to the server, and calls functions and pieces of ``op.map``.

Functions are imported by name, and kept; the server's loggers get all that they log.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, cast

import msgspec

from ...errors import Canceled, Interrupted, Problem
from ...telemetry.tracing import carried
from ..arguments import Signature, signature_of
from ..calling import Outcome, call
from ..handle import Operation
from ..running import mapped
from .jobs import Ended, FunctionJob, Job, PieceJob, load_function, pickler
from .lifeline import Lifeline
from .log_relay import Sender, hand_over
from .messages import Address, Began, Done, Pull, close_in_forks
from .remote import RemoteRun
from .signals import leave_signals_to_the_server

__all__ = ["enlist", "failed_piece", "serve", "unloadable", "work"]

logger = logging.getLogger("restive.operations")

_own: list[Lifeline] = []
_lines: dict[str, Lifeline] = {}
_lock = threading.Lock()
_sender = Sender()


# Ways to become a worker


def serve(desk: Connection, line: Connection) -> None:
    """Be a worker of our own: do the jobs that come in on ``desk`` until it is closed."""
    _enlisted()
    _own.append(Lifeline(line))
    close_in_forks(desk)
    with contextlib.suppress(EOFError, OSError, Interrupted):  # this process or its server is to end
        desk.send_bytes(b"ready")
        while True:
            job = pickle.loads(desk.recv_bytes())  # noqa: S301 - from the server
            desk.send_bytes(b"begun")
            desk.send_bytes(work(job))


def enlist(address: Address, then: Callable[..., object] | None = None, *arguments: Any) -> None:
    """Begin to live as a worker of that server, before there is a first call; ``then`` initialize it."""
    with contextlib.suppress(OSError, EOFError):  # the first call tries again
        _line(address)
    if then is not None:
        then(*arguments)


def work(job: Job) -> bytes:
    """Do the job in this process."""
    line = _own[0] if job.line is None else _line(job.line)
    return _perform(job, line) if isinstance(job, FunctionJob) else _piece(cast("PieceJob", job), line)


# Jobs


def _perform(job: FunctionJob, line: Lifeline) -> bytes:
    """Call an operation's function to its end: an ``Ended``."""
    run = RemoteRun(job, line)
    with _working(job, line, run):
        try:
            function, signature = _loaded(job.function)
        except BaseException as error:  # noqa: BLE001 - whatever importing the function's module raises
            outcome = unloadable(job.id, job.name, error)
        else:
            _tell_begun(job, line)
            with carried(job.trace):  # not before: its module may set up what traces are made with
                outcome = call(function, signature, job.stored, Operation(run, run), run)
        return _encoded(outcome, run, line)


def _piece(job: PieceJob, line: Lifeline) -> bytes:
    """Call a function of ``op.map`` with its item: a pickled (result, error)."""
    with _working(job, line, _Helper(job.number)):
        _tell_begun(job, line)
        try:
            function, item = pickle.loads(job.piece)  # noqa: S301 - from a worker of the same server
            with carried(job.trace):
                context = contextvars.copy_context()
            context.run(mapped.set, True)
            result = context.run(function, item)
        except BaseException as error:  # noqa: BLE001 - it is raised where op.map is iterated
            return failed_piece(error)
        try:
            return pickler(job.by_value)((result, None))
        except Exception as error:  # noqa: BLE001 - whatever pickling raises
            kind = type(result).__name__
            return failed_piece(TypeError(f"No other process can be sent this result, a {kind}: {error}"))


class _Helper:
    """A piece ends by itself, or with its process."""

    def __init__(self, call: int) -> None:
        self.call = call

    def stop(self, why: type[Canceled | Interrupted]) -> None:
        pass

    def hand_out(self, pull: Pull) -> None:
        pass

    def take_back(self, done: Done) -> None:
        pass


# Ends


def unloadable(identity: str, name: str, error: BaseException) -> Outcome:
    """The outcome where a worker process cannot get hold of the function."""
    logger.error(
        "Operation %s: %s() cannot be loaded in a worker process. Define it at the top level of a module "
        "that can be imported, under the name that it has there.",
        identity,
        name,
        exc_info=error,
    )
    detail = f"{name}() cannot be loaded in a worker process ({type(error).__name__})."
    return Outcome("failed", error=Problem(500, "The operation failed", detail).document())


def failed_piece(error: BaseException) -> bytes:
    """A pickled (None, error); one that cannot be pickled becomes a ``RuntimeError``."""
    if not isinstance(error, Exception):
        error = RuntimeError(repr(error))
    trace = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        error.add_note(f"In a worker process:\n{trace}")
        data = pickle.dumps((None, error))
        pickle.loads(data)  # noqa: S301 - our own
        return data
    return pickle.dumps((None, RuntimeError(repr(error))))


def _encoded(outcome: Outcome, run: RemoteRun, line: Lifeline) -> bytes:
    try:
        error = None if outcome.error is None else msgspec.json.encode(outcome.error)
    except (TypeError, ValueError):
        error = Problem(500, "The operation failed", "Its problem has members that are no JSON.").body()
    ended = Ended(outcome.status, outcome.result, error, outcome.retry, run.last_report(), line.channel.sent)
    return msgspec.msgpack.encode(ended)


# This process


def _line(address: Address) -> Lifeline:
    with _lock:
        line = _lines.get(address.line)
        if line is None:
            if address.server == os.getpid():
                raise RuntimeError("This executor runs functions in the server's own process.")
            _enlisted()
            line = _lines[address.line] = Lifeline.at(address)
        return line


def _tell_begun(job: Job, line: Lifeline) -> None:
    if job.line is not None:  # else who gave the job knows whose it is
        line.send(Began(job.number))


def _enlisted() -> None:
    leave_signals_to_the_server()
    hand_over(_sender)


@contextlib.contextmanager
def _working(job: Job, line: Lifeline, run: Any) -> Iterator[None]:
    line.begin(run)
    _sender.begin(line.channel.send, job.number, job.levels)
    try:
        yield
    finally:
        line.end(run)


@functools.lru_cache(maxsize=64)
def _loaded(function: bytes) -> tuple[Callable[..., Any], Signature]:
    loaded = load_function(function)
    hand_over(_sender)  # the module may have set up logging for the server
    return loaded, signature_of(loaded, Operation)
