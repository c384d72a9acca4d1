"""Operations in the backend: every change is a compare-and-set of one record; no crash loses one.

- ``operation/<id>``: the record, or for a day its trace (``Gone``).
- ``operation-input/<id>``: the stored arguments.
- ``operation-open/<id>``: a mark, made before the record and removed after its final state was saved:
  who looks for work or for lost leases reads these marks only.
- ``operation-due/<time>/<id>``: a mark, made before the final state is saved: what to forget, and when.
- ``operation-of/<owner and route>/<id>``: the listing of one owner, where there are owners.
- stream ``operation-parts/<id>``: the finished parts.

A mark without its record is harmless and goes with the next sweep that meets it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Iterator

import msgspec

from ..backends.port import Backend, Page, Record
from ..errors import Conflict
from .identity import time_of
from .record import Gone, OperationRecord

__all__ = ["Entry", "Store"]

Entry = OperationRecord | Gone
Transition = Callable[[OperationRecord], OperationRecord | None]

ENTRY = msgspec.json.Decoder(Entry)
ORPHAN_AFTER = 60.0
"""Seconds after which an open mark without its record counts as left behind by a crash."""


class Store:
    """Reads and changes operations. All methods block; call them from a thread or through ``offload``."""

    def __init__(self, backend: Callable[[], Backend], clock: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self.clock = clock

    # One operation

    def load(self, identity: str) -> Entry | None:
        """The operation, its trace, or None."""
        found = self._backend().load(_name(identity))
        return None if found is None else ENTRY.decode(found.value)

    def create(self, operation: OperationRecord, arguments: bytes) -> None:
        """Store a new operation with its arguments; it is durable when this returns."""
        backend = self._backend()
        backend.save(f"operation-input/{operation.id}", arguments, version=0)
        backend.save(f"operation-open/{operation.id}", b"", version=0)
        if operation.owner is not None:
            backend.save(_listed(operation), b"", version=0)
        backend.save(_name(operation.id), msgspec.json.encode(operation), version=0)

    def arguments(self, identity: str) -> bytes:
        """The stored arguments. Raises ``KeyError`` where there are none."""
        found = self._backend().load(f"operation-input/{identity}")
        if found is None:
            raise KeyError(identity)
        return found.value

    def update(self, identity: str, transition: Transition) -> OperationRecord | None:
        """Save what ``transition`` makes of the operation; None where it is gone or nothing changes.

        The transition may be called several times, and what it raises passes.
        """
        while True:
            found = self._backend().load(_name(identity))
            entry = None if found is None else ENTRY.decode(found.value)
            if found is None or not isinstance(entry, OperationRecord):
                return None
            changed = transition(entry)
            if changed is None or changed == entry:
                return None
            try:
                return self._save(found, entry, changed)
            except Conflict:
                continue

    def _save(self, found: Record, old: OperationRecord, new: OperationRecord) -> OperationRecord:
        backend = self._backend()
        ends = new.final and not old.final
        if ends:
            self._mark_due(new.id, new.expires() or 0.0)
        backend.save(found.name, msgspec.json.encode(new), version=found.version)
        if ends:
            self._close_parts(new.id)
            backend.delete(f"operation-open/{new.id}")
            backend.delete(f"operation-input/{new.id}")
        return new

    def forget(self, identity: str, why: str) -> OperationRecord | None:
        """Leave only a trace of the operation. Returns what it was, None where it was gone already."""
        while True:
            backend = self._backend()
            found = backend.load(_name(identity))
            entry = None if found is None else ENTRY.decode(found.value)
            if found is None or not isinstance(entry, OperationRecord):
                return None
            gone = Gone.of(entry, why, self.clock())
            self._mark_due(identity, gone.until)
            try:
                backend.save(found.name, msgspec.json.encode(gone), version=found.version)
            except Conflict:
                continue
            self._drop_all(entry)
            return entry

    def _drop_all(self, operation: OperationRecord) -> None:
        backend = self._backend()
        self.drop_parts(operation.id)
        backend.delete(f"operation-open/{operation.id}")
        backend.delete(f"operation-input/{operation.id}")
        if operation.owner is not None:
            backend.delete(_listed(operation))

    # Parts

    def add_part(self, identity: str, part: bytes) -> None:
        """Append one finished part. Raises ``Conflict`` once the operation is final."""
        self._backend().append(f"operation-parts/{identity}", [part])

    def parts(self, identity: str, after: str, limit: int) -> Page:
        """The finished parts after an offset. Raises ``ValueError`` for one that is not its own."""
        try:
            return self._backend().read(f"operation-parts/{identity}", after, limit)
        except KeyError:
            if after:
                raise ValueError(f"There is no offset {after!r}.") from None
            return Page((), "", closed=False, up_to_date=True)

    def count_parts(self, identity: str) -> int:
        """How many parts are finished."""
        count, after = 0, ""
        while True:
            page = self.parts(identity, after, 1000)
            count, after = count + len(page.items), page.next
            if page.up_to_date or not page.items:
                return count

    def drop_parts(self, identity: str) -> None:
        """Forget which parts there were."""
        self._backend().drop(f"operation-parts/{identity}")

    def _close_parts(self, identity: str) -> None:
        try:
            self._backend().append(f"operation-parts/{identity}", [], close=True)
        except Conflict:
            pass

    # Many operations

    def listed(self, owner: str, route: str, before: str | None) -> Iterator[OperationRecord]:
        """The operations of one owner, newest first, from below the identity ``before``."""
        prefix = _listing(owner, route)
        below = None if before is None else prefix + before
        while True:
            marks = self._backend().scan(prefix, before=below, limit=100)
            for mark in marks:
                entry = self.load(mark.name[len(prefix) :])
                if isinstance(entry, OperationRecord):
                    yield entry
            if len(marks) < 100:
                return
            below = marks[-1].name

    def open(self, known: Container[str] = ()) -> list[OperationRecord]:
        """Those that are not final and not ``known``, oldest first. Marks left by a crash are removed."""
        found: list[OperationRecord] = []
        for identity in self._marks("operation-open/"):
            if identity in known:
                continue
            entry = self.load(identity)
            if isinstance(entry, OperationRecord) and not entry.final:
                found.append(entry)
            elif entry is not None or time_of(identity) < self.clock() - ORPHAN_AFTER:
                self._close_mark(identity, entry)
        return found[::-1]

    def _close_mark(self, identity: str, entry: Entry | None) -> None:
        backend = self._backend()
        if isinstance(entry, OperationRecord):
            self._close_parts(identity)
        backend.delete(f"operation-open/{identity}")
        backend.delete(f"operation-input/{identity}")

    def _marks(self, prefix: str, before: str | None = None) -> Iterator[str]:
        while True:
            marks = self._backend().scan(prefix, before=before, limit=1000)
            for mark in marks:
                yield mark.name[len(prefix) :]
            if len(marks) < 1000:
                return
            before = marks[-1].name

    def expire(self, remove: Callable[[str], None]) -> None:
        """Forget what was kept long enough; ``remove`` gets each identity whose files are to go."""
        prefix, now = "operation-due/", self.clock()
        for mark in list(self._marks(prefix, before=f"{prefix}{_stamp(now)}")):
            identity = mark.partition("/")[2]
            entry = self.load(identity)
            if isinstance(entry, OperationRecord) and (entry.expires() or now + 1) <= now:
                self.forget(identity, "expired")
                remove(identity)
            elif isinstance(entry, Gone) and entry.until <= now:
                self._backend().delete(_name(identity))
            self._backend().delete(prefix + mark)

    def _mark_due(self, identity: str, when: float) -> None:
        name = f"operation-due/{_stamp(when)}/{identity}"
        try:
            self._backend().save(name, b"", version=0)
        except Conflict:
            pass


def _name(identity: str) -> str:
    return f"operation/{identity}"


def _stamp(seconds: float) -> str:
    return f"{int(seconds * 1000) + 1:015d}"


def _listed(operation: OperationRecord) -> str:
    return _listing(operation.owner or "", operation.route) + operation.id


def _listing(owner: str, route: str) -> str:
    digest = hashlib.sha256(f"{len(owner)}:{owner}{route}".encode(errors="surrogatepass")).hexdigest()
    return f"operation-of/{digest[:40]}/"
