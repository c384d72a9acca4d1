"""The engine of processes: calls functions in its own, or in those of a ``concurrent.futures.Executor``.

An attendant gives a worker one job and waits for its end; what the function says meanwhile comes over the
line. Where the process ends before it has begun the job, it is given to another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path

import msgspec

from ...errors import Problem
from ..calling import Outcome, lost
from ..run import Run
from . import worker
from .attending import Call
from .ending import ended_early
from .jobs import Ended, FunctionJob, Job, PieceJob, dump_function
from .line import Line
from .log_relay import Levels, levels
from .pieces import Helping, Pulling
from .port import Task
from .seats import Pool, Seat
from .threads import Threads

__all__ = ["ExecutorEngine"]

logger = logging.getLogger("restive.operations")

TRIES = 3
"""How often a call is made whose process ended before it had begun."""

LEVELS_FOR = 1.0
"""Seconds for which the levels of logging count as known."""

GONE = "The worker process that ran it is gone: it was killed, it ended itself, or memory ran out."


class ExecutorEngine:
    """``pool`` is given the engine's line, for the workers that it starts."""

    def __init__(
        self,
        pool: Callable[[Line], Pool],
        workers: int,
        home: Callable[[], Path],
        *,
        interval: float,
        by_value: bool = False,
    ) -> None:
        self.threads = Threads(workers)
        self._line = Line(home)
        self._pool = pool(self._line)
        self._interval, self._by_value = interval, by_value
        self._known_levels: Levels = ()
        self._levels_until = 0.0

    def call(self, task: Task, run: Run) -> Outcome:
        """Have the function called in a worker process, and wait here for its end."""
        try:
            function = dump_function(task.function, self._by_value)
        except Exception as error:  # noqa: BLE001 - whatever pickling it raises
            return worker.unloadable(run.id, _name(task), error)
        call = Call(self._line.number(), run, self._helping)
        self._line.enter(call)
        with self.threads.attending(run.id):
            try:
                return self._called(call, self._job(call, task, function))
            except Exception as error:  # noqa: BLE001 - it is the operation's, not the attendant's
                return _outcome(run, error)
            finally:
                run.on_stop(None)
                call.left()
                self._line.leave(call)
                self._kill(run)  # those who help what is over

    def give_up(self, run: Run) -> bool:
        """Kill the worker where it is our own; a pool that was given would break as a whole."""
        if not self._pool.own:
            logger.error("Operation %s does not end, and holds its worker.", run.id)
            self.threads.give_up(run.id)
            return False
        self._kill(run)
        return True

    def _kill(self, run: Run) -> None:
        for call in self._line.calls():
            if call.run is run:
                call.kill()

    def close(self) -> None:
        """End the processes that are our own, and those in which a function was given up."""
        if not self._pool.own and any(call.begun for call in self._line.calls()):
            self._line.dismiss()
        self._pool.close()
        self._line.close()

    def _levels(self) -> Levels:
        now = time.monotonic()
        if now >= self._levels_until:
            self._known_levels, self._levels_until = levels(), now + LEVELS_FOR
        return self._known_levels

    # A function

    def _job(self, call: Call, task: Task, function: bytes) -> FunctionJob:
        run = call.run
        return FunctionJob(
            number=call.number,
            line=self._pool.address(),
            levels=self._levels(),
            trace=run.witness.trace,
            function=function,
            name=_name(task),
            stored=task.stored,
            by_value=self._by_value,
            id=run.id,
            attempt=run.attempt,
            lease=run.number,
            timeout=run.timeout,
            room=run.room,
            parts_at=run.part_location(""),
            files=run.files.place,
            interval=self._interval,
            workers=self.threads.workers,
        )

    def _called(self, call: Call, job: FunctionJob) -> Outcome:
        call.run.on_stop(call.stop)
        ended = msgspec.msgpack.decode(self._perform(job, call), type=Ended)
        if call.worker is not None:
            call.worker.await_sent(ended.sent)
        if ended.report is not None:
            call.report(ended.report)
        error = None if ended.error is None else msgspec.json.decode(ended.error)
        return Outcome(ended.status, ended.result, error, ended.retry)

    def _perform(self, job: Job, call: Call) -> bytes:
        """What becomes of the job in a worker. Raises ``BrokenExecutor`` where the worker is lost."""
        call.seat = seat = self._pool.take()
        try:
            for left in reversed(range(TRIES)):
                try:
                    return seat.perform(job, call)
                except BrokenExecutor:
                    if call.begun or call.run.stopped is not None or not left:
                        raise
            raise AssertionError
        finally:
            self._pool.give(seat)

    # A piece of op.map

    def _helping(self, call: Call, mapping: int) -> Helping:
        return Helping(call, mapping, self.threads, self._help)

    def _help(self, mapping: Call, pull: Pulling) -> tuple[int, bytes | None] | None:
        call = Call(self._line.number(), mapping.run)
        self._line.enter(call)
        call.seat = seat = self._pool.take()
        try:
            seat.prepare(call)  # no piece waits for a process to start
            piece = pull()
            if piece is None or piece.data is None:
                return None
            return piece.ticket, self._helped(seat, call, piece.data)
        except BrokenExecutor:
            return None
        finally:
            self._pool.give(seat)
            self._line.leave(call)

    def _helped(self, seat: Seat, call: Call, piece: bytes) -> bytes | None:
        job = PieceJob(
            number=call.number,
            line=self._pool.address(),
            levels=self._levels(),
            trace=call.run.witness.trace,
            piece=piece,
            by_value=self._by_value,
        )
        try:
            return seat.perform(job, call)
        except Exception as error:  # noqa: BLE001 - it is raised where op.map is iterated
            if not call.begun:
                return None
            return worker.failed_piece(RuntimeError(f"{GONE} ({type(error).__name__})"))


def _name(task: Task) -> str:
    return str(getattr(task.function, "__name__", "function"))


def _outcome(run: Run, error: Exception) -> Outcome:
    """How it ended where no outcome came back."""
    if run.stopped is not None:
        return ended_early(run.stopped, run.timeout)
    if isinstance(error, BrokenExecutor):
        logger.error("Operation %s: its worker process is gone: %s", run.id, error)
        return lost(GONE)
    logger.error("Operation %s cannot be called in a worker process.", run.id, exc_info=error)
    detail = f"It could not be called in a worker process: {type(error).__name__}."
    return Outcome("failed", error=Problem(500, "The operation failed", detail).document(), retry=True)
