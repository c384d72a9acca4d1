"""The tables of a SQLite backend, and what makes a file one of Restive's.

The application id and the schema version are in the file's header. A file of another application
is refused before anything in it is changed, one of a newer Restive as well.
"""

from __future__ import annotations

import secrets
import sqlite3
import time

from restive.errors import BackendUnavailable

__all__ = ["APPLICATION", "VERSION", "prepare"]

APPLICATION = 0x52737476
"""``Rstv``, the application id in the header of the file."""

VERSION = 2

# AUTOINCREMENT: a number that was given is never given again, whatever is deleted. So a version of
# a deleted record fits no later one, and a listener sees from a gap that announcements were pruned.
_TABLES = (
    """CREATE TABLE announcements (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, payload BLOB NOT NULL)""",
    """CREATE TABLE streams (
        id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, name TEXT NOT NULL, epoch TEXT NOT NULL,
        length INTEGER NOT NULL, closed INTEGER NOT NULL, start INTEGER NOT NULL DEFAULT 0,
        UNIQUE (app, name))""",
    """CREATE TABLE items (
        stream INTEGER NOT NULL, position INTEGER NOT NULL, item BLOB NOT NULL,
        PRIMARY KEY (stream, position))""",
    """CREATE TABLE records (
        version INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
        UNIQUE (app, name))""",
)

_UPGRADES = {1: "ALTER TABLE streams ADD COLUMN start INTEGER NOT NULL DEFAULT 0"}
"""What makes a file of the version after out of one of this version."""


def prepare(connection: sqlite3.Connection, file: str, *, deadline: float) -> None:
    """Check or make the schema and set the connection up; ``deadline`` is on the monotonic clock.

    Raises ``BackendUnavailable`` for a file that is not Restive's, and what sqlite3 raises.
    """
    connection.execute("BEGIN")  # one view: another process may be making the tables
    _check(connection, file)
    connection.execute("COMMIT")
    _write_ahead(connection, file, deadline)
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    if _header(connection) != (APPLICATION, VERSION):
        _create(connection, file)


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _check(connection: sqlite3.Connection, file: str) -> None:
    application, version = _header(connection)
    if application == APPLICATION:
        if version > VERSION:
            raise BackendUnavailable(
                f"{file} was made by a newer Restive (schema {version}). Upgrade restive."
            )
        return
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application or tables:
        raise BackendUnavailable(
            f"{file} is the database of another application. Give Restive a file of its own."
        )


def _write_ahead(connection: sqlite3.Connection, file: str, deadline: float) -> None:
    """Switch to WAL. SQLite does not wait by itself where two processes do so at once."""
    mode = ""
    while not mode:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise BackendUnavailable(f"{file} lies where SQLite cannot keep a write-ahead log. Set RESTIVE_HOME.")


def _create(connection: sqlite3.Connection, file: str) -> None:
    """Make the tables, or what is new in them, unless another process was first."""
    connection.execute("BEGIN IMMEDIATE")
    _check(connection, file)
    application, version = _header(connection)
    if application == APPLICATION:
        for old in range(version, VERSION):
            connection.execute(_UPGRADES[old])
    else:
        _make_tables(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _make_tables(connection: sqlite3.Connection) -> None:
    """Numbers start so that those of a wiped file are not met again in its successor.

    Those of announcements anywhere; versions of records at the time in microseconds, so that they grow.
    """
    for table in _TABLES:
        connection.execute(table)
    starts = {"announcements": secrets.randbelow(2**48), "records": time.time_ns() // 1000}
    connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", starts.items())
