"""Blocking backend calls for code on an event loop, in a few threads of the whole process.

The threads are made when they are needed, are daemons, and so keep no process alive. A caller
that is cancelled goes at once: what has begun goes on and its result is dropped, the rest never begins.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from . import forks
from .port import Backend

__all__ = ["offload", "submit"]

THREADS = 8

P = ParamSpec("P")
T = TypeVar("T")
Call = Callable[[], None]


class _Pool:
    """At most ``size`` threads and what waits for them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.forget()
        forks.register(self)

    def submit(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        """Call ``function`` in one of the threads."""
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(call)
        self._staff()
        return future

    def _staff(self) -> None:
        """One thread more where all are at work."""
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._threads < self._size:
                self._threads += 1
                threading.Thread(target=self._work, name="restive-backend", daemon=True).start()

    def _work(self) -> None:
        calls, idle = self._calls, self._idle
        while True:
            calls.get()()
            idle.release()

    def hold(self) -> None:
        """Before a fork: nothing is in mid-use that the child keeps."""

    def resume(self) -> None:
        """After a fork: the parent's threads go on."""

    def forget(self) -> None:
        """Start empty: in a forked child the parent's threads do not exist."""
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._threads = 0


_pool = _Pool(THREADS)


async def offload(backend: Backend, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a method of ``backend`` (or a function that calls some) without blocking the event loop.

    It runs in a thread, or directly where the backend never blocks; returns and raises what it does.
    """
    if not backend.blocking:
        return function(*args, **kwargs)
    return await asyncio.wrap_future(_pool.submit(function, args, kwargs))


def submit(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call ``function`` in one of the threads, whether or not anybody waits for it."""
    return _pool.submit(function, args, kwargs)
