"""One connection behind a lock: opened on first use, and anew when it is lost.

It is closed before anything that is left in it could reach another caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg import errors

from restive.errors import BackendUnavailable

from .connection import Opener, PatientConnection, Server, lost, stirs
from .schema import GONE

__all__ = ["Line"]

T = TypeVar("T")


class Line:
    """One connection of ``server`` and the lock that guards it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._opener = Opener(server, server.location.parameters)
        self._connection: PatientConnection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def using(self) -> Iterator[PatientConnection]:
        """The connection, in no transaction. An error that leaves the block is a BackendUnavailable.

        The connection is closed where the block ends with anything in it undone. What leaves the block as a
        Conflict, KeyError or ValueError leaves it as it is.
        """
        with self._held():
            connection = self._current()
            try:
                yield connection
            except (psycopg.Error, OSError) as error:
                if not _usable(connection, error):
                    self._close()
                raise self._failed(error) from error
            except BaseException:
                if not _usable(connection, None):
                    self._close()
                raise
            self._server.outage.over("calls")

    def call(self, function: Callable[[PatientConnection], T], *, again: bool = False) -> T:
        """What ``function`` makes of the connection; once more where the schema was not there.

        With ``again`` also where the connection was lost: for what may be done twice.
        """
        try:
            with self.using() as connection:
                return function(connection)
        except BackendUnavailable as error:
            if not _worth_another(error.__cause__, again):
                raise
        with self.using() as connection:
            return function(connection)

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=self._server.patience):
            raise self._server.outage.busy(self._server.patience)
        try:
            yield
        finally:
            self._lock.release()

    def _current(self) -> PatientConnection:
        """The connection that is open, or a new one."""
        if self._connection is not None and stirs(self._connection):
            self._connection = None
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> PatientConnection:
        try:
            return self._opener.open()
        except BackendUnavailable as error:
            self._server.outage.begin("calls", str(error))
            raise

    def _failed(self, error: BaseException) -> BackendUnavailable:
        unavailable = self._server.unavailable(error)
        if lost(error):
            self._server.outage.begin("calls", str(unavailable))
        return unavailable

    def close(self) -> None:
        """Close the connection once the call that uses it has ended."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._opener.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def hold(self) -> None:
        """Before a fork: no call is under way."""
        self._lock.acquire()

    def resume(self) -> None:
        """After a fork: go on."""
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, and hears nothing of this."""
        connection, self._connection = self._connection, None
        self._opener.forget()
        if connection is not None:
            connection.abandon()


def _usable(connection: PatientConnection, error: BaseException | None) -> bool:
    """Whether nothing is under way on the connection, and the error does not speak against it."""
    if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return False
    return error is None or not (isinstance(error, GONE) or lost(error))


def _worth_another(error: BaseException | None, again: bool) -> bool:
    """Whether the server has done nothing, or what it did may be done ``again``, and another try may help."""
    if isinstance(error, GONE):
        return True
    broken = isinstance(error, psycopg.OperationalError) and lost(error)
    return again and broken and not isinstance(error, errors.ConnectionTimeout)
