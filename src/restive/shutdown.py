"""Orderly shutdown: a handler chained to SIGTERM and SIGINT drains open watches and calls the previous one.

Without it uvicorn waits for the first open event stream for ever (design section 5). Where a balancer is to
be warned first, all of that waits for a while; a second signal ends the wait.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import weakref
from types import FrameType
from typing import Any, Protocol

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_told: weakref.WeakSet[Stoppable] = weakref.WeakSet()
_previous: dict[int, Any] = {}
_warned = False
"""Whether a signal has come whose handling waits."""


class Stoppable(Protocol):
    """What wants to know that the process is asked to stop."""

    def warn(self) -> float:
        """Say that this server is not ready any more. Returns the seconds for which it goes on meanwhile."""
        ...

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
    global _warned  # noqa: PLW0603 - a process has one set of handlers
    delay = max((owner.warn() for owner in list(_told)), default=0.0)
    if delay and not _warned and (loop := _running_loop()) is not None:
        _warned = True
        loop.call_soon_threadsafe(loop.call_later, delay, _pass_on_once, number)
    else:
        _pass_on(number, frame)


def _pass_on_once(number: int) -> None:
    if _warned:  # no second signal has come
        _pass_on(number, None)


def _pass_on(number: int, frame: FrameType | None) -> None:
    global _warned  # noqa: PLW0603
    _warned = False
    for owner in list(_told):
        owner.drain_soon()
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
