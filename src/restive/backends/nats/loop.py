"""The private event loop of one backend, on a daemon thread: nats-py is asyncio only, the port blocks.

The thread starts with the first call and ends with ``close``; what lives in the loop is made and ends with
it. A fork forgets both: the child starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as Late
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from restive.errors import BackendUnavailable

__all__ = ["LoopThread"]

T = TypeVar("T")
P = TypeVar("P")
Last = Callable[[P], Coroutine[Any, Any, None]]
HANGS = 30.0
"""Seconds after which a call is given up whatever keeps it: its own waits are far shorter."""

ROUNDS = 3
"""How often tasks are cancelled that others have begun while they were cancelled."""


class _Running(Generic[P]):
    """A loop, its thread, and what lives in it."""

    def __init__(self, parts: P, last: Last[P]) -> None:
        self.parts = parts
        self._last = last
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="restive-nats", daemon=True)
        self.thread.start()
        _open.add(self)

    def end(self) -> None:
        """Run ``last`` and end the thread."""
        asyncio.run_coroutine_threadsafe(_finish(self._last(self.parts)), self.loop)
        if self.thread is not threading.current_thread():
            self.thread.join(HANGS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()


class LoopThread(Generic[P]):
    """Runs coroutines for callers in other threads, with what ``make`` returns; ``last`` closes that."""

    def __init__(self, make: Callable[[], P], last: Last[P]) -> None:
        self._make = make
        self._last = last
        self.lock = threading.Lock()
        self._running: _Running[P] | None = None

    def call(self, work: Callable[[P], Coroutine[Any, Any, T]]) -> T:
        """Run the coroutine that ``work`` makes; what it returns or raises."""
        with self.lock:
            if self._running is None:
                self._running = _Running(self._make(), self._last)
            future: Future[T] = asyncio.run_coroutine_threadsafe(
                work(self._running.parts), self._running.loop
            )
        try:
            return future.result(HANGS)
        except Late:
            future.cancel()
            raise BackendUnavailable("NATS: a call has not ended. Its outcome is unknown.") from None
        except CancelledError:
            raise BackendUnavailable("NATS: the backend was closed. The outcome is unknown.") from None
        except BaseException:
            future.cancel()
            raise

    def soon(self, function: Callable[[P], None]) -> None:
        """Call ``function`` in the loop, if there is one."""
        with self.lock:
            if self._running is not None:
                self._running.loop.call_soon_threadsafe(function, self._running.parts)

    def close(self) -> None:
        """Close what lives in the loop and end the thread; calls that have not ended are cancelled."""
        with self.lock:
            running, self._running = self._running, None
        if running is None:
            return
        _open.discard(running)
        running.end()

    def forget(self) -> P | None:
        """In a forked child: the parent's thread does not exist. What lived in its loop."""
        self.lock = threading.Lock()
        running, self._running = self._running, None
        if running is None:
            return None
        _open.discard(running)
        _inherited.append(running)
        return running.parts


_open: WeakSet[_Running[Any]] = WeakSet()


@atexit.register
def _end_all() -> None:
    """A process may end without closing: then no task is torn in its middle, which asyncio complains of."""
    for running in list(_open):
        running.end()


_inherited: list[_Running[Any]] = []
"""Loops of a parent process: never collected, since they would end what the parent has."""


async def _finish(last: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    try:
        await last
        for _ in range(ROUNDS):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        loop.stop()
