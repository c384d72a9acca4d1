"""What each step of a batch does to the tables of a SQLite backend, inside a transaction of the caller.

Nothing here begins, commits or waits. ``app`` is the app's name in the file. There are as few statements
as can be: the interpreter's lock is given away with each, and in a busy process it takes long to come back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from restive.errors import Conflict

from . import offsets
from .port import Append, Delete, Drop, Save, Step

__all__ = ["KEPT", "PRUNE_EVERY", "Announce", "Result", "do_all", "find_stream"]

KEPT = 10_000
"""Announcements that are kept; who is further behind gets LOST."""

PRUNE_EVERY = 256
TOGETHER = 100
"""Rows of one statement, at most."""

Result = int | str | None


@dataclass(frozen=True, slots=True)
class Announce:
    """As ``Backend.announce``."""

    payload: bytes


def do_all(db: sqlite3.Connection, app: str, steps: Sequence[Step | Announce]) -> list[Result]:
    """Do the steps in order; what the backend's methods of the same names return. Raises Conflict."""
    results: list[Result] = []
    for run, group in groupby(steps, _runner):
        alike: list[Any] = list(group)
        for start in range(0, len(alike), TOGETHER):
            results += run(db, app, alike[start : start + TOGETHER])
    return results


def _runner(step: Step | Announce) -> Callable[[sqlite3.Connection, str, list[Any]], list[Result]]:
    """What does steps of this kind, several in a row at once."""
    match step:
        case Save(version=None):
            return _put
        case Delete(version=None):
            return _delete
        case _:
            return RUNNERS[type(step)]


def _put(db: sqlite3.Connection, app: str, steps: list[Save]) -> list[Result]:
    """Store whatever is there. Rows of one statement are numbered without gaps."""
    rows = ", ".join(["(?, ?, ?)"] * len(steps))
    values = [value for step in steps for value in (app, step.name, step.value)]
    statement = f"INSERT OR REPLACE INTO records (app, name, value) VALUES {rows}"  # noqa: S608 - only marks
    last = _inserted(db, statement, *values)
    return list(range(last - len(steps) + 1, last + 1))


def _delete(db: sqlite3.Connection, app: str, steps: list[Delete]) -> list[Result]:
    names = ", ".join("?" * len(steps))
    statement = f"DELETE FROM records WHERE app = ? AND name IN ({names})"  # noqa: S608 - only marks
    db.execute(statement, (app, *(step.name for step in steps)))
    return [None] * len(steps)


def _save(db: sqlite3.Connection, app: str, steps: list[Save]) -> list[Result]:
    statement = """INSERT OR REPLACE INTO records (app, name, value) SELECT ?, ?, ?
        WHERE coalesce((SELECT version FROM records WHERE app = ? AND name = ?), 0) = ?"""
    results: list[Result] = []
    for step in steps:
        cursor = db.execute(statement, (app, step.name, step.value, app, step.name, step.version))
        if cursor.rowcount != 1:
            raise _conflict(step)
        results.append(cursor.lastrowid)
    return results


def _delete_version(db: sqlite3.Connection, app: str, steps: list[Delete]) -> list[Result]:
    statement = "DELETE FROM records WHERE app = ? AND name = ? AND version = ?"
    for step in steps:
        if db.execute(statement, (app, step.name, step.version)).rowcount != 1:
            raise _conflict(step)
    return [None] * len(steps)


def _conflict(step: Save | Delete) -> Conflict:
    return Conflict(f"The record {step.name!r} is no longer at version {step.version}.")


def _append_all(db: sqlite3.Connection, app: str, steps: list[Append]) -> list[Result]:
    return [_append(db, app, step) for step in steps]


def _append(db: sqlite3.Connection, app: str, step: Append) -> str:
    more = len(step.items)
    found = find_stream(db, app, step.stream)
    if found is None:
        epoch, length = offsets.new_epoch(), 0
        statement = "INSERT INTO streams (app, name, epoch, length, closed) VALUES (?, ?, ?, ?, ?)"
        key = _inserted(db, statement, app, step.stream, epoch, more, step.close)
    else:
        key, epoch, length, closed = found
        if closed:
            raise Conflict(f"The stream {step.stream!r} is closed.")
        statement = "UPDATE streams SET length = ?, closed = ? WHERE id = ?"
        db.execute(statement, (length + more, step.close, key))
    rows = [(key, position, item) for position, item in enumerate(step.items, length)]
    db.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
    return offsets.encode(epoch, length + more)


def find_stream(db: sqlite3.Connection, app: str, stream: str) -> tuple[int, str, int, int] | None:
    """Number, epoch and length of a stream, and whether it is closed; None where there is none."""
    statement = "SELECT id, epoch, length, closed FROM streams WHERE app = ? AND name = ?"
    row: tuple[int, str, int, int] | None = db.execute(statement, (app, stream)).fetchone()
    return row


def _drop(db: sqlite3.Connection, app: str, steps: list[Drop]) -> list[Result]:
    for step in steps:
        found = find_stream(db, app, step.stream)
        if found is not None:
            db.execute("DELETE FROM items WHERE stream = ?", found[:1])
            db.execute("DELETE FROM streams WHERE id = ?", found[:1])
    return [None] * len(steps)


def _announce(db: sqlite3.Connection, app: str, steps: list[Announce]) -> list[Result]:
    for step in steps:
        seq = _inserted(db, "INSERT INTO announcements (app, payload) VALUES (?, ?)", app, step.payload)
        if seq % PRUNE_EVERY == 0:
            db.execute("DELETE FROM announcements WHERE seq <= ?", (seq - KEPT,))
    return [None] * len(steps)


def _inserted(db: sqlite3.Connection, statement: str, *values: object) -> int:
    """Insert and return the number of the last row."""
    number = db.execute(statement, values).lastrowid
    assert number is not None
    return number


RUNNERS: dict[type, Callable[[sqlite3.Connection, str, list[Any]], list[Result]]] = {
    Save: _save,
    Delete: _delete_version,
    Append: _append_all,
    Drop: _drop,
    Announce: _announce,
}
