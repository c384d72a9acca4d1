"""The backend ``sqlite:``: several processes of one machine share a file.

A call that returned is on disk (WAL, synchronous=FULL), but for announcements: they are only in
order (synchronous=NORMAL), since a lost hint is made good by a recheck and a flush costs ten times
the rest. Apps that share a file are kept apart by their names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from . import forks, offsets
from .limits import PAGE_BYTES, check_limit, check_name, check_prefix, check_steps, successor
from .listening import Listening, Poll
from .port import LOST, Announce, Append, Delete, Drop, Listener, Page, Record, Save, Step
from .sqlite_commits import GroupCommit
from .sqlite_file import SqliteFile
from .sqlite_steps import do_all, find_stream

__all__ = ["SqliteBackend"]

BATCH = 1000


class SqliteBackend:
    """A backend in the file ``path``, whose folder must exist.

    ``name`` is the app's; ``patience`` the seconds that a call waits for another process at most;
    ``interval`` the seconds between two looks for announcements of other processes.
    """

    blocking: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, path: Path, *, name: str = "", patience: float = 5.0, interval: float = 0.02) -> None:
        self.path = path.absolute()
        self.name = name
        self._file = SqliteFile(self.path, patience=patience)
        self._commits = GroupCommit(self._file, lambda db, steps: do_all(db, name, steps))
        self._listening = Listening(self._follow, interval=interval)
        forks.register(self)

    def __repr__(self) -> str:
        return f"<SqliteBackend {self.name!r} in {self.path}: {len(self._listening)} listeners>"

    def announce(self, payload: bytes) -> None:
        """Tell every listener of every process."""
        self.apply([Announce(payload)], durable=False)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` from a thread with each payload until the returned function is called."""
        return self._listening.add(listener)

    def _follow(self) -> Poll:
        return _Announcements(self._file, self.name).poll

    def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        close: bool = False,
        after: str | None = None,
        keep: int = 0,
    ) -> str:
        """Append atomically and return the offset behind the last item. Raises Conflict."""
        (end,) = self.apply([Append(stream, items, close, after, keep)])
        assert isinstance(end, str)
        return end

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        """Items after an offset. Raises KeyError, Trimmed, ValueError for another stream's offset."""
        check_name(stream)
        check_limit(limit)
        with self._file.reading() as db:
            db.execute("BEGIN")
            found = find_stream(db, self.name, stream)
            if found is None:
                raise KeyError(stream)
            start = offsets.position(after, epoch=found.epoch, length=found.length, start=found.start)
            items = _items(db, found.key, start, limit)
        end = start + len(items)
        at_end = end == found.length
        closed = bool(found.closed) and at_end
        return Page(items, offsets.encode(found.epoch, end), closed=closed, up_to_date=at_end)

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        self.apply([Drop(stream)])

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        with self._file.reading() as db:
            statement = "SELECT name, value, version FROM records WHERE app = ? AND name = ?"
            row = db.execute(statement, (self.name, name)).fetchone()
        return None if row is None else Record(*row)

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        (new,) = self.apply([Save(name, value, version)])
        assert isinstance(new, int)
        return new

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        self.apply([Delete(name)])

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        """Do all of the steps, or on a Conflict none; what each returned. One flush for all."""
        check_steps(steps)
        results = self._commits.apply(steps, synced=durable)
        if any(isinstance(step, Announce) for step in steps):
            self._listening.wake()
        return results

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        check_prefix(prefix)
        check_prefix(before or "")
        check_limit(limit)
        statement = "SELECT name, value, version FROM records WHERE app = ? AND name >= ?"
        values: list[str | int] = [self.name, prefix]
        for bound in (successor(prefix), before):
            if bound is not None:
                statement += " AND name < ?"
                values.append(bound)
        with self._file.reading() as db:
            rows = db.execute(statement + " ORDER BY name DESC LIMIT ?", (*values, limit)).fetchall()
        return [Record(*row) for row in rows]

    def probe(self) -> None:
        """Read from the file. Raises BackendUnavailable."""
        with self._file.reading() as db:
            db.execute("SELECT count(*) FROM sqlite_sequence").fetchone()

    def close(self) -> None:
        """Close the file; listeners are called no more. The next call opens it anew."""
        self._listening.close()
        self._file.close()

    def hold(self) -> None:
        """Before a fork: the file comes to rest by itself."""

    def resume(self) -> None:
        """After a fork: the next call opens the file."""

    def forget(self) -> None:
        """In a forked child: the threads, their listeners and what they wait for are the parent's."""
        self._listening.forget()
        self._commits.forget()


def _items(db: sqlite3.Connection, stream: int, start: int, limit: int) -> tuple[bytes, ...]:
    """The items from position ``start`` on, as many as one page takes."""
    statement = "SELECT item FROM items WHERE stream = ? AND position >= ? ORDER BY position LIMIT ?"
    cursor = db.execute(statement, (stream, start, limit))
    items: list[bytes] = []
    room = PAGE_BYTES
    for (item,) in cursor:
        room -= len(item)
        if items and room < 0:
            break
        items.append(item)
    cursor.close()
    return tuple(items)


class _Announcements:
    """What one app announces in a file, from the current end on."""

    def __init__(self, file: SqliteFile, app: str) -> None:
        self._file = file
        self._app = app
        self._seen: tuple[int, int] | None = None
        self._position = self._read()[0]

    def poll(self) -> Sequence[bytes | None]:
        """The payloads since the last call, LOST among them where some are gone."""
        now = self._file.data_version()
        if now == self._seen:
            return ()
        end, rows = self._read(self._position)
        if missed(self._position, end, rows):
            self._position = end
            return (LOST,)
        if rows:
            self._position = rows[-1][0]
        if self._position == end:
            self._seen = now
        return [payload for _, payload in rows if payload is not None]

    def _read(self, after: int | None = None) -> tuple[int, list[tuple[int, bytes | None]]]:
        """The number of the last announcement ever made and, of one view, those behind ``after``."""
        with self._file.reading() as db:
            db.execute("BEGIN")
            (end,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'announcements'").fetchone()
            if after is None:
                return end, []
            statement = """SELECT seq, CASE app WHEN ? THEN payload END FROM announcements
                WHERE seq > ? ORDER BY seq LIMIT ?"""
            return end, db.execute(statement, (self._app, after, BATCH)).fetchall()


def missed(position: int, end: int, rows: Sequence[tuple[int, bytes | None]]) -> bool:
    """Whether announcements behind ``position`` were pruned, or the file is another: numbers have no gaps."""
    if position > end:
        return True
    return rows[0][0] != position + 1 if rows else position != end
