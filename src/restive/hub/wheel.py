"""One timer for all connections of a loop: each says when it next wants to be asked, to half a second.

What goes away is not taken out: it is asked once more, when its time comes, and then says that there is no
next time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

__all__ = ["TICK", "Timed", "Wheel"]

log = logging.getLogger("restive.hub")

TICK = 0.5
"""Seconds between two turns; nothing is asked before its time, and at most so much after it."""


class Timed(Protocol):
    """What wants to be asked now and then."""

    def tick(self, now: float) -> float | None:
        """Do what is due. Returns the next time (the loop's clock, seconds); None for never again."""
        ...


class Wheel:
    """Its timer runs only while something is on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Timed]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._turned = 0

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def at(self, when: float, item: Timed) -> None:
        """Ask ``item`` at ``when``."""
        slot = max(self._turned, int(when / TICK)) + 1
        self._slots.setdefault(slot, []).append(item)
        if self._timer is None:
            self._turned = int(self._loop.time() / TICK)
            self._timer = self._loop.call_later(TICK, self._turn)

    def close(self) -> None:
        """Ask nobody any more."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        now = self._loop.time()
        reached = int(now / TICK)
        due = [slot for slot in self._slots if slot <= reached]
        self._turned, self._timer = reached, None
        for slot in due:
            for item in self._slots.pop(slot):
                try:
                    when = item.tick(now)
                except Exception:  # one connection's fault holds up no other
                    log.exception("A connection could not be asked for what is due.")
                    continue
                if when is not None:
                    self.at(when, item)
        if self._slots and self._timer is None:
            self._timer = self._loop.call_later(TICK, self._turn)
