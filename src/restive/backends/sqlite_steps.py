"""What each step of a batch does to the tables of a SQLite backend, inside a transaction of the caller.

Nothing here begins, commits or waits. ``app`` is the app's name in the file. There are as few statements
as can be: the interpreter's lock is given away with each, and in a busy process it takes long to come back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from restive.errors import Conflict

from . import offsets
from .limits import kept_from
from .port import Announce, Append, Delete, Drop, Save, Step

__all__ = ["KEPT", "PRUNE_EVERY", "Result", "Stream", "do_all", "find_stream"]

KEPT = 10_000
"""Announcements that are kept; who is further behind gets LOST."""

PRUNE_EVERY = 256
TOGETHER = 100
"""Rows of one statement, at most."""

Result = int | str | None


class Stream(NamedTuple):
    """The row of a stream."""

    key: int
    epoch: str
    length: int
    """Items that it ever had."""
    closed: int
    start: int
    """How many of them, the oldest, are kept no more."""


def do_all(db: sqlite3.Connection, app: str, steps: Sequence[Step]) -> list[Result]:
    """Do the steps in order; what the backend's methods of the same names return. Raises Conflict."""
    results: list[Result] = []
    for run, group in groupby(steps, _runner):
        alike: list[Any] = list(group)
        for start in range(0, len(alike), TOGETHER):
            results += run(db, app, alike[start : start + TOGETHER])
    return results


def _runner(step: Step) -> Callable[[sqlite3.Connection, str, list[Any]], list[Result]]:
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
    found = "SELECT coalesce((SELECT version FROM records WHERE app = ? AND name = ?), 0)"
    for step in steps:
        if db.execute(found, (app, step.name)).fetchone() != (step.version,):
            raise _conflict(step)
        db.execute("DELETE FROM records WHERE app = ? AND name = ?", (app, step.name))
    return [None] * len(steps)


def _conflict(step: Save | Delete) -> Conflict:
    return Conflict(f"The record {step.name!r} is no longer at version {step.version}.")


def _append_all(db: sqlite3.Connection, app: str, steps: list[Append]) -> list[Result]:
    return [_append(db, app, step) for step in steps]


def _append(db: sqlite3.Connection, app: str, step: Append) -> str:
    found = find_stream(db, app, step.stream)
    _check_end(step, found)
    if found is None:
        epoch, length, start = offsets.new_epoch(), 0, 0
        end = len(step.items)
        statement = "INSERT INTO streams (app, name, epoch, length, closed) VALUES (?, ?, ?, ?, ?)"
        key = _inserted(db, statement, app, step.stream, epoch, end, step.close)
    else:
        key, epoch, length, _, start = found
        end = length + len(step.items)
        db.execute("UPDATE streams SET length = ?, closed = ? WHERE id = ?", (end, step.close, key))
    rows = [(key, position, item) for position, item in enumerate(step.items, length)]
    db.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
    _trim(db, key, start, kept_from(start, end, step.keep))
    return offsets.encode(epoch, end)


def _check_end(step: Append, found: Stream | None) -> None:
    """Raise Conflict for a stream that is closed, or does not end where the append is to begin."""
    if step.after is not None and step.after != (offsets.encode(found.epoch, found.length) if found else ""):
        raise Conflict(f"The stream {step.stream!r} does not end at that offset.")
    if found and found.closed:
        raise Conflict(f"The stream {step.stream!r} is closed.")


def _trim(db: sqlite3.Connection, key: int, start: int, new: int) -> None:
    """Keep the items from position ``new`` on."""
    if new > start:
        db.execute("DELETE FROM items WHERE stream = ? AND position < ?", (key, new))
        db.execute("UPDATE streams SET start = ? WHERE id = ?", (new, key))


def find_stream(db: sqlite3.Connection, app: str, stream: str) -> Stream | None:
    """The row of a stream; None where there is none."""
    statement = "SELECT id, epoch, length, closed, start FROM streams WHERE app = ? AND name = ?"
    row = db.execute(statement, (app, stream)).fetchone()
    return None if row is None else Stream(*row)


def _drop(db: sqlite3.Connection, app: str, steps: list[Drop]) -> list[Result]:
    for step in steps:
        found = find_stream(db, app, step.stream)
        if found is not None:
            db.execute("DELETE FROM items WHERE stream = ?", (found.key,))
            db.execute("DELETE FROM streams WHERE id = ?", (found.key,))
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
