"""One SQLite file: opened on first use, closed before a fork, opened anew when it was replaced.

Two connections, each behind a lock: one writes, one reads, so that a reader never waits for a
writer. A transaction is a ``with`` block; what SQLite raises leaves as BackendUnavailable with
what to do. Every wait is bounded by ``patience``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from restive.errors import BackendUnavailable

from . import forks
from .filesystems import network_filesystem
from .sqlite_schema import prepare

__all__ = ["SqliteFile"]

_creating = threading.Lock()
_FATAL = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_ELSEWHERE = "Name another file with backend= or RESTIVE_BACKEND, or another folder with RESTIVE_HOME"


class _Line:
    """A connection, the lock that guards it, and which file it was opened on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.identity: tuple[int, int] | None = None
        self.synced: bool | None = None
        self.opened = 0

    def close(self) -> None:
        """Close the connection, if there is one. The caller holds the lock."""
        connection, self.connection, self.synced = self.connection, None, None
        if connection is None:
            return
        try:
            connection.close()
        except sqlite3.Error:
            pass  # what was acknowledged is in the file and its log already


class SqliteFile:
    """The file at ``path``; ``patience`` is in seconds."""

    def __init__(self, path: Path, *, patience: float) -> None:
        self.path = path
        self.patience = patience
        self._writer = _Line()
        self._reader = _Line()
        forks.register(self)

    @contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """A write transaction. When it is left it is on disk, or with ``synced=False`` only in order."""
        with self._using(self._writer) as connection:
            if self._writer.synced is None:
                connection.execute("PRAGMA busy_timeout = 1")
            if self._writer.synced is not synced:
                connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                self._writer.synced = synced
            _begin(connection, deadline=time.monotonic() + self.patience)
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; statements that must agree go between BEGIN and the end of the block."""
        with self._using(self._reader) as connection:
            yield connection

    def data_version(self) -> tuple[int, int]:
        """A value that differs as soon as another connection has committed, or the file is another one."""
        with self._using(self._reader) as connection:
            return self._reader.opened, connection.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        """Close both connections; the next use opens them anew."""
        for line in (self._writer, self._reader):
            with line.lock:
                line.close()

    @contextmanager
    def _using(self, line: _Line) -> Iterator[sqlite3.Connection]:
        if not line.lock.acquire(timeout=self.patience):
            raise self.busy()
        try:
            connection = self._connection(line)
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if _code(error) in _FATAL:
                line.close()
            raise self._unavailable(error) from error
        finally:
            line.lock.release()

    def _connection(self, line: _Line) -> sqlite3.Connection:
        """The connection of ``line`` to the file that lies at the path now."""
        if line.connection is not None:
            if self._identity() == line.identity:
                return line.connection
            line.close()
        self._create()
        line.identity = self._identity()
        line.connection = self._open()
        line.opened += 1
        return line.connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _create(self) -> None:
        """Make the file, readable to its owner only, where there is none.

        Under a lock of the process: closing a descriptor of a file on which SQLite holds a lock
        would drop that lock (https://sqlite.org/howtocorrupt.html, 2.2).
        """
        kind = network_filesystem(self.path.parent)
        if kind:
            raise BackendUnavailable(
                f"{self} lies on a network file system ({kind}), which cannot hold it. {_ELSEWHERE}."
            )
        try:
            with _creating:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise BackendUnavailable(f"{self} cannot be made: {error.strerror}. {_ELSEWHERE}.") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self.patience, isolation_level=None, check_same_thread=False
        )
        try:
            prepare(connection, str(self), deadline=time.monotonic() + self.patience)
        except BaseException:
            connection.close()
            raise
        return connection

    def busy(self) -> BackendUnavailable:
        """What is raised where a call waits too long for others of this process."""
        return BackendUnavailable(
            f"{self} is busy: a call of this process has not ended for {self.patience:g} s."
        )

    def _unavailable(self, error: sqlite3.Error) -> BackendUnavailable:
        code = _code(error)
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return BackendUnavailable(
                f"{self} is locked: another process has held it for {self.patience:g} s."
            )
        if code in {
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_AUTH,
        }:
            return BackendUnavailable(f"{self} cannot be written ({error}). {_ELSEWHERE}.")
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return BackendUnavailable(
                f"{self} is damaged or no database ({error}). Move it away. {_ELSEWHERE}."
            )
        if code == sqlite3.SQLITE_FULL:
            return BackendUnavailable(f"{self} cannot grow: the disk is full. Make room. {_ELSEWHERE}.")
        return BackendUnavailable(f"{self} failed: {error}. {_ELSEWHERE}.")

    def __str__(self) -> str:
        return f"The SQLite file {self.path}"

    def hold(self) -> None:
        """Before a fork: no transaction is open and nothing of SQLite is inherited."""
        for line in (self._writer, self._reader):
            line.lock.acquire()
            line.close()

    def resume(self) -> None:
        """After a fork, in both processes: go on; the next call opens anew."""
        for line in (self._writer, self._reader):
            line.lock.release()

    def forget(self) -> None:
        """In a forked child: nothing was inherited."""


def _code(error: sqlite3.Error) -> int:
    """The primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _begin(connection: sqlite3.Connection, *, deadline: float) -> None:
    """Begin a write transaction as soon as no other process has one.

    Asks every millisecond: SQLite by itself would sleep up to 100 ms between two attempts, and be
    starved by a process that writes without a pause. ``deadline`` is on the monotonic clock.
    """
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
