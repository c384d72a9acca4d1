"""Restive makes a REST API live: any GET can be watched, long jobs are resources.

The public names are those of ``__all__``; all else may change. What needs an extra is imported on
first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .app import Restive, changed
from .errors import (
    BackendError,
    BackendUnavailable,
    Canceled,
    ClientError,
    Conflict,
    Interrupted,
    OperationCanceled,
    OperationFailed,
    Problem,
    RequestRefused,
    RestiveError,
    SettingError,
    TimedOut,
    Unreachable,
    WatchEnded,
)
from .settings import Settings

if TYPE_CHECKING:
    from .client import AsyncClient, Client
    from .operations import Operation, OperationFilter, Upload
    from .streams import Stream

__version__ = "0.1.0"

_LAZY = {
    "AsyncClient": "client",
    "Client": "client",
    "Operation": "operations",
    "OperationFilter": "operations",
    "Stream": "streams",
    "Upload": "operations",
}

__all__ = [
    "AsyncClient",
    "BackendError",
    "BackendUnavailable",
    "Canceled",
    "Client",
    "ClientError",
    "Conflict",
    "Interrupted",
    "Operation",
    "OperationCanceled",
    "OperationFailed",
    "OperationFilter",
    "Problem",
    "RequestRefused",
    "Restive",
    "RestiveError",
    "SettingError",
    "Settings",
    "Stream",
    "TimedOut",
    "Unreachable",
    "Upload",
    "WatchEnded",
    "changed",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'restive' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
