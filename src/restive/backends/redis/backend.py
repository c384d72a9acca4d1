"""The backend ``redis:``: processes of any machines share a Redis or Valkey, or the shard of a cluster.

Every call is one command or one script: a batch is done as a whole or, on a Conflict, not at all. What an
acknowledgement is worth, the server's settings say (appendonly, appendfsync, replication).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from restive.errors import BackendUnavailable, Conflict

from .. import forks
from ..limits import PAGE_BYTES, check_limit, check_name, check_prefix, check_steps, successor
from ..port import Announce, Append, Delete, Drop, Listener, Page, Record, Save, Step, Trimmed
from .announcements import BlockingListening
from .keys import Keys
from .line import Line
from .offsets import Offset
from .scripts import BATCH, PAGE, SCAN
from .server import Server
from .url import parse

__all__ = ["RedisBackend"]

DIGITS = 19
"""Of a version, in front of a record's value."""

SCANNED = 1000
"""Names that one script looks at."""


class RedisBackend:
    """A backend on the server that ``url`` names, for the app called ``name``. Raises SettingError."""

    blocking: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, url: str, *, name: str = "") -> None:
        self.name = name
        self._keys = Keys(name)
        self._server = Server(parse(url))
        self._line = Line(self._server)
        self._listening = BlockingListening(self._server, self._keys)
        forks.register(self)

    def __repr__(self) -> str:
        return f"<RedisBackend {self.name!r} in {self._server}: {len(self._listening)} listeners>"

    def announce(self, payload: bytes) -> None:
        """Tell every listener of every process."""
        self.apply([Announce(payload)], durable=False)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` from a thread with each payload until the returned function is called."""
        return self._listening.add(listener)

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
        behind: list[bytes] = [b"", b"", b""]
        if after:
            offset = Offset.parse(after)
            behind = [offset.epoch.encode(), b"%d" % offset.position, b"%d" % offset.mark]
        keys = (self._keys.streams, self._keys.items(stream))
        reply = self._line.ask(
            b"2", *keys, stream.encode(), b"%d" % limit, b"%d" % PAGE_BYTES, *behind, script=PAGE, reads=True
        )
        if len(reply) == 1:
            _refuse(reply[0].decode(), stream)
        _, epoch, position, mark, closed, up_to_date, *items = reply
        end = Offset(epoch.decode(), position, int(mark))
        return Page(_items(*items), str(end), closed=bool(closed), up_to_date=bool(up_to_date))

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        self.apply([Drop(stream)])

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        found = self._line.ask(b"HGET", self._keys.records, name.encode(), reads=True)
        return None if found is None else self._record(name, found)

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        (new,) = self.apply([Save(name, value, version)])
        assert isinstance(new, int)
        return new

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        self.apply([Delete(name)])

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        """Do all of the steps, or on a Conflict none; what each returned. One round trip."""
        check_steps(steps)
        if not steps:
            return []
        reply = self._line.ask(*_batch(self._keys, steps), script=BATCH, durable=durable)
        if reply[0] == b"conflict":
            raise _conflict(steps[reply[1]])
        return [_result(step, result) for step, result in zip(steps, reply[1:], strict=True)]

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        check_prefix(prefix)
        check_prefix(before or "")
        check_limit(limit)
        below = min((bound for bound in (successor(prefix), before) if bound is not None), default=None)
        records: list[Record] = []
        whole = False
        while not whole and len(records) < limit:
            asked = min(limit - len(records), SCANNED)
            found, all_read = self._scan(prefix, below, asked)
            records += found
            whole = all_read and len(found) < asked
            below = records[-1].name if records else below
        return records

    def _scan(self, prefix: str, below: str | None, limit: int) -> tuple[list[Record], bool]:
        """Some of the records in a range, and whether none was left out for want of room."""
        upper = b"+" if below is None else b"(" + below.encode()
        bounds = (upper, b"[" + prefix.encode(), b"%d" % limit, b"%d" % PAGE_BYTES)
        reply = self._line.ask(b"2", self._keys.names, self._keys.records, *bounds, script=SCAN, reads=True)
        found = zip(reply[1::2], reply[2::2], strict=True)
        return [self._record(self._text(name), record) for name, record in found], reply[0] == 1

    def _record(self, name: str, found: bytes) -> Record:
        digits = found[:DIGITS]
        if len(digits) < DIGITS or not digits.isdigit():
            raise self._foreign(f"the record {name!r}")
        return Record(name, found[DIGITS:], int(digits))

    def _text(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise self._foreign(f"a record named {name!r}") from None

    def _foreign(self, what: str) -> BackendUnavailable:
        return BackendUnavailable(f"{self._server} holds {what}, which Restive did not write like this.")

    def probe(self) -> None:
        """Read a number. Raises BackendUnavailable."""
        self._line.ask(b"HGET", self._keys.store, b"clock", reads=True)

    def close(self) -> None:
        """Close all connections; listeners are called no more. The next call opens anew."""
        self._listening.close()
        self._line.close()

    def hold(self) -> None:
        """Before a fork: the connections stay the parent's."""

    def resume(self) -> None:
        """After a fork: the parent goes on."""

    def forget(self) -> None:
        """In a forked child: threads, connections and what waits for them are the parent's."""
        self._server.forget()
        self._listening.forget()
        self._line.forget()


def _batch(keys: Keys, steps: Sequence[Step]) -> list[bytes]:
    """Keys and arguments of the script that does the steps."""
    drawn = os.urandom(12)
    streams: dict[str, int] = {}
    arguments = [
        b"%d" % (int.from_bytes(drawn[:4]) >> 1),
        b"%03d" % (int.from_bytes(drawn[4:6]) % 1000),
        drawn[6:].hex().encode(),
    ]
    for step in steps:
        if isinstance(step, Append | Drop):
            streams.setdefault(step.stream, len(keys.fixed) + len(streams) + 1)
        arguments += _encoded(step, streams)
    named = [*keys.fixed, *map(keys.items, streams)]
    return [b"%d" % len(named), *named, *arguments]


def _encoded(step: Step, streams: dict[str, int]) -> tuple[bytes, ...]:
    match step:
        case Save():
            return (b"S", step.name.encode(), bytes(step.value), _wanted(step.version))
        case Delete():
            return (b"D", step.name.encode(), _wanted(step.version))
        case Append():
            head = (b"A", b"%d" % streams[step.stream], step.stream.encode())
            after = b"-" if step.after is None else step.after.encode(errors="surrogatepass")
            mode = (after, b"%d" % step.keep, b"%d" % step.close, b"%d" % len(step.items))
            return (*head, *mode, *map(bytes, step.items))
        case Drop():
            return (b"X", b"%d" % streams[step.stream], step.stream.encode())
        case Announce():
            return (b"N", bytes(step.payload))


def _wanted(version: int | None) -> bytes:
    """A version as the script compares it: "" for any, "0" for no record."""
    if version is None:
        return b""
    return b"%0*d" % (DIGITS, version) if version else b"0"


def _result(step: Step, result: bytes) -> int | str | None:
    match step:
        case Save():
            return int(result)
        case Append():
            return result.decode()
        case _:
            return None


def _conflict(step: Step) -> Conflict:
    match step:
        case Append(after=None):
            return Conflict(f"The stream {step.stream!r} is closed.")
        case Append():
            return Conflict(f"The stream {step.stream!r} does not end at {step.after!r}, or is closed.")
        case Save() | Delete():
            return Conflict(f"The record {step.name!r} is no longer at version {step.version}.")
    raise AssertionError(step)


def _refuse(why: str, stream: str) -> NoReturn:
    """Raise what a page's script says."""
    match why:
        case "none":
            raise KeyError(stream)
        case "trimmed":
            raise Trimmed("Items behind this offset are kept no more.")
        case "epoch":
            raise ValueError("This offset belongs to a stream that was deleted or wiped.")
        case "behind":
            raise ValueError("This offset lies behind the end of the stream.")
    raise ValueError("The item at this offset is gone: the server was set back to an earlier state.")


def _items(given: Any, joined: bytes | None = None) -> tuple[bytes, ...]:
    """The items of a page, which came one by one, or as their sizes and then end to end."""
    if joined is None:
        return tuple(given)
    cut: list[bytes] = []
    start = 0
    for size in map(int, given.split()):
        cut.append(joined[start : start + size])
        start += size
    return tuple(cut)
