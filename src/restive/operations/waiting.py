"""Requests that wait for operations to end, on whatever event loop they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

from .record import OperationRecord

__all__ = ["Waiting"]

LOOK_EVERY = 0.5
"""Seconds after which the record is read again: another process may have ended it."""


class Waiting:
    """Wakes requests of this process the moment an operation ends in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def wake(self, identity: str) -> None:
        """The operation has changed; callable from any thread."""
        with self._lock:
            waiting = self._waiting.get(identity, [])[:]
        for loop, event in waiting:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(event.set)

    async def final(
        self, identity: str, seconds: float, load: Callable[[], Awaitable[OperationRecord | None]]
    ) -> OperationRecord | None:
        """What ``load`` gives once that is final, or when the time is up."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        until = loop.time() + seconds
        with self._lock:
            self._waiting.setdefault(identity, []).append((loop, event))
        try:
            while True:
                found = await load()
                left = until - loop.time()
                if found is None or found.final or left <= 0:
                    return found
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, LOOK_EVERY))
                event.clear()
        finally:
            self._forget(identity, (loop, event))

    def _forget(self, identity: str, one: tuple[asyncio.AbstractEventLoop, asyncio.Event]) -> None:
        with self._lock:
            self._waiting[identity].remove(one)
            if not self._waiting[identity]:
                del self._waiting[identity]
