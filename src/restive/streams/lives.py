"""The lives of streams: a record that names each stream's present log, and how one begins and ends.

- ``stream/<key>``: the record (``Life``): which log, and what was declared when it was created.
- stream ``stream/<key>/<life>``: the log. A new life has a new log, so that nothing written for an old one
  can reach it.
- ``stream-state/<key>/<life>``: the last snapshot of what its writers' state folds to.
- ``stream-due/<time>/<life>/<key>``: a mark: when to see whether it has expired (its value is empty) or
  whether its creation was cut short (``orphan``).

A stream is there if its record is and its log is. So a batch that is cut short harms nothing: at creation
the log comes first and the record decides; a deletion drops the log first. Expiry is decided by the record,
which says ``gone`` then, so that a use in the same moment either comes first or finds nothing; whoever meets
it drops the log before telling anybody that there is no stream.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from ..backends.port import Append, Backend, Delete, Drop, Record, Save, Step
from ..errors import BackendUnavailable, Conflict

__all__ = ["Found", "Life", "Lives", "key_of", "log_of", "snapshot_of"]

LONGEST = 400
"""UTF-8 bytes of the longest path that is used as it is in names."""

ORPHAN_AFTER = 60.0
"""Seconds after which a log without its record counts as left behind by a crash."""

REMEMBERED = 5000
"""Streams of which the record is kept in memory."""

SLACK = 60.0
"""Seconds, at most a tenth of the TTL, by which a use may be noted late; a stream lives so much longer."""


class Life(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One life of a stream. Times are seconds of the Unix epoch."""

    path: str
    id: str = ""
    content_type: str
    created: float = 0.0
    ttl: float | None = None
    expires: float | None = None
    touched: float = 0.0
    """When it was last used, as far as that is noted."""
    keep: int = 0
    gone: bool = False

    @property
    def slack(self) -> float:
        """Seconds for which a use needs no new note."""
        return min(SLACK, (self.ttl or 0) / 10)

    @property
    def deadline(self) -> float | None:
        """When it is over, unless it is used before; None: never."""
        return self.expires if self.ttl is None else self.touched + self.ttl + self.slack

    def over(self, now: float) -> bool:
        """Whether it is over, whatever is still stored of it."""
        return self.gone or (self.deadline is not None and self.deadline <= now)


@dataclass(frozen=True, slots=True)
class Found:
    """A life and the version of the record that says so."""

    key: str
    life: Life
    version: int

    def saved(self, save: Save, version: int) -> Found:
        """The same as ``save`` has left it."""
        return Found(self.key, LIFE.decode(save.value), version)

    @property
    def log(self) -> str:
        """The name of its log in the backend."""
        return log_of(self.key, self.life.id)


LIFE = msgspec.json.Decoder(Life)


def key_of(path: str) -> str:
    """What stands for a path in names: itself, or a hash of a long one."""
    if len(path.encode()) <= LONGEST:
        return path
    return "#" + hashlib.sha256(path.encode()).hexdigest()


def log_of(key: str, life: str) -> str:
    """The name of the log of one life."""
    return f"stream/{key}/{life}"


def snapshot_of(key: str, life: str) -> str:
    """The name of the snapshot of one life."""
    return f"stream-state/{key}/{life}"


class Lives:
    """Begins, finds and ends them. All methods block, and may be called from any thread.

    What was found last is remembered: a life that was ended elsewhere shows when its log is asked for.
    """

    def __init__(self, backend: Callable[[], Backend], clock: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self.clock = clock
        self._recent: OrderedDict[str, Found] = OrderedDict()

    def present(self, key: str) -> Found | None:
        """The life that was found last where it can be the present one, else as ``find``."""
        found = self._recent.get(key)
        if found is not None and not found.life.over(self.clock()):
            return found
        return self.find(key)

    def latest(self, found: Found) -> Found:
        """The same life as it was found last: its record may have been saved since."""
        recent = self._recent.get(found.key)
        return found if recent is None or recent.life.id != found.life.id else recent

    def remember(self, found: Found) -> Found:
        """Let ``present`` give this one."""
        self._recent[found.key] = found
        if len(self._recent) > REMEMBERED:
            with contextlib.suppress(KeyError):  # another thread did
                self._recent.popitem(last=False)
        return found

    def forget(self, key: str) -> None:
        """What is remembered proved wrong, or may be."""
        self._recent.pop(key, None)

    def lost(self, found: Found) -> None:
        """Its log is not there: it was ended elsewhere, perhaps not to the last step."""
        self.forget(found.key)
        record = self._backend().load(_record(found.key))
        if record is not None and (now := self._read(found.key, record)).life.id == found.life.id:
            self.delete(now)

    def find(self, key: str) -> Found | None:
        """The present life; one that is over is ended before None is the answer."""
        self.forget(key)
        while True:
            record = self._backend().load(_record(key))
            if record is None:
                return None
            found = self._read(key, record)
            if not found.life.over(self.clock()):
                return self.remember(found)
            if self.expire(found):
                return None

    def _read(self, key: str, record: Record) -> Found:
        try:
            return Found(key, LIFE.decode(record.value), record.version)
        except msgspec.DecodeError as error:
            raise BackendUnavailable(f"The record of the stream {key!r} cannot be read: {error}") from error

    def begin(
        self, key: str, life: Life, items: Sequence[bytes], *, close: bool, then: Sequence[Step]
    ) -> tuple[Found, str]:
        """Create a stream with its first items. Returns it and its end; ``then`` goes with it.

        Raises ``Conflict`` where there is one.
        """
        now, began = self.clock(), time.monotonic()
        life = msgspec.structs.replace(life, id=secrets.token_hex(8), created=now, touched=now)
        log = log_of(key, life.id)
        orphan = Save(_due(now + ORPHAN_AFTER, life.id, key), b"orphan", None)
        record = Save(_record(key), msgspec.json.encode(life))
        due = _marks(key, life)
        creation = Append(log, tuple(items), close, "")
        try:
            results = self._backend().apply([orphan, creation, record, *due, *then, Delete(orphan.name)])
        except Conflict:
            self._backend().apply([Drop(log), Delete(orphan.name)])
            raise
        _, end, version, *_ = results
        assert isinstance(end, str)
        assert isinstance(version, int)
        if time.monotonic() - began > ORPHAN_AFTER / 2 and not self._stands(log):
            raise BackendUnavailable("Creating a stream took so long that it may have been cleared away.")
        return self.remember(Found(key, life, version)), end

    def _stands(self, log: str) -> bool:
        try:
            self._backend().read(log, limit=1)
        except KeyError:
            return False
        return True

    def expire(self, found: Found) -> bool:
        """End this life, whose time is over; False where its record has changed meanwhile: look again."""
        self.forget(found.key)
        gone = msgspec.structs.replace(found.life, gone=True)
        record = Save(_record(found.key), msgspec.json.encode(gone), found.version)
        try:
            version, *_ = self._backend().apply([record, *_leftovers(found)])
        except Conflict:
            return False
        assert isinstance(version, int)
        with contextlib.suppress(Conflict):  # the next life has begun
            self._backend().apply([Delete(record.name, version)])
        return True

    def delete(self, found: Found, then: Sequence[Step] = ()) -> bool:
        """End this life because somebody wants it; False where its record has changed: look again.

        ``then`` goes with it. Without its log it is gone, so this comes first: nobody who has it in mind
        can be told that something was appended to it.
        """
        self.forget(found.key)
        try:
            self._backend().apply([*_leftovers(found), *then, Delete(_record(found.key), found.version)])
        except Conflict:
            return False
        return True

    def touch(self, found: Found) -> Save | None:
        """What notes that it is used now; None where that needs no note yet."""
        now = self.clock()
        if found.life.ttl is None or now < found.life.touched + found.life.slack:
            return None
        life = msgspec.structs.replace(found.life, touched=now)
        return Save(_record(found.key), msgspec.json.encode(life), found.version)

    def sweep(self, limit: int = 1000) -> None:
        """End what has expired, and drop the logs that a crash has left without a record."""
        prefix, now = "stream-due/", self.clock()
        marks = self._backend().scan(prefix, before=f"{prefix}{_stamp(now)}", limit=limit)
        for mark in marks:
            _, identity, key = mark.name[len(prefix) :].split("/", 2)
            self._see_to(key, identity, orphan=bool(mark.value))
            self._backend().delete(mark.name)

    def _see_to(self, key: str, identity: str, *, orphan: bool) -> None:
        found = self.find(key)
        if found is not None and found.life.id == identity:
            marks = () if orphan else _marks(key, found.life)
            self._backend().apply(marks)
        elif orphan:
            self._backend().drop(log_of(key, identity))


def _record(key: str) -> str:
    return f"stream/{key}"


def _leftovers(found: Found) -> list[Step]:
    return [Drop(found.log), Delete(snapshot_of(found.key, found.life.id))]


def _stamp(seconds: float) -> str:
    return f"{max(0, min(int(seconds * 1000) + 1, 10**15 - 1)):015d}"


def _due(when: float, identity: str, key: str) -> str:
    return f"stream-due/{_stamp(when)}/{identity}/{key}"


def _marks(key: str, life: Life) -> list[Save]:
    return [] if life.deadline is None else [Save(_due(life.deadline, life.id, key), b"", None)]
