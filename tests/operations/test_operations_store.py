"""The operations in the backend: what one change stores together, and that nothing is left over."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from restive.backends.memory import MemoryBackend
from restive.backends.port import Append, Backend, Delete, Drop, Record, Save, Step
from restive.errors import BackendUnavailable, Canceled, Conflict, Interrupted
from restive.operations.identity import new_identity
from restive.operations.record import FORGET_AFTER, Gone, OperationRecord
from restive.operations.store import ORPHAN_AFTER, RECENT, Store

PROBLEM = {"status": 500, "title": "It broke"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(backend: Backend, clock: Clock) -> Store:
    return Store(lambda: backend, clock)


def a_record(clock: Clock, **fields: Any) -> OperationRecord:
    fields = {"route": "/digests", "retention": 100.0, **fields}
    identity = new_identity(clock.now, os.urandom)
    return OperationRecord(
        id=identity, declaration="/digests", target="/digests", created=clock.now, **fields
    )


def created(store: Store, clock: Clock, **fields: Any) -> OperationRecord:
    record = a_record(clock, **fields)
    store.create(record, b"{}")
    return record


def running(store: Store, clock: Clock, **fields: Any) -> OperationRecord:
    record = created(store, clock, **fields)
    claimed = store.update(record.id, lambda it: it.claimed("holder", clock.now, 10))
    assert claimed is not None
    return claimed


def names(backend: Backend) -> list[str]:
    """The records that there are, without the identities and digests in their names."""
    return sorted(found.name.split("/")[0] for found in backend.scan("", limit=1000))


def end(store: Store, clock: Clock, record: OperationRecord, **outcome: Any) -> OperationRecord | None:
    return store.update(record.id, lambda it: it.ended("succeeded", clock.now, **outcome))


def add_part(store: Store, identity: str, part: bytes) -> None:
    """As a run publishes it."""
    assert store.update(identity, lambda it: it.with_part(1, len(part)), part=part)


def count_parts(store: Store, record: OperationRecord) -> int:
    return len(store.parts(record.id, "", 100).items)


# One batch for each change


class Counting(MemoryBackend):
    """Counts the batches."""

    batches = 0

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        self.batches += 1
        return super().apply(steps)


def test_each_change_is_one_batch(clock: Clock):
    backend = Counting()
    store = Store(lambda: backend, clock)
    record = created(store, clock, owner="ann", notify=True)
    assert backend.batches == 1
    store.update(record.id, lambda it: it.claimed("holder", clock.now, 10))
    assert backend.batches == 2
    end(store, clock, record, size=5)
    assert backend.batches == 3
    store.forget(record.id, "deleted")
    assert backend.batches == 4


def test_a_created_operation_is_listed_open_and_has_its_arguments(
    store: Store, backend: Backend, clock: Clock
):
    record = created(store, clock, owner="ann")
    assert store.load(record.id) == record
    assert store.arguments(record.id) == b"{}"
    assert store.open() == [record]
    assert list(store.listed("ann", "/digests", None)) == [record]
    assert names(backend) == ["operation", "operation-input", "operation-of", "operation-open"]


def test_further_steps_are_done_with_the_creation(store: Store, backend: Backend, clock: Clock):
    record = a_record(clock, key="operation-key/1")
    store.create(record, b"{}", Save("operation-key/1", b"claimed"))
    found = backend.load("operation-key/1")
    assert found is not None
    assert found.value == b"claimed"


def test_a_creation_that_meets_a_conflict_stores_nothing(store: Store, backend: Backend, clock: Clock):
    backend.save("operation-key/1", b"another's", version=0)
    with pytest.raises(Conflict):
        store.create(a_record(clock, owner="ann"), b"{}", Save("operation-key/1", b"claimed"))
    assert names(backend) == ["operation-key"]


def test_the_end_closes_the_parts_and_takes_the_work_away(store: Store, backend: Backend, clock: Clock):
    record = running(store, clock)
    add_part(store, record.id, b"part")
    end(store, clock, record)
    assert store.open() == []
    assert store.parts(record.id, "", 10).closed
    assert names(backend) == ["operation", "operation-due"]
    with pytest.raises(KeyError):
        store.arguments(record.id)
    with pytest.raises(Interrupted):
        add_part(store, record.id, b"late")
    assert count_parts(store, record) == 1


def test_a_retry_keeps_its_arguments_its_parts_and_its_mark(store: Store, backend: Backend, clock: Clock):
    record = running(store, clock, retries=1, notify=True)
    add_part(store, record.id, b"part")
    again = store.update(record.id, lambda it: it.failed(PROBLEM, clock.now, retry=True, size=7))
    assert again is not None
    assert (again.status, again.attempt) == ("queued", 2)
    assert store.open() == [again]
    assert store.arguments(record.id) == b"{}"
    assert not store.parts(record.id, "", 10).closed
    assert names(backend) == ["operation", "operation-input", "operation-open"]


def test_what_the_transition_raises_passes_and_nothing_is_stored(store: Store, clock: Clock):
    record = running(store, clock)
    with pytest.raises(Interrupted):
        store.update(record.id, lambda it: it.with_part(99, 4), part=b"part")
    assert store.load(record.id) == record
    assert len(store.parts(record.id, "", 10).items) == 0


def test_a_change_that_loses_the_race_is_made_anew_from_what_won(store: Store, clock: Clock):
    record = running(store, clock)
    seen: list[int] = []

    def slow(it: OperationRecord) -> OperationRecord:
        seen.append(it.parts)
        if len(seen) == 1:
            store.update(record.id, lambda other: replace(other, parts=5))
        return replace(it, parts=it.parts + 1)

    changed = store.update(record.id, slow)
    assert seen == [0, 5]
    assert changed == store.load(record.id)
    assert changed is not None
    assert changed.parts == 6


def test_a_record_that_does_not_fit_its_parts_is_an_error_and_no_endless_loop(
    store: Store, backend: Backend, clock: Clock
):
    record = running(store, clock)
    backend.append(f"operation-parts/{record.id}", [], close=True)
    with pytest.raises(Conflict, match="does not fit"):
        store.update(record.id, lambda it: replace(it, parts=1), part=b"part")


# Parts under a lease


def test_a_part_comes_in_with_the_change_that_its_lease_allows(store: Store, clock: Clock):
    record = running(store, clock)
    changed = store.update(record.id, lambda it: it.with_part(1, 5), part=b"first")
    assert changed is not None
    assert changed.parts == 1
    assert list(store.parts(record.id, "", 10).items) == [b"first"]


def test_a_part_of_an_old_lease_is_refused_even_where_the_new_one_comes_in_between(
    store: Store, clock: Clock
):
    record = running(store, clock, retries=1)
    looked: list[str] = []

    def publish(it: OperationRecord) -> OperationRecord:
        changed = it.with_part(1, 4)
        looked.append(it.status)
        if len(looked) == 1:  # the process sleeps here, and another takes over
            store.update(record.id, lambda other: other.interrupted(clock.now))
            clock.now += 60
            store.update(record.id, lambda other: other.claimed("another", clock.now, 10))
        return changed

    with pytest.raises(Interrupted):
        store.update(record.id, publish, part=b"late")
    assert len(store.parts(record.id, "", 10).items) == 0


# What need not last


def test_only_what_may_be_lost_is_not_flushed(clock: Clock):
    asked: list[bool] = []

    class Noting(MemoryBackend):
        def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
            asked.append(durable)
            return super().apply(steps, durable=durable)

    backend = Noting()
    store = Store(lambda: backend, clock)
    record = running(store, clock)
    store.update(record.id, lambda it: it.renewed(1, it.progress, clock.now + 20), durable=False)
    end(store, clock, record)
    assert asked == [True, True, False, True]


# What was stored last is known without a read


class Reading(MemoryBackend):
    """Counts the reads."""

    reads = 0

    def load(self, name: str) -> Record | None:
        self.reads += 1
        return super().load(name)


def test_one_process_changes_its_operation_without_a_read(clock: Clock):
    backend = Reading()
    store = Store(lambda: backend, clock)
    record = running(store, clock, retries=1)
    store.update(record.id, lambda it: it.with_part(1, 4), part=b"part")
    store.update(record.id, lambda it: it.failed(PROBLEM, clock.now, retry=True))
    clock.now += 60
    store.update(record.id, lambda it: it.claimed("holder", clock.now, 10))
    end(store, clock, record)
    assert backend.reads == 0
    assert not store._recent


def test_what_another_process_stored_is_what_counts(store: Store, backend: Backend, clock: Clock):
    record = running(store, clock, retries=1)
    other = Store(lambda: backend, clock)
    other.update(record.id, lambda it: it.cancel_asked(clock.now))
    renewed = store.update(record.id, lambda it: it.renewed(1, it.progress, clock.now))
    assert renewed is not None
    assert renewed.cancel == clock.now
    other.update(record.id, lambda it: it.interrupted(clock.now))
    with pytest.raises(Canceled):
        store.update(record.id, lambda it: it.renewed(1, it.progress, clock.now))


def test_a_state_that_is_past_refuses_nothing(store: Store, backend: Backend, clock: Clock):
    record = running(store, clock, retries=1)
    other = Store(lambda: backend, clock)
    other.update(record.id, lambda it: it.failed(PROBLEM, clock.now, retry=True))
    clock.now += 60
    claimed = store.update(record.id, lambda it: it.claimed("again", clock.now, 10))
    assert claimed is not None
    assert claimed.attempt == 2
    other.update(record.id, lambda it: it.failed(PROBLEM, clock.now, retry=False))
    assert store.update(record.id, lambda it: it.cancel_asked(clock.now)) is None


def test_a_trace_is_never_overwritten(store: Store, backend: Backend, clock: Clock):
    record = running(store, clock)
    Store(lambda: backend, clock).forget(record.id, "deleted")
    assert end(store, clock, record) is None
    assert isinstance(store.load(record.id), Gone)
    another = running(store, clock)
    store.forget(another.id, "deleted")
    assert end(store, clock, another) is None
    assert isinstance(store.load(another.id), Gone)


def test_what_is_known_is_bounded(store: Store, clock: Clock):
    first = created(store, clock)
    for _ in range(RECENT + 10):
        created(store, clock)
    assert len(store._recent) == RECENT
    assert store.update(first.id, lambda it: it.claimed("holder", clock.now, 10))


# Notices


@pytest.mark.parametrize("notify", [True, False])
def test_an_end_leaves_a_notice_where_somebody_is_to_be_told(
    store: Store, backend: Backend, clock: Clock, notify: bool
):
    record = running(store, clock, notify=notify)
    end(store, clock, record)
    marks = backend.scan("operation-notice/")
    assert [(mark.name, mark.value) for mark in marks] == [
        (f"operation-notice/000001000000001/{record.id}", b"")
    ] * notify


def test_a_cancel_in_the_queue_is_an_end_too(store: Store, backend: Backend, clock: Clock):
    record = created(store, clock, notify=True)
    store.update(record.id, lambda it: it.cancel_asked(clock.now))
    assert len(backend.scan("operation-notice/")) == 1
    assert store.open() == []


# Bytes of an owner


def test_the_bytes_of_an_owner_are_summed_over_all_routes(store: Store, clock: Clock):
    created(store, clock, owner="ann", size=10)
    created(store, clock, owner="ann", size=200, route="/others")
    created(store, clock, owner="ann")
    created(store, clock, owner="bob", size=3000)
    created(store, clock, size=40_000)
    assert store.owned_bytes("ann") == 210
    assert store.owned_bytes("bob") == 3000
    assert store.owned_bytes("nobody") == 0


def test_more_operations_than_one_page_are_summed(store: Store, clock: Clock):
    for _ in range(1001):
        created(store, clock, owner="ann", size=1)
    assert store.owned_bytes("ann") == 1001


def test_the_bytes_follow_what_a_retry_and_the_end_say(store: Store, clock: Clock):
    record = running(store, clock, owner="ann", size=10, retries=1)
    store.update(record.id, lambda it: it.failed(PROBLEM, clock.now, retry=True, size=50))
    assert store.owned_bytes("ann") == 50
    end(store, clock, record, size=7)
    assert store.owned_bytes("ann") == 7
    assert [it.id for it in store.listed("ann", "/digests", None)] == [record.id]
    store.forget(record.id, "deleted")
    assert store.owned_bytes("ann") == 0


def test_an_owner_and_a_route_are_not_mistaken_for_another_pair(store: Store, clock: Clock):
    one = created(store, clock, owner="ann/", route="digests")
    two = created(store, clock, owner="ann", route="/digests")
    assert list(store.listed("ann/", "digests", None)) == [one]
    assert list(store.listed("ann", "/digests", None)) == [two]


def test_a_listing_goes_on_below_an_identity(store: Store, clock: Clock):
    made = []
    for _ in range(5):
        clock.now += 1
        made.append(created(store, clock, owner="ann"))
    newest_first = made[::-1]
    assert list(store.listed("ann", "/digests", None)) == newest_first
    assert list(store.listed("ann", "/digests", newest_first[2].id)) == newest_first[3:]


# The end of everything


def test_a_key_goes_with_the_trace_not_before(store: Store, backend: Backend, clock: Clock):
    record = a_record(clock, key="operation-key/1")
    store.create(record, b"{}", Save("operation-key/1", record.id.encode()))
    store.forget(record.id, "deleted")
    gone = store.load(record.id)
    assert isinstance(gone, Gone)
    assert gone.key == "operation-key/1"
    assert backend.load("operation-key/1") is not None
    clock.now += FORGET_AFTER + 1
    store.expire(lambda *_: None)
    assert backend.scan("") == []


class Overtaken(MemoryBackend):
    """Another process removes the trace, and the key is given anew, just before this one does."""

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        trace = steps[0]
        if isinstance(trace, Delete) and trace.version is not None:
            super().apply([trace, Save("operation-key/1", b"of a later operation", None)])
        return super().apply(steps)


def test_a_key_that_was_given_anew_stays(clock: Clock):
    backend = Overtaken()
    store = Store(lambda: backend, clock)
    record = created(store, clock, key="operation-key/1")
    store.forget(record.id, "deleted")
    clock.now += FORGET_AFTER + 1
    store.expire(lambda *_: None)
    found = backend.load("operation-key/1")
    assert found is not None
    assert found.value == b"of a later operation"


def test_after_retention_only_a_trace_is_left_and_after_a_day_nothing(
    store: Store, backend: Backend, clock: Clock
):
    record = running(store, clock, owner="ann", retries=1)
    add_part(store, record.id, b"part")
    end(store, clock, record, size=9)
    removed: list[str] = []
    clock.now += 99
    store.expire(lambda identity, _: removed.append(identity))
    assert removed == []
    clock.now += 2
    store.expire(lambda identity, _: removed.append(identity))
    assert removed == [record.id]
    gone = store.load(record.id)
    assert isinstance(gone, Gone)
    assert gone.why == "expired"
    assert names(backend) == ["operation", "operation-due"]
    assert len(store.parts(record.id, "", 10).items) == 0
    clock.now += FORGET_AFTER + 1
    store.expire(lambda identity, _: removed.append(identity))
    assert set(removed) == {record.id}
    assert backend.scan("") == []


def test_who_forgets_first_is_told_what_it_was(store: Store, clock: Clock):
    record = running(store, clock)
    assert store.forget(record.id, "deleted") == record
    assert store.forget(record.id, "deleted") is None
    assert store.update(record.id, lambda it: replace(it, parts=1)) is None


# Batches that are cut short, as they may be where the backend has no transactions


class Cut(MemoryBackend):
    """Does the steps one by one, and only the first ``left`` of them."""

    left = 10**9

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        done = []
        for step in steps:
            if self.left == 0:
                raise BackendUnavailable("cut")
            self.left -= 1
            done += super().apply([step])
        return done

    def cut_after(self, steps: int) -> None:
        self.left = steps

    def mend(self) -> None:
        self.left = 10**9


@pytest.fixture
def cut() -> Cut:
    return Cut()


def live_and_let_expire(store: Store, backend: MemoryBackend, clock: Clock) -> None:
    """What a next process does, until nothing must be left."""
    clock.now += ORPHAN_AFTER + 1
    for found in store.open():
        end(store, clock, found)
    for wait in (101, FORGET_AFTER + 1, 1):
        clock.now += wait
        store.open()
        store.expire(lambda *_: None)
    assert backend.scan("") == []
    assert "0 streams" in repr(backend)


@pytest.mark.parametrize("steps", range(6))
def test_a_creation_cut_short_is_whole_or_goes_away(cut: Cut, clock: Clock, steps: int):
    store = Store(lambda: cut, clock)
    record = a_record(clock, owner="ann")
    cut.cut_after(steps)
    try:
        store.create(record, b"{}")
    except BackendUnavailable:
        pass
    if store.load(record.id) is not None:
        assert store.open() == [record]
        assert store.arguments(record.id) == b"{}"
    cut.mend()
    live_and_let_expire(store, cut, clock)


@pytest.mark.parametrize("steps", range(8))
def test_an_end_cut_short_leaves_it_running_or_ended_and_goes_away(cut: Cut, clock: Clock, steps: int):
    store = Store(lambda: cut, clock)
    record = running(store, clock, owner="ann")
    add_part(store, record.id, b"part")
    cut.cut_after(steps)
    try:
        end(store, clock, record, size=9)
    except BackendUnavailable:
        pass
    cut.mend()
    found = store.load(record.id)
    assert isinstance(found, OperationRecord)
    assert found.final or store.open() == [found]
    assert found.final or store.arguments(record.id) == b"{}"
    live_and_let_expire(store, cut, clock)


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("steps", range(8))
def test_a_deletion_cut_short_goes_away(cut: Cut, clock: Clock, steps: int, final: bool):
    store = Store(lambda: cut, clock)
    record = running(store, clock, owner="ann")
    add_part(store, record.id, b"part")
    if final:
        end(store, clock, record)
    cut.cut_after(steps)
    try:
        store.forget(record.id, "deleted")
    except BackendUnavailable:
        pass
    cut.mend()
    live_and_let_expire(store, cut, clock)


def test_the_model_of_a_cut_does_what_it_says(cut: Cut):
    cut.cut_after(2)
    with pytest.raises(BackendUnavailable):
        cut.apply([Save("a", b""), Append("s", [b""]), Drop("s"), Save("b", b"")])
    assert names(cut) == ["a"]
    assert len(cut.read("s").items) == 1
