"""The log against a model: several processes on one store, batches cut off anywhere, retries."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.backends.memory import MemoryBackend
from restive.backends.port import Trimmed
from restive.errors import BackendUnavailable
from restive.streams import known
from restive.streams.items import Producer
from restive.streams.lives import Life, log_of
from restive.streams.log import Log
from restive.streams.offsets import START
from restive.streams.producers import Outcome, Write
from restive.streams.tasks import Creation, Deletion, Look, Sight, Writing
from streams.cutting import CutBackend

PATH = "/rooms/5"
TEXT = "text/plain"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def new_log(backend, clock=None, producers=100) -> Log:
    return Log(
        lambda: backend,
        producers=producers,
        announce=lambda paths: b"",
        changed=lambda path: None,
        clock=clock or Clock(),
    )


def life(**options) -> Life:
    return Life(path=PATH, content_type=TEXT, **options)


def append(log: Log, *items: bytes, **options) -> Outcome:
    return log.do(PATH, Writing(Write(items, **options), life()))


def all_items(log: Log) -> list[bytes]:
    items, offset = [], ""
    while True:
        found = log.read(PATH, offset, 3)
        if found is None:
            return items
        items += found[1].items
        offset = found[1].next
        if found[1].up_to_date:
            return items


class ExactlyOnce:
    """Producers that repeat each batch until it is acknowledged, and a reader that follows them."""

    def __init__(self, seed: int, keep: int) -> None:
        self.chance = random.Random(seed)
        store = MemoryBackend()
        self.backends = [CutBackend(store, self.chance, 0.0) for _ in range(2)]
        self.logs = [new_log(each) for each in self.backends]
        self.logs[0].do(PATH, Creation(life(keep=keep)))
        self.read: list[bytes] = []
        self.offset = ""
        self.acknowledged: list[bytes] = []
        self.next: dict[str, int] = defaultdict(int)
        self.number = 0
        for backend in self.backends:
            backend.cut = 0.12

    def step(self) -> None:
        name = self.chance.choice("ab")
        self.number += 1
        items = [b"%s%d.%d" % (name.encode(), self.next[name], at) for at in range(self.chance.randint(1, 3))]
        write = Write(items, producer=Producer(name, 0, self.next[name]))
        while True:
            try:
                outcome = self.chance.choice(self.logs).do(PATH, Writing(write))
            except BackendUnavailable:
                self.follow()
                if self.chance.random() < 0.2:
                    self.logs[0] = new_log(self.backends[0])  # the process has died, another one begins
                continue
            assert outcome.verdict in {"appended", "duplicate"}
            break
        self.next[name] += 1
        self.acknowledged += items
        self.follow()

    def follow(self) -> None:
        for backend in self.backends:
            backend.cut, kept = 0.0, backend.cut
            try:
                self._read_on()
            finally:
                backend.cut = kept

    def _read_on(self) -> None:
        found = self.chance.choice(self.logs).read(PATH, self.offset, 1000)
        assert found is not None
        self.read += found[1].items
        self.offset = found[1].next


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 5]))
def test_what_is_acknowledged_is_read_exactly_once_and_in_order(seed, keep):
    world = ExactlyOnce(seed, keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "SNAPSHOT_ITEMS", 4)
        patch.setattr(known, "KEPT_ITEMS", 4)
        for _ in range(25):
            world.step()
    assert world.read == world.acknowledged


class Ended:
    """Appends, deletions and creations by two processes, any of which may be cut off."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store = MemoryBackend()
        self.backends = [CutBackend(self.store, self.chance, 0.15) for _ in range(2)]
        self.logs = [new_log(each) for each in self.backends]
        self.must: list[bytes] = []
        """Acknowledged, and not deleted since."""
        self.may: set[bytes] = set()
        """Tried, and nobody knows whether it was done."""
        self.never: set[bytes] = set()
        """Of an earlier life."""
        self.unsure = False
        self.number = 0

    def step(self) -> None:
        log = self.chance.choice(self.logs)
        if self.chance.random() < 0.3:
            self.delete(log)
        else:
            self.append(log)
        self.check()

    def append(self, log: Log) -> None:
        self.number += 1
        item = b"%d" % self.number
        try:
            append(log, item)
        except BackendUnavailable:
            self.may.add(item)
        else:
            self.must.append(item)

    def delete(self, log: Log) -> None:
        try:
            log.do(PATH, Deletion())
        except BackendUnavailable:
            self.may |= set(self.must)
            self.must, self.unsure = [], True
        else:
            self.never |= set(self.must) | self.may
            self.must, self.may, self.unsure = [], set(), False

    def check(self) -> None:
        for backend in self.backends:
            backend.cut = 0.0
        seen = [all_items(log) for log in self.logs]
        for backend in self.backends:
            backend.cut = 0.15
        assert seen[0] == seen[1]
        assert [item for item in seen[0] if item in self.must] == self.must
        assert not self.never.intersection(seen[0])
        assert set(seen[0]) <= set(self.must) | self.may
        assert len(seen[0]) == len(set(seen[0]))
        if self.unsure and not seen[0]:  # it was deleted, as has now been told
            self.never |= self.may
            self.may, self.unsure = set(), False


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_nothing_deleted_comes_back_and_nothing_acknowledged_is_lost(seed):
    world = Ended(seed)
    for _ in range(25):
        world.step()


def test_a_cut_off_creation_leaves_nothing_for_ever():
    store, clock = MemoryBackend(), Clock()
    for cuts in range(1, 7):
        backend = CutBackend(store, random.Random(0), 0.0)
        left = [cuts]

        def between(left=left) -> None:
            left[0] -= 1
            if not left[0]:
                raise BackendUnavailable("cut off")

        backend.between = between
        log = new_log(backend, clock)
        try:
            log.do(PATH, Creation(life(), [b"1"]))
        except BackendUnavailable:
            pass
        backend.between = lambda: None
        log.do(PATH, Deletion())
        clock.now += 120
        log.lives.sweep()
        assert store.scan("stream") == []
        assert "0 streams" in repr(store)


def test_only_one_of_many_processes_creates_a_stream():
    store = MemoryBackend()
    logs = [new_log(store) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        sights: list[Sight] = list(threads.map(lambda log: log.do(PATH, Creation(life())), logs))
    assert sum(sight.created for sight in sights) == 1
    assert len({sight.offset for sight in sights}) == 1


@pytest.mark.parametrize("shared", [True, False], ids=["one process", "eight"])
def test_writers_at_once_lose_nothing(shared):
    store = MemoryBackend()
    one = new_log(store)
    logs = [one if shared else new_log(store) for _ in range(8)]
    together = threading.Barrier(8)

    def write(number: int) -> None:
        for at in range(20):
            together.wait(20)
            outcome = append(logs[number], b"%d.%d" % (number, at), producer=Producer(str(number), 0, at))
            assert outcome.verdict == "appended"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    items = all_items(new_log(store))
    assert sorted(items) == sorted(b"%d.%d" % (n, at) for n in range(8) for at in range(20))
    for number in range(8):
        mine = [item for item in items if item.startswith(b"%d." % number)]
        assert mine == [b"%d.%d" % (number, at) for at in range(20)]


def test_what_waits_together_is_one_append():
    backend = CutBackend(MemoryBackend(), random.Random(0), 0.0)
    log = new_log(backend)
    append(log, b"0")
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        backend.between = lambda: None
        held.set()
        go.wait(10)

    backend.between = hold
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(append, log, b"1")
        assert held.wait(10)
        others = [threads.submit(append, log, b"%d" % number) for number in range(2, 12)]
        line = next(iter(log._lines.values()))
        while len(line._waiting) < 10:
            pass
        go.set()
        assert {each.result(10).verdict for each in [first, *others]} == {"appended"}
    assert [len(step.items) for step in backend.appends] == [1, 1, 10]


def test_a_batch_that_was_cut_off_behind_the_append_is_a_duplicate_when_it_comes_again():
    backend = CutBackend(MemoryBackend(), random.Random(0), 0.0)
    log = new_log(backend)
    append(log, b"0")
    backend.cut, count = 0.0, [0]

    def fail() -> None:
        count[0] += 1
        backend.between = lambda: None
        raise BackendUnavailable("the answer was lost")

    backend.between = fail
    with pytest.raises(BackendUnavailable):
        append(log, b"1", producer=Producer("a", 0, 0))
    assert append(log, b"1", producer=Producer("a", 0, 0)).verdict == "duplicate"
    assert all_items(log) == [b"0", b"1"]


def test_a_duplicate_of_an_earlier_life_is_not_taken_for_stored():
    store = MemoryBackend()
    here, there = new_log(store), new_log(store)
    assert append(here, b"1", producer=Producer("a", 0, 0)).verdict == "appended"
    there.do(PATH, Deletion())
    append(there, b"other")
    assert append(here, b"1", producer=Producer("a", 0, 0)).verdict == "appended"
    assert all_items(there) == [b"other", b"1"]


def test_a_refusal_is_given_by_what_the_log_says_now():
    store = MemoryBackend()
    here, there = new_log(store), new_log(store)
    append(here, b"1")
    append(there, b"2", producer=Producer("a", 0, 0))
    assert append(here, b"3", producer=Producer("a", 0, 1)).verdict == "appended"
    there.do(PATH, Writing(Write(close=True)))
    refused = append(here, b"4")
    assert (refused.verdict, refused.closed) == ("closed", True)
    assert append(there, b"3", producer=Producer("a", 0, 1)).verdict == "duplicate"


def test_items_are_dropped_only_behind_a_snapshot_and_producers_stay_known():
    backend = CutBackend(MemoryBackend(), random.Random(0), 0.0)
    log = new_log(backend)
    log.do(PATH, Creation(life(keep=10)))
    first = log.do(PATH, Look()).offset
    append(log, b"first", producer=Producer("once", 0, 0))
    for number in range(400):
        append(log, b"%d" % number)
    items = all_items(log)
    assert 10 <= len(items) <= 10 + 2 * known.KEPT_ITEMS
    assert items[-1] == b"399"
    with pytest.raises(Trimmed):
        log.read(PATH, first, 10)
    with pytest.raises(Trimmed):
        log.read(PATH, START, 10)
    assert append(new_log(backend), b"first", producer=Producer("once", 0, 0)).verdict == "duplicate"


def test_a_stream_of_many_items_is_not_read_from_its_start_by_a_new_process():
    backend = CutBackend(MemoryBackend(), random.Random(0), 0.0)
    log = new_log(backend)
    for number in range(20):
        append(log, *[b"%d" % number] * 300)
    backend.reads.clear()
    new = new_log(backend)
    assert new.do(PATH, Look()).offset == log.do(PATH, Look()).offset
    assert len(backend.reads) <= 4


def test_a_lost_tail_is_noticed_and_writing_goes_on():
    """As after a failover that lost what was acknowledged last: offsets of it fit nothing any more."""
    store = MemoryBackend()
    log = new_log(store)
    append(log, b"1", producer=Producer("a", 0, 0))
    found = log.find(PATH)
    before = store._streams[log_of(PATH, found.life.id)]
    lost = append(log, b"2", producer=Producer("a", 0, 1)).offset
    del before.items[1:]
    assert append(log, b"3").verdict == "appended"
    assert append(log, b"2", producer=Producer("a", 0, 1)).verdict == "appended"
    assert all_items(log) == [b"1", b"3", b"2"]
    assert lost


# Expiry


def test_a_ttl_counts_from_the_last_use_on_every_process():
    store, clock = MemoryBackend(), Clock()
    here, there = new_log(store, clock), new_log(store, clock)
    here.do(PATH, Creation(life(ttl=100.0)))
    for log in (here, there) * 3:
        clock.now += 99
        assert log.read(PATH, "", 10) is not None
    clock.now += 99
    assert append(there, b"1").verdict == "appended"
    clock.now += 99
    assert here.do(PATH, Look()) is not None
    clock.now += 12
    assert here.do(PATH, Look()) is None
    assert there.do(PATH, Look()) is None
    assert there.do(PATH, Writing(Write([b"2"]))).verdict == "absent"


def test_once_told_as_expired_it_stays_so_though_another_process_uses_it_in_that_moment():
    store, clock = MemoryBackend(), Clock()
    here = new_log(store, clock)
    backend = CutBackend(store, random.Random(0), 0.0)
    there = new_log(backend, clock)
    here.do(PATH, Creation(life(ttl=100.0), [b"1"]))
    clock.now += 50
    late = Clock()
    late.now = clock.now
    there.lives.clock = late
    assert there.read(PATH, "", 10) is not None  # noted at 50
    late.now += 60  # to be noted at 110; but another process is first
    clock.now += 200
    assert here.do(PATH, Look()) is None
    assert there.read(PATH, "", 10) is None


def test_expired_streams_are_cleared_away():
    store, clock = MemoryBackend(), Clock()
    log = new_log(store, clock)
    log.do(PATH, Creation(life(ttl=100.0), [b"1"]))
    log.do("/rooms/6", Creation(Life(path="/rooms/6", content_type=TEXT, expires=clock.now + 500), [b"1"]))
    clock.now += 90
    append(log, b"2")
    clock.now += 90
    log.lives.sweep()
    assert len(all_items(log)) == 2
    for _ in range(3):
        clock.now += 600
        log.lives.sweep()
    assert store.scan("stream") == []
    assert "0 streams" in repr(store)


def test_a_long_path_has_a_name_all_the_same():
    log = new_log(MemoryBackend())
    path = "/" + "ü" * 1000
    log.do(path, Creation(Life(path=path, content_type=TEXT), [b"1"]))
    assert log.read(path, "", 10)[1].items == (b"1",)
    assert log.read(path + "x", "", 10) is None
