"""The notices in the backend: marks that somebody is still to be told how an operation ended.

``operation-notice/<when it is due>/<id>``: its value says which attempt is next, what was done already, and
who is at it until when. A process claims one by compare-and-set; a claim that is over is anybody's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from ...backends.port import Backend, Delete, Record, Save
from ...errors import Conflict
from .schedule import ATTEMPTS

__all__ = ["CLAIM", "Book", "Claim", "Mark", "Notice"]

PREFIX = "operation-notice/"
NAME = re.compile(PREFIX + r"([0-9]{15})/(.+)")
PAGE = 1000

CLAIM = 60.0
"""Seconds that a claim holds without renewal: what a process that dies delays a delivery by."""

SLACK = 0.01
"""Seconds by which a mark counts as due too early, so that one made just now is not overlooked."""


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the telling is."""

    attempt: Annotated[int, Meta(ge=1, le=ATTEMPTS)] = 1
    """The next one, or the one under way."""
    called: bool = False
    """The app's function was called."""
    sent: bool = False
    """The webhook was taken."""
    holder: str = ""
    until: float = 0.0
    """When the holder's claim is over (Unix time)."""

    def held(self, now: float) -> float:
        """The end of a claim that holds, else 0. One beyond all measure was not made by this clock."""
        return self.until if now < self.until <= now + CLAIM else 0.0


DECODER = msgspec.json.Decoder(Notice)


@dataclass(frozen=True, slots=True)
class Mark:
    """The name of a notice."""

    name: str
    due: float
    identity: str


@dataclass(slots=True)
class Claim:
    """A notice that this process is at."""

    mark: Mark
    notice: Notice
    version: int


class Book:
    """Reads and changes the notices."""

    def __init__(self, backend: Callable[[], Backend], holder: str, clock: Callable[[], float]) -> None:
        self._backend, self._holder, self._clock = backend, holder, clock

    def any(self) -> bool:
        """Whether there is one at all."""
        return bool(self._backend().scan(PREFIX, limit=1))

    def due(self) -> Iterator[tuple[Mark, float]]:
        """Those whose time has come, latest first, each with the end of another's claim, or 0."""
        now = self._clock()
        for mark, record in self._marks(f"{PREFIX}{_stamp(now + SLACK)}"):
            yield mark, _decoded(record).held(now)

    def times(self) -> list[float]:
        """When those are due that are not yet."""
        after = self._clock() + SLACK
        return [mark.due for mark, _ in self._marks(None) if mark.due > after]

    def _marks(self, before: str | None) -> Iterator[tuple[Mark, Record]]:
        for record in self._records(before):
            mark = _mark(record.name)
            if mark is None:
                self._backend().delete(record.name)
            else:
                yield mark, record

    def _records(self, before: str | None) -> Iterator[Record]:
        while True:
            records = self._backend().scan(PREFIX, before=before, limit=PAGE)
            yield from records
            if len(records) < PAGE:
                return
            before = records[-1].name

    def claim(self, mark: Mark) -> Claim | None:
        """Take it; None where it is gone or another's."""
        found = self._backend().load(mark.name)
        if found is None:
            return None
        notice = _decoded(found)
        if notice.held(self._clock()):
            return None
        claim = Claim(mark, replace(notice, holder=self._holder), found.version)
        return claim if self.renew(claim) else None

    def renew(self, claim: Claim) -> bool:
        """Hold it longer; False where it is another's by now."""
        notice = replace(claim.notice, until=self._clock() + CLAIM)
        try:
            claim.version = self._backend().save(
                claim.mark.name, msgspec.json.encode(notice), version=claim.version
            )
        except Conflict:
            return False
        claim.notice = notice
        return True

    def release(self, claim: Claim) -> None:
        """Leave it, as it is, to whoever comes next."""
        notice = replace(claim.notice, holder="", until=0.0)
        with contextlib.suppress(Conflict):
            self._backend().save(claim.mark.name, msgspec.json.encode(notice), version=claim.version)

    def close(self, claim: Claim) -> None:
        """All is told, or will never be."""
        with contextlib.suppress(Conflict):
            self._backend().apply([Delete(claim.mark.name, claim.version)])

    def postpone(self, claim: Claim, notice: Notice, due: float) -> None:
        """Let it be due again at ``due``, as ``notice``."""
        value = msgspec.json.encode(replace(notice, holder="", until=0.0))
        again = Save(f"{PREFIX}{_stamp(due)}/{claim.mark.identity}", value, None)
        with contextlib.suppress(Conflict):
            self._backend().apply([again, Delete(claim.mark.name, claim.version)])

    def drop(self, mark: Mark) -> None:
        """Nobody is to be told."""
        self._backend().delete(mark.name)


def _stamp(seconds: float) -> str:
    return f"{int(seconds * 1000):015d}"


def _mark(name: str) -> Mark | None:
    found = NAME.fullmatch(name)
    return None if found is None else Mark(name, int(found[1]) / 1000, found[2])


def _decoded(record: Record) -> Notice:
    """What its value says; of nonsense nothing is taken, since the operation's record says what to tell."""
    try:
        return DECODER.decode(record.value) if record.value else Notice()
    except msgspec.MsgspecError:
        return Notice()
