"""Tries again what the backend refused because it was away: a run that cost time does not end by that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import BackendUnavailable

__all__ = ["WAITS", "patiently"]

WAITS = (0.1, 0.4, 1.6, 5.0, 5.0)
"""Seconds between the tries."""

T = TypeVar("T")
Errors = tuple[type[Exception], ...]


def patiently(step: Callable[[], T], errors: Errors = (BackendUnavailable,)) -> T:
    """``step``, tried again while it raises one of these ``errors``; the last one passes."""
    for wait in WAITS:
        try:
            return step()
        except errors:
            time.sleep(wait)
    return step()
