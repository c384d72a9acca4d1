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
from typing import ClassVar

from restive.errors import Conflict

from . import forks, offsets
from .limits import check_limit, check_name, check_prefix, check_value, successor, take
from .port import Listener, Page, Record

__all__ = ["MemoryBackend"]

_log = logging.getLogger("restive.backends")


@dataclass(slots=True)
class _Stream:
    epoch: str = field(default_factory=offsets.new_epoch)
    items: list[bytes] = field(default_factory=list)
    closed: bool = False


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
        check_name(stream)
        check_value(*items)
        with self._lock:
            found = self._streams.setdefault(stream, _Stream())
            if found.closed:
                raise Conflict(f"The stream {stream!r} is closed.")
            found.items.extend(items)
            found.closed = close
            return offsets.encode(found.epoch, len(found.items))

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
        check_name(stream)
        with self._lock:
            self._streams.pop(stream, None)

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        with self._lock:
            return self._records.get(name)

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        check_name(name)
        check_value(value)
        with self._lock:
            found = self._records.get(name)
            if (found.version if found else 0) != version:
                raise Conflict(f"The record {name!r} is no longer at version {version}.")
            if found is None:
                insort(self._names, name)
            self._version += 1
            self._records[name] = Record(name, bytes(value), self._version)
            return self._version

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        check_name(name)
        with self._lock:
            if self._records.pop(name, None) is not None:
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
