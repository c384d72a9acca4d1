"""Writes to connections in slices of one turn of the loop, so that a push to thousands holds up nobody.

One push goes straight to its clients. Where there are several at once, what they owe a connection until its
turn comes is written in one call; so a push waits a moment for the looks that are under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Flushed", "Flusher"]

log = logging.getLogger("restive.hub")

SLICE = 256
"""Connections that are written to in one turn of the loop."""

MARKS = 2048
"""Watches that are noted as having something to tell in one turn."""

MOST_PUSHING = 256
"""Turns in a row that pushes take, before those who wait get one."""


GATHER = 0.05
"""Seconds for which a push waits for others at most."""


class Flushed(Protocol):
    """A connection that has something to write."""

    def flush(self) -> None:
        """Write it. Must not raise."""
        ...


class Pushed(Protocol):
    """A push under way: each call does the next ``count`` clients. False: that was all."""

    def write(self, count: int) -> bool:
        """Write to them."""
        ...

    def mark(self, count: int) -> bool:
        """Have them say that they have something to write."""
        ...


class Flusher:
    """The connections of one loop that wait for their turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, looks: Callable[[], int] = lambda: 0) -> None:
        self._loop = loop
        self._looks = looks
        """How many looks are under way, from which there may be more to push."""
        self._awaited = 0
        self._held: deque[Pushed] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[Flushed] = deque()
        self._pushes: deque[Pushed] = deque()
        self._pushing = 0
        self._called = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._pushes) + len(self._held)

    def add(self, connection: Flushed) -> None:
        """Let ``connection`` write soon. It is not to be added twice before it has."""
        self._waiting.append(connection)
        self._call()

    def push(self, push: Pushed) -> None:
        """Let ``push`` write soon."""
        self._held.append(push)
        if self._timer is None:
            self._awaited = self._looks()
            if self._awaited:
                self._timer = self._loop.call_later(GATHER, self._release)
            else:
                self._release()

    def look_ended(self) -> None:
        """A look is over; those that began meanwhile are not waited for."""
        self._awaited -= 1
        if self._timer is not None and self._awaited <= 0:
            self._release()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pushes += self._held
        self._held.clear()
        self._call()

    def finish(self) -> None:
        """Write all that waits now: the loop is about to end."""
        self._release()
        while len(self):
            self._write_some()

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._called = False
        self._write_some()
        if len(self):
            self._call()

    def _write_some(self) -> None:
        if not self._pushes or self._pushing >= MOST_PUSHING:
            self._pushing = 0
            self._flush()
            return
        self._pushing += 1
        push = self._pushes[0]
        if len(self._pushes) > 1:
            self._step(push.mark, MARKS)
        else:  # where many wait already, there is little to write at once
            self._step(push.write, SLICE if len(self._waiting) < SLICE else MARKS)

    def _step(self, step: Callable[[int], bool], count: int) -> None:
        try:
            if step(count):
                return
        except Exception:
            log.exception("A push was cut short.")
        self._pushes.popleft()

    def _flush(self) -> None:
        waiting = self._waiting
        for _ in range(min(SLICE, len(waiting))):
            try:
                waiting.popleft().flush()
            except Exception:  # one connection's fault holds up no other
                log.exception("A connection could not be written to.")
