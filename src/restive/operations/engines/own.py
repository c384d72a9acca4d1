"""Our own pool: a process for each worker, so that the end of one harms no other's operation.

Each has two connections that it is started with: its desk, on which jobs come in and results go out, and its
line. Where the desk is closed it ends by itself.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing.util  # noqa: F401 - its own exit, which waits for all children, is to come after ours
import os
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from multiprocessing import Pipe
from multiprocessing.context import BaseContext
from typing import Any

from . import worker
from .attending import Call
from .jobs import Job
from .line import Line
from .messages import Address, close_in_forks, cut

__all__ = ["OwnPool"]

CLOSES_IN = 2.0
"""Seconds within which a process that has nothing to do ends by itself."""


class _Process:
    """One worker process."""

    def __init__(self, context: BaseContext, line: Line) -> None:
        self.desk, its_desk = Pipe()
        its_line, ours = Pipe()
        close_in_forks(self.desk)
        try:
            process: Any = context.Process(  # type: ignore[attr-defined]
                target=worker.serve, args=(its_desk, its_line), name="restive-worker"
            )
            process.start()
        except BaseException:
            self.desk.close()
            ours.close()
            raise
        finally:
            its_desk.close()
            its_line.close()
        self._process, self._ready = process, False
        self.worker = line.adopt(ours)

    def await_ready(self) -> None:
        """Return once it waits for a job. Raises ``EOFError`` or ``OSError`` where it has ended."""
        if not self._ready:
            self.desk.recv_bytes()
            self._ready = True

    def kill(self) -> None:
        """End it at once; who waits at its desk is told."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.terminate()
            elif self._process.exitcode is None:
                os.kill(self._process.pid, signal.SIGKILL)
        cut(self.desk)

    def close(self, seconds: float) -> None:
        """Let it end, and return once it has."""
        self.desk.close()
        self._process.join(seconds)
        if self._process.is_alive():  # a thread that a function has left behind
            self.kill()
            self._process.join(CLOSES_IN)


class _OwnSeat:
    """A place for one process, started when first needed and again after it ended."""

    def __init__(self, context: BaseContext, line: Line) -> None:
        self._context, self._line = context, line
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._at: Call | None = None

    def prepare(self, call: Call) -> None:
        """Have a process that waits for a job. Raises ``BrokenExecutor``."""
        with self._lost_process(), self._doing(call) as process:
            process.await_ready()

    def perform(self, job: Job, call: Call) -> bytes:
        """Have the process do the job, and wait for its end."""
        with self._lost_process(), self._doing(call) as process:
            process.await_ready()
            process.worker.attend(call)
            process.desk.send_bytes(pickle.dumps(job))
            process.desk.recv_bytes()  # it has the job; one that was just killed can still be sent to
            call.began()
            return process.desk.recv_bytes()

    @contextlib.contextmanager
    def _doing(self, call: Call) -> Iterator[_Process]:
        """Its process is at ``call``, and may be killed for it."""
        with self._lock:
            if self._process is None:
                self._process = _Process(self._context, self._line)
            self._at = call
        try:
            yield self._process
        finally:
            with self._lock:
                self._at = None

    @contextlib.contextmanager
    def _lost_process(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.close(CLOSES_IN)
            raise BrokenExecutor("Its process has ended.") from error

    def kill(self, call: Call) -> None:
        """End the process, if it is at ``call``."""
        with self._lock:
            if self._at is call and self._process is not None:
                self._process.kill()

    def end(self) -> None:
        """End the process, whatever it is at."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Let the process end, which has nothing to do."""
        process, self._process = self._process, None
        if process is not None:
            process.close(CLOSES_IN)


class OwnPool:
    """At most ``workers`` processes that wait for work."""

    own = True

    def __init__(self, context: BaseContext, workers: int, line: Line) -> None:
        self._context, self._workers, self._line = context, workers, line
        self._lock = threading.Lock()
        self._free: list[_OwnSeat] = []
        self._taken: set[_OwnSeat] = set()
        self._made_by = os.getpid()
        _pools.add(self)

    def address(self) -> Address | None:
        """None: they have a line."""
        return None

    def take(self) -> _OwnSeat:
        """The seat that was used last, so that few processes do little work."""
        with self._lock:
            seat = self._free.pop() if self._free else _OwnSeat(self._context, self._line)
            self._taken.add(seat)
            return seat

    def give(self, seat: Any) -> None:
        """It is free again."""
        with self._lock:
            self._taken.discard(seat)
            if len(self._free) < self._workers:
                self._free.append(seat)
                return
        seat.close()

    def close(self) -> None:
        """End all processes, what they do included."""
        with self._lock:
            free, self._free = self._free, []
            taken = list(self._taken)
        if os.getpid() != self._made_by:  # a forked child's copy
            return
        for seat in taken:
            seat.end()
        for seat in free:
            seat.close()


_pools: weakref.WeakSet[OwnPool] = weakref.WeakSet()


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


atexit.register(_close_all)
