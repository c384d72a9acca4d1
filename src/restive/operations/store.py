"""Operations in the backend: every change is one batch, decided by a compare-and-set of the record.

- ``operation/<id>``: the record, or for a day its trace (``Gone``).
- ``operation-input/<id>``: the stored arguments.
- ``operation-open/<id>``: a mark, as long as it is not final: who looks for work or for lost leases reads
  these marks only. Of one that was sent to another machine it also says that it was begun there.
- ``operation-due/<time>/<id>``: a mark: what to forget, and when.
- ``operation-of/<owner>/<route>/<id>``: the listing of one owner, where there are owners; its value is the
  operation's size in bytes.
- ``operation-notice/<time>/<id>``: a mark: somebody is to be told of its end.
- ``operation-key/…``: its Idempotency-Key, which goes with its trace.
- stream ``operation-parts/<id>``: the finished parts.

A batch may be cut short where the backend has no transactions, so marks that lead to work are put before
the record, and what follows from its new state behind it. A mark without its record is harmless and goes
with the next sweep that meets it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator
from typing import NamedTuple

import msgspec

from ..backends.port import Append, Backend, Delete, Drop, Page, Record, Save, Step
from ..errors import Canceled, Conflict, Interrupted
from ..telemetry import metrics
from .identity import Identities, time_of
from .record import Gone, OperationRecord

__all__ = ["Entry", "Store"]

Entry = OperationRecord | Gone
Transition = Callable[[OperationRecord], OperationRecord | None]
Remove = Callable[[str, bool], None]
"""Gets an identity, and whether files of it may lie where this process would not look by itself."""


ENTRY = msgspec.json.Decoder(Entry)
BEGUN = b"begun"
RECENT = 1000
"""Operations whose last state is kept in memory."""

ORPHAN_AFTER = 60.0
"""Seconds after which an open mark without its record counts as left behind by a crash."""

ABANDONED_AFTER = 3600.0
"""Seconds after which the files of a submission that was never stored are. Uploads can take long to copy."""


class _Made(NamedTuple):
    """What a change of an operation comes to."""

    steps: list[Step]
    result: OperationRecord
    stored: OperationRecord | None
    """Its record from then on; None where only a trace is left."""


Change = Callable[[Record, OperationRecord], _Made | None]


class Store:
    """Reads and changes operations. All methods block; call them from a thread or through ``offload``."""

    def __init__(self, backend: Callable[[], Backend], clock: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self.clock = clock
        self.identities = Identities(secrets.token_bytes)
        self._recent: OrderedDict[str, tuple[Record, OperationRecord]] = OrderedDict()
        """What this process has stored last of operations that are not final: the compare-and-set says
        whether another one did since, and mostly spares a read."""

    # One operation

    def load(self, identity: str) -> Entry | None:
        """The operation, its trace, or None."""
        return self._find(identity)[1]

    def create(self, operation: OperationRecord, arguments: bytes, *steps: Step) -> None:
        """Store a new operation with its arguments; it is durable when this returns.

        ``steps`` are done in the same batch, before the record is there. Raises ``Conflict`` where one of
        them does, and then nothing is stored that is not removed by a later sweep.
        """
        mark = Save(f"operation-open/{operation.id}", b"", None)
        given = Save(f"operation-input/{operation.id}", arguments, None)
        record = Save(_name(operation.id), msgspec.json.encode(operation))
        listing = [] if operation.owner is None else [_listed(operation)]
        self._apply(record.name, _Made([mark, given, *steps, record, *listing], operation, operation))

    def arguments(self, identity: str) -> bytes:
        """The stored arguments. Raises ``KeyError`` where there are none."""
        found = self._backend().load(f"operation-input/{identity}")
        if found is None:
            raise KeyError(identity)
        return found.value

    def update(
        self, identity: str, transition: Transition, *, part: bytes | None = None, durable: bool = True
    ) -> OperationRecord | None:
        """Save what ``transition`` makes of the operation; None where it is gone or nothing changes.

        ``part`` is appended to its parts if, and only if, the change is saved. What is not ``durable``, such
        as progress, may be undone by a loss of power and by nothing else. The transition may be called
        several times, and what it raises passes.
        """

        def change(found: Record, old: OperationRecord) -> _Made | None:
            new = transition(old)
            if new is None or new == old:
                return None
            return _Made(self._changes(found, old, new, part), new, new)

        return self._decide_recent(identity, change, durable) or self._decide(identity, change, durable)

    def forget(self, identity: str, why: str) -> OperationRecord | None:
        """Leave only a trace of the operation. Returns what it was, None where it was gone already."""

        def change(found: Record, old: OperationRecord) -> _Made:
            gone = Gone.of(old, why, self.clock())
            trace = Save(found.name, msgspec.json.encode(gone), found.version)
            due = _mark("due", identity, gone.until)
            return _Made([due, trace, *_leftovers(old), *_was_due(old)], old, None)

        self._recent.pop(_name(identity), None)
        return self._decide(identity, change)

    def _decide(self, identity: str, change: Change, durable: bool = True) -> OperationRecord | None:
        """Apply the steps that ``change`` makes of the record, anew whenever another change came first.

        Returns its result; None where it makes none, or there is no operation any more.
        """
        refused = 0
        while True:
            found, entry = self._find(identity)
            if found is None or not isinstance(entry, OperationRecord):
                return None
            if found.version == refused:
                raise Conflict(f"Operation {identity} cannot be changed: it does not fit its other records.")
            made = change(found, entry)
            if made is None:
                return None
            try:
                return self._apply(found.name, made, durable)
            except Conflict:
                refused = found.version

    def _decide_recent(self, identity: str, change: Change, durable: bool) -> OperationRecord | None:
        """As ``_decide`` on what this process has stored last; None where that may be past."""
        recent = self._recent.pop(_name(identity), None)
        if recent is None:
            return None
        try:
            made = change(*recent)
            return None if made is None else self._apply(recent[0].name, made, durable)
        except (Conflict, Canceled, Interrupted):
            return None

    def _apply(self, name: str, made: _Made, durable: bool = True) -> OperationRecord:
        """Do the steps, and keep what is now stored under ``name`` for the next change."""
        results = self._backend().apply(made.steps, durable=durable)
        if made.stored is not None and made.stored.final:
            metrics.ended.of(made.stored.declaration, made.stored.status).value += 1
        if made.stored is not None and not made.stored.final:
            (version,) = (
                result
                for step, result in zip(made.steps, results, strict=True)
                if isinstance(step, Save) and step.name == name
            )
            assert isinstance(version, int)
            self._recent[name] = Record(name, b"", version), made.stored
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return made.result

    def _find(self, identity: str) -> tuple[Record | None, Entry | None]:
        found = self._backend().load(_name(identity))
        return found, None if found is None else ENTRY.decode(found.value)

    def _changes(
        self, found: Record, old: OperationRecord, new: OperationRecord, part: bytes | None
    ) -> list[Step]:
        """The steps from one state of an operation to the next."""
        ends = new.final and not old.final
        steps: list[Step] = []
        if new.sent is not None and new.status == "running" != old.status:
            steps.append(Save(f"operation-open/{new.id}", BEGUN, None))
        if ends:
            steps.append(_mark("due", new.id, new.expires() or 0.0))
        if ends and new.notify:
            steps.append(_mark("notice", new.id, self.clock()))
        steps.append(Save(found.name, msgspec.json.encode(new), found.version))
        if ends or part is not None:
            steps.append(Append(_parts(new.id), () if part is None else (part,), close=ends))
        if new.owner is not None and new.size != old.size:
            steps.append(_listed(new))
        return [*steps, *_work_done(new.id)] if ends else steps

    # Parts

    def parts(self, identity: str, after: str, limit: int) -> Page:
        """The finished parts after an offset. Raises ``ValueError`` for one that is not its own."""
        try:
            return self._backend().read(_parts(identity), after, limit)
        except KeyError:
            if after:
                raise ValueError(f"There is no offset {after!r}.") from None
            return Page((), "", closed=False, up_to_date=True)

    def drop_parts(self, identity: str) -> None:
        """Forget which parts there were."""
        self._backend().drop(_parts(identity))

    # Many operations

    def listed(self, owner: str, route: str, before: str | None) -> Iterator[OperationRecord]:
        """The operations of one owner, newest first, from below the identity ``before``."""
        prefix = _listing(owner, route)
        for mark in self._marks(prefix, None if before is None else prefix + before, 100):
            entry = self.load(mark.name[len(prefix) :])
            if isinstance(entry, OperationRecord):
                yield entry

    def owned_bytes(self, owner: str) -> int:
        """Bytes of all operations of one owner, under whatever route."""
        return sum(int(mark.value or 0) for mark in self._marks(f"operation-of/{_digest(owner)}/"))

    def open_marks(self) -> dict[str, bool]:
        """The identities of all that are not final, newest first, and whether they were begun elsewhere."""
        return {mark.name.rpartition("/")[2]: mark.value == BEGUN for mark in self._marks("operation-open/")}

    def open(self, known: Container[str] = (), marks: Iterable[str] | None = None) -> list[OperationRecord]:
        """Those that are not final and not ``known``, oldest first. Marks left by a crash are removed.

        ``marks`` are the identities, where they were read already.
        """
        found: list[OperationRecord] = []
        for identity in self.open_marks() if marks is None else marks:
            if identity in known:
                continue
            entry = self.load(identity)
            if isinstance(entry, OperationRecord) and not entry.final:
                found.append(entry)
            elif entry is not None or time_of(identity) < self.clock() - ORPHAN_AFTER:
                self._close_mark(identity, entry)
        return found[::-1]

    def is_orphan(self, identity: str) -> bool:
        """Whether what lies under this name on the disk belongs to no operation, and never will."""
        made = time_of(identity)
        return 0 < made < self.clock() - ABANDONED_AFTER and self._find(identity)[0] is None

    def _close_mark(self, identity: str, entry: Entry | None) -> None:
        """Finish what a batch that was cut short has left: an operation that nobody works on has a mark."""
        if isinstance(entry, OperationRecord):
            try:
                self._backend().append(_parts(identity), [], close=True)
            except Conflict:
                pass
        self._backend().apply(_work_done(identity))

    def _marks(self, prefix: str, before: str | None = None, page: int = 1000) -> Iterator[Record]:
        while True:
            marks = self._backend().scan(prefix, before=before, limit=page)
            yield from marks
            if len(marks) < page:
                return
            before = marks[-1].name

    def expire(self, remove: Remove) -> None:
        """Forget what was kept long enough; ``remove`` gets what each leaves behind in files."""
        prefix, now = "operation-due/", self.clock()
        for mark in list(self._marks(prefix, f"{prefix}{_stamp(now)}")):
            self._expire(mark.name.rpartition("/")[2], now, remove)
            self._backend().delete(mark.name)

    def _expire(self, identity: str, now: float, remove: Remove) -> None:
        found, entry = self._find(identity)
        if isinstance(entry, OperationRecord) and (entry.expires() or now + 1) <= now:
            self.forget(identity, "expired")
            remove(identity, entry.scattered)
        elif isinstance(entry, Gone) and entry.until <= now and found is not None:
            # Again: a process may have stopped between trace and files.
            remove(identity, entry.scattered)
            trace = Delete(found.name, found.version)
            keys: list[Step] = [] if entry.key is None else [Delete(entry.key)]
            try:
                self._backend().apply([trace, *keys, *_leftovers(entry)])
            except Conflict:  # another process was first, and the key may be a new operation's already
                pass


def _name(identity: str) -> str:
    return f"operation/{identity}"


def _parts(identity: str) -> str:
    return f"operation-parts/{identity}"


def _stamp(seconds: float) -> str:
    return f"{int(seconds * 1000) + 1:015d}"


def _mark(kind: str, identity: str, when: float) -> Save:
    return Save(f"operation-{kind}/{_stamp(when)}/{identity}", b"", None)


def _listed(operation: OperationRecord) -> Save:
    name = _listing(operation.owner or "", operation.route) + operation.id
    return Save(name, b"%d" % operation.size, None)


def _listing(owner: str, route: str) -> str:
    return f"operation-of/{_digest(owner)}/{_digest(route)}/"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:40]


def _work_done(identity: str) -> list[Step]:
    """Nobody has to run it any more. The mark goes last: it leads to the rest."""
    return [Delete(f"operation-input/{identity}"), Delete(f"operation-open/{identity}")]


def _leftovers(entry: Entry) -> list[Step]:
    """What goes when only the trace is left; again with the trace, since a batch may have been cut short."""
    steps: list[Step] = [Drop(_parts(entry.id)), *_work_done(entry.id)]
    if entry.owner is not None:
        steps.append(Delete(_listing(entry.owner, entry.route) + entry.id))
    return steps


def _was_due(operation: OperationRecord) -> list[Step]:
    when = operation.expires()
    return [] if when is None else [Delete(_mark("due", operation.id, when).name)]
