"""A worker process's end of the line. Where the line ends, the server is gone, and this process ends too."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from typing import Any, Protocol

import msgspec

from ...errors import BackendError, Canceled, Interrupted, Problem
from ..files import Part
from .messages import STOPS, Address, Answer, Ask, Channel, Done, Message, Pull, Stop, ToWorker

__all__ = ["Clerk", "Job", "Lifeline"]

logger = logging.getLogger("restive.operations")

LAST_WORDS = 0.4
"""Seconds that a function gets to end by itself once the server is gone."""

DECODER = msgspec.msgpack.Decoder(ToWorker)


class Job(Protocol):
    """What runs in this process. ``call`` is the number of the call."""

    call: int

    def stop(self, why: type[Canceled | Interrupted]) -> None: ...
    def hand_out(self, pull: Pull) -> None: ...
    def take_back(self, done: Done) -> None: ...


class Lifeline:
    """The connection to one server. Any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self.channel = Channel(connection)
        self.clerk = Clerk()
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer | None] = {}
        self._job: Job | None = None
        self._early: Stop | None = None
        self._lost = False
        threading.Thread(target=self._serve, name="restive-line", daemon=True).start()

    @classmethod
    def at(cls, address: Address) -> Lifeline:
        """Connect. Raises ``OSError`` or ``EOFError`` where the server is gone."""
        return cls(Client(address.path, authkey=address.key))

    def send(self, message: Message) -> None:
        """Send it. Raises ``Interrupted`` where the server is gone."""
        try:
            self.channel.send(message)
        except OSError as error:
            raise Interrupted("The server is gone.") from error

    def begin(self, job: Job) -> None:
        """What comes in is for this job."""
        with self._changed:
            self._job = job
            lost, early = self._lost, self._early
        if lost:
            job.stop(Interrupted)
        elif early is not None and early.job == job.call:
            job.stop(STOPS[early.why])

    def end(self, job: Job) -> None:
        """It has ended."""
        with self._changed:
            if self._job is job:
                self._job = None
            self._changed.notify_all()
        job.stop(Interrupted)  # threads that it has left behind

    def ask(self, job: int, part: Part | None = None) -> None:
        """Fence, or publish; raises what that raises in the server's process."""
        number = next(self._numbers)
        with self._changed:
            self._answers[number] = None
        try:
            self.send(Ask(job, number, part))
            with self._changed:
                self._changed.wait_for(lambda: self._answers[number] is not None or self._lost)
                answer = self._answers[number]
        finally:
            with self._changed:
                del self._answers[number]
        _raise(answer)

    def _serve(self) -> None:
        try:
            while True:
                self._handle(DECODER.decode(self.channel.receive()))
        finally:
            self._end()

    def _handle(self, message: Any) -> None:
        if isinstance(message, Answer):
            with self._changed:
                if message.number in self._answers:
                    self._answers[message.number] = message
                    self._changed.notify_all()
            return
        with self._changed:
            job = self._job if self._job is not None and self._job.call == message.job else None
            if job is None:  # it has ended, or comes only now
                self._early = message if isinstance(message, Stop) else self._early
                return
        if isinstance(message, Stop):
            job.stop(STOPS[message.why])
        elif isinstance(message, Pull):
            self.clerk.do(lambda: job.hand_out(message))
        elif isinstance(message, Done):
            self.clerk.do(lambda: job.take_back(message))

    def _end(self) -> None:
        """The server is gone: let the function end, and end."""
        with self._changed:
            self._lost = True
            self._changed.notify_all()
            job = self._job
        if job is not None:
            job.stop(Interrupted)
            with self._changed:
                self._changed.wait_for(lambda: self._job is None, LAST_WORDS)
        os._exit(1)


def _raise(answer: Answer | None) -> None:
    if answer is None:
        raise Interrupted("The server is gone.")
    if answer.stop is not None:
        raise STOPS[answer.stop]("The operation is to end.")
    if answer.problem is not None:
        raise Problem.from_document(msgspec.json.decode(answer.problem))
    if answer.error is not None:
        raise BackendError(answer.error)


class Clerk:
    """A thread for what neither the function nor who reads the line may wait for. It starts when needed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._chores: deque[Callable[[], None]] = deque()
        self._timed: tuple[float, Callable[[], None]] | None = None
        self._running = False

    def do(self, chore: Callable[[], None]) -> None:
        """Do it soon."""
        with self._changed:
            self._chores.append(chore)
            self._wake()

    def do_at(self, when: float, chore: Callable[[], None]) -> None:
        """Do it then (monotonic seconds), instead of what was to be done at a time before."""
        with self._changed:
            self._timed = (when, chore)
            self._wake()

    def _wake(self) -> None:
        if self._running:
            self._changed.notify()
        else:
            self._running = True
            threading.Thread(target=self._work, name="restive-clerk", daemon=True).start()

    def _work(self) -> None:
        while True:
            chore = self._next()
            try:
                chore()
            except Interrupted:
                pass
            except Exception:
                logger.exception("A worker process could not do what it was asked for.")

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                if self._chores:
                    return self._chores.popleft()
                now = time.monotonic()
                if self._timed is not None and self._timed[0] <= now:
                    chore, self._timed = self._timed[1], None
                    return chore
                self._changed.wait(None if self._timed is None else self._timed[0] - now)
