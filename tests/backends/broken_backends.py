"""Backends in a SQLite file that break one promise each; other processes import them by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from restive.backends.location import sqlite_path
from restive.backends.port import Announce, Append, Listener, Page, Save, Step
from restive.backends.sqlite import SqliteBackend
from restive.errors import BackendUnavailable, Conflict


class OfUrl(SqliteBackend):
    """Opened by a URL, as a backend of a server is."""

    def __init__(self, url: str, *, name: str = "") -> None:
        super().__init__(sqlite_path(url), name=name, patience=2.0)


class Repeating(OfUrl):
    """Appends again what it has not forgotten."""

    def append(self, stream: str, items: Sequence[bytes], **options: Any) -> str:
        if random.random() < 0.1:
            super().append(stream, items)
        return super().append(stream, items, **options)


class Losing(OfUrl):
    """Acknowledges what it has not stored."""

    def append(self, stream: str, items: Sequence[bytes], **options: Any) -> str:
        return super().append(stream, items if random.random() > 0.05 else [], **options)


class Late(OfUrl):
    """Stores some items behind the next."""

    held: list[bytes] | None = None

    def append(self, stream: str, items: Sequence[bytes], **options: Any) -> str:
        late, self.held = self.held, None
        if items and late is None and random.random() < 0.3:
            self.held, items = list(items), []
        return super().append(stream, [*items, *(late or [])], **options)


class Stuttering(OfUrl):
    """Does an append and calls it a Conflict, as who tries again what was done."""

    def append(self, stream: str, items: Sequence[bytes], **options: Any) -> str:
        end = super().append(stream, items, **options)
        if options.get("after") and random.random() < 0.3:
            raise Conflict("It ends elsewhere.")
        return end


class HardOfHearing(OfUrl):
    """Hears most."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        def most(payload: bytes | None) -> None:
            if payload is None or payload.startswith(b"the end") or random.random() > 0.05:
                listener(payload)

        return super().listen(most)


class Silent(OfUrl):
    """Does not say that something may be lost."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        return super().listen(lambda payload: None if payload is None else listener(payload))


class FromOne(OfUrl):
    """Counts versions from 1 in every new file."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        with self._file.writing() as db:
            db.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'records' AND seq > 1000000")
        return super().apply(steps, durable=durable)


class AnyOffset(OfUrl):
    """Takes an offset that it does not know for the start."""

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        try:
            return super().read(stream, after, limit)
        except ValueError:
            return super().read(stream, "", limit)


class Pretending(OfUrl):
    """Takes whatever it cannot store for stored."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        try:
            return super().apply(steps, durable=durable)
        except BackendUnavailable:
            results = {Save: 1, Append: "", Announce: None}
            return [results.get(type(step)) for step in steps]


class Locking(OfUrl):
    """The first to append takes the file for itself and gives it back when it is closed."""

    def append(self, stream: str, items: Sequence[bytes], **options: Any) -> str:
        lock = self.path.with_name("lock")
        if not self.__dict__.get("locked"):
            try:
                lock.touch(exist_ok=False)
            except FileExistsError:
                raise BackendUnavailable("Another has locked it.") from None
            self.locked = True
        return super().append(stream, items, **options)

    def close(self) -> None:
        super().close()
        if self.__dict__.pop("locked", False):
            self.path.with_name("lock").unlink()
