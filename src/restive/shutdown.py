"""Orderly shutdown: a handler chained to SIGTERM and SIGINT drains open watches and calls the previous one.

Without it uvicorn waits for the first open event stream for ever (design section 5).
"""

from __future__ import annotations

import signal
import threading
import weakref
from types import FrameType
from typing import Any, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_told: weakref.WeakSet[Stoppable] = weakref.WeakSet()
_previous: dict[int, Any] = {}


class Stoppable(Protocol):
    """What wants to know that the process is asked to stop."""

    def drain_soon(self) -> None:
        """Runs inside a signal handler: it may only hand over to an event loop."""
        ...


def on_stop(owner: Stoppable) -> None:
    """Tell ``owner`` when the process is asked to stop, before the server is told.

    The handlers can be chained only on the main thread; on another one ``owner`` is told only where
    somebody else has chained them.
    """
    _told.add(owner)
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        handler = signal.getsignal(number)
        # A process that nobody serves dies as it always did.
        if callable(handler) and handler is not _handle and handler is not signal.default_int_handler:
            _previous[number] = handler
            signal.signal(number, _handle)


def forget(owner: Stoppable) -> None:
    """``owner`` is gone."""
    _told.discard(owner)


def _handle(number: int, frame: FrameType | None) -> None:
    for owner in list(_told):
        owner.drain_soon()
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)
