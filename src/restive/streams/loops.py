"""The tails of each event loop, and how news from any thread reach all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from .tail import Tails

__all__ = ["LoopTails"]


class LoopTails:
    """``make`` makes those of one loop, on their first use."""

    def __init__(self, make: Callable[[], Tails]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._tails: dict[asyncio.AbstractEventLoop, Tails] = {}

    def __bool__(self) -> bool:
        return bool(self._tails)

    def here(self) -> Tails:
        """Those of the running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._tails.get(loop)
            if found is None:
                for stale in [old for old in self._tails if old.is_closed()]:
                    del self._tails[stale]
                found = self._tails[loop] = self._make()
        return found

    def grew(self, names: Sequence[str] | None) -> None:
        """What these names stand for has changed; None: anything may have. From any thread."""
        running = _running_loop()
        with self._lock:
            tails = list(self._tails.items())
        for loop, found in tails:
            if loop is running:
                found.grew(names)
                continue
            try:
                loop.call_soon_threadsafe(found.grew, names)
            except RuntimeError:
                continue  # the loop is closed

    def close(self) -> None:
        """Nobody follows any more on the running loop, which is ending."""
        with self._lock:
            found = self._tails.pop(_running_loop(), None)  # type: ignore[arg-type]
        if found is not None:
            found.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
