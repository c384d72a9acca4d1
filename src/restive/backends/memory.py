"""The backend ``memory:``: everything in this process, gone with it.

One lock guards all state. Listeners are called outside of it, by the thread that announces,
so nothing here waits and code on an event loop may call every method directly.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from restive.errors import Conflict

from . import forks, offsets
from .limits import check_limit, check_name, check_prefix, check_steps, check_value, successor, take
from .port import Append, Delete, Drop, Listener, Page, Record, Save, Step

__all__ = ["MemoryBackend"]

_log = logging.getLogger("restive.backends")


@dataclass(slots=True)
class _Stream:
    epoch: str = field(default_factory=offsets.new_epoch)
    items: list[bytes] = field(default_factory=list)
    closed: bool = False

    def shorten(self, length: int) -> None:
        """Undo an append."""
        del self.items[length:]
        self.closed = False


_Undo = Callable[[], object]


class MemoryBackend:
    """A backend for one process. ``close`` forgets everything."""

    blocking: ClassVar[bool] = False
    shared: ClassVar[bool] = False

    def __init__(self, *, name: str = "") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._version = 0
        self._clear()
        forks.register(self)

    def __repr__(self) -> str:
        counts = (
            f"{len(self._streams)} streams, {len(self._records)} records, {len(self._listeners)} listeners"
        )
        return f"<MemoryBackend {self.name!r}: {counts}>"

    def _clear(self) -> None:
        self._listeners: dict[object, Listener] = {}
        self._streams: dict[str, _Stream] = {}
        self._records: dict[str, Record] = {}
        self._names: list[str] = []

    def announce(self, payload: bytes) -> None:
        """Call every listener with ``payload``, now and in this thread."""
        check_value(payload)
        with self._lock:
            listeners = tuple(self._listeners.values())
        for listener in listeners:
            try:
                listener(payload)
            except Exception:  # noqa: BLE001 - the code is not ours
                _log.exception("A listener to announcements raised; it goes on listening.")

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with each payload until the returned function is called."""
        key = object()
        with self._lock:
            self._listeners[key] = listener

        def stop() -> None:
            with self._lock:
                self._listeners.pop(key, None)

        return stop

    def append(self, stream: str, items: Sequence[bytes], *, close: bool = False) -> str:
        """Append atomically and return the offset behind the last item. Raises Conflict when it is closed."""
        (end,) = self.apply([Append(stream, items, close)])
        assert isinstance(end, str)
        return end

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        """Items after an offset. Raises KeyError for no such stream, ValueError for an offset not its own."""
        check_name(stream)
        check_limit(limit)
        with self._lock:
            found = self._streams[stream]
            length = len(found.items)
            start = offsets.position(after, epoch=found.epoch, length=length)
            items = found.items[start : start + limit]
            end = start + take(items)
            return Page(
                items=tuple(items[: end - start]),
                next=offsets.encode(found.epoch, end),
                closed=found.closed and end == length,
                up_to_date=end == length,
            )

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        self.apply([Drop(stream)])

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        with self._lock:
            return self._records.get(name)

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        (new,) = self.apply([Save(name, value, version)])
        assert isinstance(new, int)
        return new

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        self.apply([Delete(name)])

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:  # noqa: ARG002
        """Do all of the steps, or on a Conflict none; what each returned."""
        check_steps(steps)
        undo: list[_Undo] = []
        with self._lock:
            try:
                return [self._do(step, undo) for step in steps]
            except Conflict:
                for back in reversed(undo):
                    back()
                raise

    def _do(self, step: Step, undo: list[_Undo]) -> int | str | None:
        match step:
            case Save():
                return self._save(step, undo)
            case Delete():
                if self._current(step.name, step.version):
                    self._put(step.name, None, undo)
            case Append():
                return self._append(step, undo)
            case Drop(stream) if stream in self._streams:
                undo.append(partial(self._streams.__setitem__, stream, self._streams.pop(stream)))
        return None

    def _save(self, step: Save, undo: list[_Undo]) -> int:
        self._current(step.name, step.version)
        self._version += 1
        self._put(step.name, Record(step.name, bytes(step.value), self._version), undo)
        return self._version

    def _append(self, step: Append, undo: list[_Undo]) -> str:
        found = self._streams.get(step.stream)
        if found is None:
            found = self._streams[step.stream] = _Stream()
            undo.append(partial(self._streams.pop, step.stream))
        if found.closed:
            raise Conflict(f"The stream {step.stream!r} is closed.")
        undo.append(partial(found.shorten, len(found.items)))
        found.items.extend(map(bytes, step.items))
        found.closed = step.close
        return offsets.encode(found.epoch, len(found.items))

    def _current(self, name: str, version: int | None) -> int:
        """The version of a record, 0 where there is none. Raises Conflict where it is not ``version``."""
        found = self._records.get(name)
        current = found.version if found else 0
        if version is not None and version != current:
            raise Conflict(f"The record {name!r} is no longer at version {version}.")
        return current

    def _put(self, name: str, record: Record | None, undo: list[_Undo] | None = None) -> None:
        """Let ``record`` be what is under the name."""
        old = self._records.pop(name, None)
        if undo is not None:
            undo.append(partial(self._put, name, old))
        if record is not None:
            self._records[name] = record
        if record is not None and old is None:
            insort(self._names, name)
        elif record is None and old is not None:
            del self._names[bisect_left(self._names, name)]

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        check_prefix(prefix)
        check_prefix(before or "")
        check_limit(limit)
        with self._lock:
            first = bisect_left(self._names, prefix)
            bounds = [bound for bound in (successor(prefix), before) if bound is not None]
            last = bisect_left(self._names, min(bounds)) if bounds else len(self._names)
            names = self._names[max(first, last - limit) : max(first, last)]
            return [self._records[name] for name in reversed(names)]

    def close(self) -> None:
        """Forget everything; listeners are called no more."""
        with self._lock:
            self._clear()

    def hold(self) -> None:
        """Before a fork: come to rest."""
        self._lock.acquire()

    def resume(self) -> None:
        """After a fork: go on."""
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: the listeners belong to event loops of the parent."""
        self._listeners.clear()
