"""Every adapter keeps every promise of the port, and the suite notices one that does not."""

from __future__ import annotations

import fnmatch
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restive.backends.limits import check_steps
from restive.backends.memory import MemoryBackend
from restive.backends.port import Announce, Append, Delete, Page, Record, Save, Step, Trimmed
from restive.backends.sqlite import SqliteBackend
from restive.errors import Conflict
from restive.testing import BACKEND_CHECKS, BackendBroken, check_backend, run_check


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_memory_conforms(check: str):
    run_check(check, lambda store: MemoryBackend(name=store))


@pytest.mark.parametrize("check", BACKEND_CHECKS)
def test_sqlite_conforms(check: str, tmp_path: Path):
    run_check(check, lambda store: SqliteBackend(tmp_path / f"{store}.db", name="app"))


def test_one_call_runs_every_check():
    assert check_backend(lambda store: MemoryBackend(name=store)) == tuple(BACKEND_CHECKS)


class Forgetful(MemoryBackend):
    """Loses a record's last byte."""

    def load(self, name: str) -> Record | None:
        found = super().load(name)
        return found and Record(name, found.value[:-1], found.version)


class LastWriterWins(MemoryBackend):
    def save(self, name: str, value: bytes, *, version: int) -> int:
        while True:
            try:
                return super().save(name, value, version=version)
            except Conflict:
                found = self.load(name)
                version = found.version if found else 0


class NeverClosed(MemoryBackend):
    def append(self, stream: str, items: Sequence[bytes], *, close: bool = False, **options: Any) -> str:
        return super().append(stream, items, **options)


class OneOffTheEnd(MemoryBackend):
    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        page = super().read(stream, after, limit)
        return Page(page.items[:-1], page.next, page.closed, page.up_to_date)


class AnyOffsetWillDo(MemoryBackend):
    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        try:
            return super().read(stream, after, limit)
        except ValueError:
            return super().read(stream, "", limit)


class Reordering(MemoryBackend):
    def announce(self, payload: bytes) -> None:
        held: list[bytes] = self.__dict__.setdefault("held", [])
        held.append(payload)
        if len(held) == 2 or payload == b"the end":
            while held:
                super().announce(held.pop())


class Unstoppable(MemoryBackend):
    def listen(self, listener: Any) -> Any:
        super().listen(listener)
        return lambda: None


class Ascending(MemoryBackend):
    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        return super().scan(prefix, before=before, limit=limit)[::-1]


class Stubborn(MemoryBackend):
    """Goes on behind a Conflict."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        done: list[int | str | None] = []
        refused: Conflict | None = None
        for step in steps:
            try:
                done += super().apply([step])
            except Conflict as error:
                refused = error
        if refused:
            raise refused
        return done


class Hasty(MemoryBackend):
    """Deletes first."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        order = sorted(range(len(steps)), key=lambda n: not isinstance(steps[n], Delete))
        done = dict(zip(order, super().apply([steps[n] for n in order]), strict=True))
        return [done[n] for n in range(len(steps))]


class Unguarded(MemoryBackend):
    """Stores whatever the version."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        return super().apply([Save(s.name, s.value, None) if isinstance(s, Save) else s for s in steps])


class Careless(MemoryBackend):
    """Appends wherever the stream ends."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        return super().apply([replace(s, after=None) if isinstance(s, Append) else s for s in steps])


class ChecksFirst(MemoryBackend):
    """Asks where the stream ends, and appends a moment later."""

    def append(self, stream: str, items: Sequence[bytes], *, after: str | None = None, **options: Any) -> str:
        try:
            end = self.read(stream, limit=10**6).next
        except KeyError:
            end = ""
        if after not in (None, end):
            raise Conflict("elsewhere")
        time.sleep(0.001)
        return super().append(stream, items, **options)


class Hoarder(MemoryBackend):
    """Drops nothing."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        check_steps(steps)
        return super().apply([replace(s, keep=0) if isinstance(s, Append) else s for s in steps])


class Skipping(MemoryBackend):
    """Goes on at the oldest that is kept and says nothing of the rest."""

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        try:
            return super().read(stream, after, limit)
        except Trimmed:
            return super().read(stream, "", limit)


class Greedy(MemoryBackend):
    """Keeps one too few."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        check_steps(steps)
        return super().apply(
            [replace(s, keep=s.keep - (s.keep > 1)) if isinstance(s, Append) else s for s in steps]
        )


class Premature(MemoryBackend):
    """Announces before the rest of the batch is done."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        check_steps(steps)
        early = [step for step in steps if isinstance(step, Announce)]
        super().apply(early)
        time.sleep(0.001)
        done = iter(super().apply([step for step in steps if not isinstance(step, Announce)]))
        return [None if isinstance(step, Announce) else next(done) for step in steps]


class OldVersions(MemoryBackend):
    """Counts the versions of each record, from 1 again after it was deleted."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        done: list[int | str | None] = []
        for step in steps:
            if isinstance(step, Save) and self.load(step.name) is None:
                self._version = 0
            done += super().apply([step])
        return done


class Wildcard(MemoryBackend):
    """Deletes as a glob does."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        found = {
            step.name: fnmatch.filter(self._names, step.name) for step in steps if isinstance(step, Delete)
        }
        super().apply([Delete(name) for names in found.values() for name in names])
        return super().apply(steps)


class Folding(MemoryBackend):
    """Sees one name in those that look the same."""

    def load(self, name: str) -> Record | None:
        return super().load(unicodedata.normalize("NFC", name) if len(name) < 9 else name)


class Mortal(MemoryBackend):
    """Is not to be used after it was closed."""

    def close(self) -> None:
        super().close()
        self.closed = True

    def load(self, name: str) -> Record | None:
        if self.__dict__.get("closed"):
            raise RuntimeError("closed")
        return super().load(name)


class OneByOne(MemoryBackend):
    """What an adapter may be whose engine has no transactions."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        check_steps(steps)
        return [result for step in steps for result in super(OneByOne, self).apply([step])]


def test_an_adapter_without_transactions_conforms():
    assert check_backend(lambda store: OneByOne(name=store)) == tuple(BACKEND_CHECKS)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Forgetful, "records-save_and_load"),
        (LastWriterWins, "records-versions"),
        (NeverClosed, "streams-closing"),
        (OneOffTheEnd, "streams-items_come_back"),
        (AnyOffsetWillDo, "streams-dropped_and_made_again"),
        (AnyOffsetWillDo, "streams-foreign_offsets"),
        (Reordering, "announcements-own_are_heard_in_order"),
        (Unstoppable, "announcements-nothing_after_stop"),
        (Ascending, "records-scans"),
        (Stubborn, "batches-nothing_after_a_conflict"),
        (Hasty, "batches-in_order"),
        (Unguarded, "batches-nothing_after_a_conflict"),
        (Careless, "conditional-after_anything_else"),
        (Careless, "conditional-after_in_a_batch"),
        (Careless, "conditional-one_of_many"),
        (ChecksFirst, "conditional-one_of_many"),
        (ChecksFirst, "conditional-folds"),
        (Hoarder, "keep-newest_stay"),
        (Hoarder, "keep-more_than_is_kept"),
        (Skipping, "keep-offsets_of_what_is_kept"),
        (Skipping, "keep-slow_readers"),
        (Greedy, "keep-newest_stay"),
        (Premature, "batches-heard_when_it_can_be_read"),
        (Premature, "batches-not_announced_after_a_conflict"),
        (OldVersions, "records-deleted_and_made_again"),
        (OldVersions, "records-made_again_in_a_batch"),
        (Wildcard, "names-names_deleted"),
        (Folding, "names-names"),
        (Mortal, "closing-any_call_opens"),
        (Mortal, "closing-close_while_others_call"),
    ],
)
def test_the_suite_notices(broken: type[MemoryBackend], check: str):
    with pytest.raises((AssertionError, RuntimeError)):
        run_check(check, lambda store: broken(name=store))


def test_the_verdict_names_each_broken_promise_and_what_was_found():
    with pytest.raises(BackendBroken) as caught:
        check_backend(lambda store: Ascending(name=store))
    assert "records-scans" in caught.value.failures
    assert "streams-pages" not in caught.value.failures
    text = str(caught.value)
    assert text.startswith(f"{len(caught.value.failures)} of {len(BACKEND_CHECKS)} checks failed.")
    assert "names descending" in text
    assert "gives [" in text


def test_the_verdict_says_where_an_unexpected_error_came_from():
    def factory(store: str) -> MemoryBackend:
        raise ZeroDivisionError(store)

    with pytest.raises(BackendBroken, match=r"ZeroDivisionError: names-names-0 \(.*conformance"):
        check_backend(factory)
