"""What an executor is given to do in a worker process, and what comes back.

Functions, items and their results are pickled by hand: what an executor cannot unpickle ends its process.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from ...telemetry.tracing import Carrier
from ..files import FilesPlace
from ..record import Status
from .log_relay import Levels
from .messages import Address, Report

__all__ = ["Ended", "FunctionJob", "Job", "PieceJob", "dump_function", "load_function", "pickler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every call is told."""

    number: int
    """The call's, on its line."""
    line: Address | None
    """Where the worker is to connect, if it was not started with a line."""
    levels: Levels
    """Of the server's loggers."""
    trace: Carrier | None = None
    """What carries the run's trace on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJob(Job):
    """Call the function of an operation."""

    function: bytes
    name: str
    """The function's."""
    stored: bytes
    by_value: bool
    """Whether functions are sent whole (cloudpickle) instead of by their names."""
    id: str
    attempt: int
    lease: int
    timeout: float | None
    room: int | None
    """Bytes that its parts may fill."""
    parts_at: str
    """What the path of each of its parts begins with."""
    files: FilesPlace
    interval: float
    """Seconds between two reports."""
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceJob(Job):
    """Call a function of ``op.map`` with one item."""

    piece: bytes
    by_value: bool


class Ended(msgspec.Struct, frozen=True):
    """How a function ended, and what it last reported."""

    status: Status
    result: bytes | None
    error: bytes | None
    """The problem's document as JSON."""
    retry: bool
    report: Report | None
    sent: int
    """How many messages the worker had sent by then."""


def dump_function(function: Callable[..., Any], by_value: bool) -> bytes:
    """The function, for ``load_function`` in a worker. One that is sent whole has its annotations with it:

    by their names they would be sought in a module that is not there.
    """
    annotations = inspect.get_annotations(function, eval_str=True) if by_value else None
    return pickler(by_value)((function, annotations))


def load_function(data: bytes) -> Callable[..., Any]:
    """The function again."""
    function: Callable[..., Any]
    function, annotations = pickle.loads(data)  # noqa: S301 - from the server
    if annotations is not None and inspect.isfunction(function):
        function.__annotations__ = annotations
    return function


def pickler(by_value: bool) -> Callable[[Any], bytes]:
    """What functions and items are pickled with."""
    if not by_value:
        return pickle.dumps
    import cloudpickle  # type: ignore[import-untyped]  # comes with loky

    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    return dumps
