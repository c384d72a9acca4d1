"""Orderly shutdown: a handler chained to SIGTERM and SIGINT drains open watches and calls the previous one.

Without it uvicorn waits for the first open event stream for ever (design section 5).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_callbacks: dict[int, Callable[[], None]] = {}
_previous: dict[int, Any] = {}


def on_stop(owner: object, callback: Callable[[], None]) -> None:
    """Call ``callback`` when the process is asked to stop, before the server is. Only on the main thread.

    It runs inside a signal handler: it may only hand over to an event loop.
    """
    _callbacks[id(owner)] = callback
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # A process that nobody serves dies as it always did.
        if callable(handler) and handler is not _handle and handler is not signal.default_int_handler:
            _previous[number] = handler
            signal.signal(number, _handle)


def forget(owner: object) -> None:
    """``owner`` is gone."""
    _callbacks.pop(id(owner), None)


def _handle(number: int, frame: FrameType | None) -> None:
    for callback in list(_callbacks.values()):
        callback()
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)
