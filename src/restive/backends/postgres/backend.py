"""The backend ``postgresql:``: any number of machines share one database.

Every write is one call of a function on the server: one round trip, one transaction, and no lock that
outlives it, whatever becomes of the client. The tables are the truth and NOTIFY is a hint. A call that
returned is as lasting as the server's commit; announcements, and what is not ``durable``, do not wait for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from restive.errors import BackendUnavailable

from .. import forks
from ..limits import (
    MAX_VALUE,
    PAGE_BYTES,
    check_limit,
    check_name,
    check_prefix,
    check_steps,
    check_value,
    successor,
)
from ..port import Announce, Append, Delete, Drop, Listener, Page, Record, Save, Step
from . import offsets
from .commits import GroupCommit
from .connection import Server
from .line import Line
from .listening import Listening
from .location import parse
from .readers import Readers
from .schema import command
from .steps import LATER
from .writing import Writing

__all__ = ["PostgresBackend"]

PATIENCE = 2.5
"""Seconds after which a call gives up a server that does not answer."""

SWEEPS = 20
"""Rounds of 5000 items that a Drop deletes before it returns; later ones delete the rest."""


class PostgresBackend:
    """A backend in the database that ``url`` names; the documentation lists its options.

    ``name`` is the app's. ``patience`` is in seconds. Raises SettingError for a URL that cannot work.
    """

    blocking: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, url: str, *, name: str = "", patience: float = PATIENCE) -> None:
        location = parse(url)
        self.name = name
        self._app = name.encode(errors="surrogatepass")
        self._schema = location.schema
        channel = _channel(location.schema, self._app)
        self._server = Server(location, patience)
        self._readers = Readers(self._server)
        self._writer = Line(self._server)
        self._writing = Writing(self._writer, self._app, location.schema, channel, patience)
        self._commits = GroupCommit(self._writing.do, patience=patience)
        self._listening = Listening(self._server, self._app, channel)
        forks.register(self)

    def __repr__(self) -> str:
        return f"<PostgresBackend {self.name!r} in {self._server.location}: {len(self._listening)} listeners>"

    # Announcements

    def announce(self, payload: bytes) -> None:
        """Tell every listener of every process."""
        check_value(payload)
        self._commits.apply([Announce(payload)], durable=False)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` from a thread with each payload until the returned function is called."""
        return self._listening.add(listener)

    # Streams

    def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        close: bool = False,
        after: str | None = None,
        keep: int = 0,
    ) -> str:
        """Do ``Append`` and return the offset behind the last item. Raises Conflict."""
        (end,) = self.apply([Append(stream, items, close, after, keep)])
        assert isinstance(end, str)
        return end

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        """At most ``limit`` items after an offset, or about 4 MiB.

        Raises KeyError for no such stream, Trimmed, and ValueError for an offset that is not its own.
        """
        check_name(stream)
        check_limit(limit)
        start = offsets.position(after)
        rows = self._rows(
            "SELECT * FROM {}.read_1(%b, %b, %b::bigint, %b::bigint)",
            self._app,
            stream.encode(),
            start,
            limit,
        )
        if not rows:
            raise KeyError(stream)
        page = _page(offsets.head(rows[0][0]), after, rows[1:])
        if (
            not page.up_to_date
            and len(page.items) < limit
            and sum(map(len, page.items)) <= PAGE_BYTES - MAX_VALUE
        ):
            raise BackendUnavailable(f"{self._server.location} has lost items of the stream {stream!r}.")
        return page

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        self.apply([Drop(stream)])

    # Records

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        statement = "SELECT value, version FROM {}.records WHERE app = %b AND name = %b"
        rows = self._rows(statement, self._app, name.encode())
        return Record(name, *rows[0]) if rows else None

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        (new,) = self.apply([Save(name, value, version)])
        assert isinstance(new, int)
        return new

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        self.apply([Delete(name)])

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        check_prefix(prefix)
        check_prefix(before or "")
        check_limit(limit)
        statement = "SELECT name, value, version FROM {}.records WHERE app = %b AND name >= %b"
        values: list[bytes | int] = [self._app, prefix.encode()]
        for bound in (successor(prefix), before):
            if bound is not None:
                statement += " AND name < %b"
                values.append(bound.encode())
        rows = self._rows(statement + " ORDER BY name DESC LIMIT %b", *values, limit)
        try:
            return [Record(name.decode(), value, version) for name, value, version in rows]
        except UnicodeDecodeError as error:
            raise BackendUnavailable(
                f"{self._server.location} holds a record that is not Restive's."
            ) from error

    # Batches

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        """Do all of the steps, or on a Conflict none; what each returned. One transaction."""
        check_steps(steps)
        if not steps:
            return []
        results = self._commits.apply(steps, durable=durable)
        if LATER in results:
            self._sweep()
        return [None if isinstance(step, Drop) else done for step, done in zip(steps, results, strict=True)]

    def _sweep(self) -> None:
        """Delete the items of streams that were too long to be deleted with their Drop."""
        for _ in range(SWEEPS):
            if self._rows("SELECT {}.sweep_1()") != [(True,)]:
                return

    def probe(self) -> None:
        """Ask the server for a sign of life. Raises BackendUnavailable."""
        self._rows("SELECT 1")

    def _rows(self, statement: str, *values: bytes | int) -> list[tuple[Any, ...]]:
        """What a statement reads; ``{}`` in it stands for the schema."""
        text = command(self._schema, statement)
        return self._readers.call(lambda connection: connection.execute(text, values, binary=True).fetchall())

    def close(self) -> None:
        """Close all connections; listeners are called no more. The next call opens anew."""
        self._listening.close()
        self._writer.close()
        self._readers.close()

    # Forks

    def hold(self) -> None:
        """Before a fork: no call is under way."""
        self._writer.hold()
        self._readers.hold()
        self._listening.hold()

    def resume(self) -> None:
        """After a fork: go on."""
        self._listening.resume()
        self._readers.resume()
        self._writer.resume()

    def forget(self) -> None:
        """In a forked child: connections, threads, and what they wait for are the parent's."""
        self._server.forget()
        self._writer.forget()
        self._readers.forget()
        self._commits.forget()
        self._listening.forget()


def _channel(schema: str, app: bytes) -> str:
    """The channel of an app; names of channels are short."""
    return "restive_" + hashlib.sha256(schema.encode() + b"\0" + app).hexdigest()[:24]


def _page(head: offsets.Head, after: str, rows: Sequence[tuple[None, int, bytes]]) -> Page:
    """What was read behind ``after``. Raises Trimmed and ValueError."""
    start = offsets.check(after, head)
    end = start + len(rows)
    at_end = end == head.length
    if rows:
        after = offsets.encode(head.epoch, end, rows[-1][1])
    elif not after:
        after = offsets.encode(head.epoch, start, head.first_mark)
    return Page(tuple(item for _, _, item in rows), after, closed=head.closed and at_end, up_to_date=at_end)
