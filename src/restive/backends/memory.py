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
from .limits import check_limit, check_name, check_prefix, check_steps, kept_from, successor, take
from .port import Announce, Append, Delete, Drop, Listener, Page, Record, Save, Step

__all__ = ["MemoryBackend"]

_log = logging.getLogger("restive.backends")


_Undo = Callable[[], object]


@dataclass(slots=True)
class _Stream:
    epoch: str = field(default_factory=offsets.new_epoch)
    start: int = 0
    """Items that were dropped before those in ``items``."""
    items: list[bytes] = field(default_factory=list)
    closed: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.items)

    @property
    def end_offset(self) -> str:
        return offsets.encode(self.epoch, self.end)

    def append(self, items: Sequence[bytes], *, close: bool, keep: int) -> _Undo:
        """Returns what undoes it."""
        length = len(self.items)
        self.items.extend(map(bytes, items))
        self.closed = close
        surplus = kept_from(self.start, self.end, keep) - self.start
        dropped = self.items[:surplus]
        del self.items[:surplus]
        self.start += surplus
        return partial(self._restore, length, dropped)

    def _restore(self, length: int, dropped: list[bytes]) -> None:
        self.items[:0] = dropped
        self.start -= len(dropped)
        del self.items[length:]
        self.closed = False


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
        self.apply([Announce(payload)])

    def _deliver(self, payload: bytes) -> None:
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
        with self._lock:
            found = self._streams[stream]
            start = offsets.position(after, epoch=found.epoch, length=found.end, start=found.start)
            items = found.items[start - found.start : start - found.start + limit]
            end = start + take(items)
            return Page(
                items=tuple(items[: end - start]),
                next=offsets.encode(found.epoch, end),
                closed=found.closed and end == found.end,
                up_to_date=end == found.end,
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
        """Do all of the steps, or on a Conflict none; what each returned. Then listeners are called."""
        check_steps(steps)
        undo: list[_Undo] = []
        with self._lock:
            try:
                results = [self._do(step, undo) for step in steps]
            except Conflict:
                for back in reversed(undo):
                    back()
                raise
        for step in steps:
            if isinstance(step, Announce):
                self._deliver(step.payload)
        return results

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
        if step.after is not None and step.after != (found.end_offset if found else ""):
            raise Conflict(f"The stream {step.stream!r} does not end at that offset.")
        if found is None:
            found = self._streams[step.stream] = _Stream()
            undo.append(partial(self._streams.pop, step.stream))
        if found.closed:
            raise Conflict(f"The stream {step.stream!r} is closed.")
        undo.append(found.append(step.items, close=step.close, keep=step.keep))
        return found.end_offset

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

    def probe(self) -> None:
        """It is alive as long as its process is."""

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
