"""The streams of one process, by path: what is asked of them is put in line, and what is read is read here.

Methods block, but for ``ask``. What comes for one stream at the same time, from any thread, goes together.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..backends import forks, threads
from ..backends.port import Announce, Backend, Step, Trimmed
from ..errors import BackendError, BackendUnavailable, Conflict
from .items import unpack
from .known import Reader
from .line import Line, Process
from .lives import Found, Lives, key_of
from .offsets import START
from .place import Slice
from .tasks import Task

__all__ = ["Log"]

LINES = 1000
"""Streams of which the writers' state is kept in memory."""

TRIES = 20
"""How often a stream is looked up again because it was ended and begun elsewhere."""

SWEEP_EVERY = 5.0
"""Seconds between two sweeps, while streams are used."""

logger = logging.getLogger("restive.streams")


class Log:
    """All streams of one ``Restive`` in this process. Constructing opens nothing."""

    def __init__(
        self,
        backend: Callable[[], Backend],
        *,
        producers: int,
        announce: Callable[[Sequence[str]], bytes],
        changed: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._announce = announce
        self.lives = Lives(backend, clock)
        self._process = Process(backend, self.lives, Reader(backend, producers), self._announcement, changed)
        self._swept = 0.0
        self._clear()
        forks.register(self)

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._lines: OrderedDict[str, Line] = OrderedDict()

    def hold(self) -> None:
        """Before a fork: come to rest."""
        self._lock.acquire()

    def resume(self) -> None:
        """After a fork: go on."""
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: who works on a line is a thread of the parent's."""
        self._clear()

    def _announcement(self, path: str) -> Sequence[Step]:
        return [Announce(self._announce([path]))] if self._backend().shared else ()

    # What waits in line

    async def ask(self, path: str, task: Task) -> Any:
        """Have ``task`` done in a thread; what its future gives. It is done also if the caller leaves."""
        line, idle = self._put(path, task)
        if idle:
            self._work_elsewhere(line)
        return await asyncio.wrap_future(task.future)

    def do(self, path: str, task: Task) -> Any:
        """Do ``task``, perhaps with what others have asked of the same stream."""
        line, idle = self._put(path, task)
        if idle and line.work():
            self._work_elsewhere(line)
        return task.future.result()

    def _put(self, path: str, task: Task) -> tuple[Line, bool]:
        key = key_of(path)
        with self._lock:
            line = self._lines.pop(key, None) or Line(key, path, self._process, self._lock)
            self._lines[key] = line
            if len(self._lines) > LINES:
                self._evict()
            return line, line.put(task)

    def _evict(self) -> None:
        for key, line in self._lines.items():
            if not line.busy:
                del self._lines[key]
                return

    def _work_elsewhere(self, line: Line) -> None:
        if self._backend().blocking:
            threads.submit(self._work, line)
            return
        while line.work():
            pass

    def _work(self, line: Line) -> None:
        if line.work():
            threads.submit(self._work, line)  # behind what others have asked for

    # Reading

    def find(self, path: str) -> Found | None:
        """The stream's present life, as far as this process knows; None where there is none."""
        return self.lives.present(key_of(path))

    def read(self, path: str, offset: str, limit: int) -> tuple[Found, Slice] | None:
        """Items behind an offset ("": from the oldest on; ``START``); None where there is no stream.

        Counts as use of the stream. Raises ``Trimmed``, and ``ValueError`` for an offset that is not its own.
        """
        self.sweep_now_and_then()
        for _ in range(TRIES):
            found = self.find(path)
            if found is None:
                return None
            try:
                return found, self.read_life(found, offset, limit)
            except KeyError:
                self.lives.lost(found)
        raise BackendUnavailable(f"The stream at {path} is ended and begun too often to be read.")

    def read_life(self, found: Found, offset: str, limit: int) -> Slice:
        """As ``read``, of this life; raises ``KeyError`` where it is over."""
        if found.life.over(self.lives.clock()) and self.lives.find(found.key) is None:
            raise KeyError(found.life.path)
        page = self._backend().read(found.log, "" if offset == START else offset, limit)
        items = [unpack(stored) for stored in page.items]
        if offset == START and items and not items[0].first:
            raise Trimmed("Items behind this offset are kept no more.")
        self.use(found)
        payloads = tuple(item.payload for item in items if item.payload is not None)
        return Slice(payloads, page.next, page.closed, page.up_to_date)

    def use(self, found: Found) -> None:
        """Note that the stream is used, where that has to be noted."""
        touch = self.lives.touch(found)
        if touch is None:
            return
        try:
            (version,) = self._backend().apply([touch], durable=False)
        except Conflict:  # another process did, or has ended it
            self.lives.forget(found.key)
            return
        assert isinstance(version, int)
        self.lives.remember(found.saved(touch, version))

    def sweep_now_and_then(self) -> None:
        """Have what has expired cleared away, if the last time is some seconds past. Does not wait for it."""
        now = time.monotonic()
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        if self._backend().blocking:
            threads.submit(self._sweep)
        else:
            self._sweep()

    def _sweep(self) -> None:
        try:
            self.lives.sweep()
        except BackendError as error:
            logger.warning("Expired streams cannot be cleared away now: %s", error)
        except Exception:
            logger.exception("Expired streams were not cleared away")
