"""Signals in a worker process: it leaves its end to the server.

Ctrl-C and ``kill`` to the whole group reach the workers too, whose functions are to finish while the server
drains. What a function starts is not concerned: programs, and processes that it forks, end as they always do.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

__all__ = ["leave_signals_to_the_server"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Forking(threading.local):
    mask: set[signal.Signals] | None = None


_forking = _Forking()
_left = threading.Event()


def leave_signals_to_the_server() -> None:
    """By a handler, not by ignoring them: programs would inherit that."""
    if threading.current_thread() is not threading.main_thread() or _left.is_set():
        return
    for number in SIGNALS:
        signal.signal(number, _nothing)
    _left.set()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_in_child)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _hold() -> None:
    """What comes before the child has its own handlers is kept for it."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # type: ignore[assignment]


def _let_go() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _in_child() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    logging.getLogger().handlers[:] = [logging.StreamHandler()]  # it has no line
    _let_go()
