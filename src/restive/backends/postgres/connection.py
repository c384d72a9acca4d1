"""Connections to one PostgreSQL, on which no call waits for ever, and how they are opened.

A call that waits for the server is given up ``patience`` seconds after its last sign of life. Attempts to
connect that follow a failed one wait, ever longer, with jitter.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from restive.errors import BackendUnavailable

from .arrays import register
from .location import Location, Parameters
from .outage import Outage
from .schema import prepare, warn

__all__ = ["LONGEST", "SHORTEST", "Opener", "PatientConnection", "Server", "lost", "stirs"]

SHORTEST, LONGEST = 0.05, 1.0
"""Seconds between attempts to connect: after the first failure, and at most."""

CHECK = "Check the server, and backend= or RESTIVE_BACKEND"

T = TypeVar("T")


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose calls end ``patience`` seconds after the server's last sign of life."""

    patience = 2.5

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """As psycopg's; raises ConnectionTimeout, after which the connection is to be closed."""
        return super().wait(_patient(gen, self.patience), *args, **kwargs)

    def abandon(self) -> None:
        """In a forked child: let go of the socket, and say nothing to the server; nor does psycopg."""
        if not self.closed:
            os.close(self.fileno())


def _patient(steps: Generator[Any, Any, T], patience: float) -> Generator[Any, Any, T]:
    """The same steps; psycopg sends 0 every 0.1 s in which nothing has come."""
    try:
        wanted = next(steps)
        until = time.monotonic() + patience
        while True:
            ready = yield wanted
            if ready:
                until = time.monotonic() + patience
            elif time.monotonic() > until:
                raise errors.ConnectionTimeout(f"no answer for {patience:g} s")
            wanted = steps.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def stirs(connection: PatientConnection) -> bool:
    """Whether an idle connection has something to read: its end, or nothing to lose. Then it is closed."""
    if not connection.closed:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            readable = bool(poll.poll(0))
        else:
            readable = bool(select.select([connection.fileno()], [], [], 0)[0])
        if not readable:
            return False
        connection.close()
    return True


class Server:
    """Opens connections for one backend; one attempt after a failure at a time."""

    def __init__(self, location: Location, patience: float) -> None:
        self.location = location
        self.patience = patience
        self.outage = Outage(str(location))
        self._warned = False
        self.forget()

    def forget(self) -> None:
        """In a forked child: nobody is waiting."""
        self._lock = threading.Lock()
        self._failures = 0
        self._not_before = 0.0

    def connect(self, parameters: Parameters) -> PatientConnection:
        """A connection on which the schema is there. Raises BackendUnavailable. May take long."""
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        try:
            connection = self._connect(parameters)
        except (psycopg.Error, BackendUnavailable) as error:
            with self._lock:
                pause = min(LONGEST, SHORTEST * 2 ** min(self._failures, 10))
                self._failures += 1
                self._not_before = time.monotonic() + pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
            raise self.unavailable(error) from error
        self._failures, self._not_before = 0, 0.0
        return connection

    def _connect(self, parameters: Parameters) -> PatientConnection:
        # Without prepared statements: PgBouncer may give each transaction another server connection.
        connection = PatientConnection.connect(
            make_conninfo("", **parameters), autocommit=True, prepare_threshold=None
        )
        try:
            connection.patience = self.patience
            register(connection)
            prepare(connection, self.location.schema, str(self.location))
            if not self._warned:
                self._warned = True
                warn(connection, str(self.location))
        except BaseException:
            connection.close()
            raise
        return connection

    def unavailable(self, error: BaseException) -> BackendUnavailable:
        """What is raised for an error of psycopg; each thread raises one of its own."""
        if isinstance(error, BackendUnavailable):
            return BackendUnavailable(str(error))
        said = self.location.redact(" ".join(str(error).split())) or type(error).__name__
        if isinstance(error, errors.LockNotAvailable):
            return BackendUnavailable(
                f"{self.location}: another transaction holds what is to be changed: {said}."
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return BackendUnavailable(f"{self.location}: the user lacks a permission: {said}. Grant it.")
        if getattr(error, "sqlstate", None) and not lost(error):
            return BackendUnavailable(f"{self.location} failed: {said}.")
        return BackendUnavailable(f"{self.location} cannot be reached: {said}. {CHECK}.")


def lost(error: BaseException) -> bool:
    """Whether the connection is of no use any more, or leads to a server that cannot write."""
    state = getattr(error, "sqlstate", None)
    return state is None or state[:2] in {"08", "28", "3D"} or state[:3] == "57P" or state == "25006"


class Opener:
    """Opens one connection at a time to ``server``, in a thread: names and several hosts take time."""

    def __init__(self, server: Server, parameters: Parameters) -> None:
        self._server = server
        self._parameters = parameters
        self._opening: Future[PatientConnection] | None = None

    def open(self) -> PatientConnection:
        """A new connection; one that comes too late is there for the next call. Raises BackendUnavailable."""
        deadline = time.monotonic() + self._server.patience
        if self._opening is not None:
            found = self._result(deadline)
            if isinstance(found, PatientConnection) and not stirs(found):
                return found  # what failed or died for an earlier call says nothing about this moment
        self._opening = _begin(lambda: self._server.connect(self._parameters))
        result = self._result(deadline)
        if isinstance(result, BackendUnavailable):
            raise BackendUnavailable(str(result)) from result.__cause__
        return result

    def _result(self, deadline: float) -> PatientConnection | BackendUnavailable:
        """What became of the attempt under way. Raises BackendUnavailable where that is not known in time."""
        assert self._opening is not None
        if not wait([self._opening], max(0.0, deadline - time.monotonic())).done:
            why = f"no connection in {self._server.patience:g} s"
            raise self._server.unavailable(errors.ConnectionTimeout(why))
        opening, self._opening = self._opening, None
        try:
            return opening.result()
        except BackendUnavailable as error:
            return error

    def close(self) -> None:
        """Whatever is still being opened is not needed."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.add_done_callback(_close_late)

    def forget(self) -> None:
        """In a forked child: nothing is being opened."""
        self._opening = None


def _begin(work: Callable[[], PatientConnection]) -> Future[PatientConnection]:
    future: Future[PatientConnection] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where the connection is waited for
            future.set_exception(error)

    threading.Thread(target=run, name="restive-connecting", daemon=True).start()
    return future


def _close_late(opening: Future[PatientConnection]) -> None:
    if opening.exception() is None:
        opening.result().close()
