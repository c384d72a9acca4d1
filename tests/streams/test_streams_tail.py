"""Followers of a stream: one read of the backend for all, and nothing lost whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restive.backends.memory import MemoryBackend
from restive.backends.sqlite import SqliteBackend
from restive.errors import BackendUnavailable, Problem
from restive.settings import Settings
from restive.streams import tail
from restive.streams.registry import Streams
from restive.streams.tail import Batch, Gone
from streams.cutting import CutBackend

Reader = Callable[..., "Reading"]


class House:
    """What streams need of a ``Restive``."""

    def __init__(self, backend: Any, **settings: Any) -> None:
        self.settings = Settings.of({"recheck": 60.0, **settings})
        self.backend = backend

    def announce_streams(self, paths: Any) -> bytes:
        return b""

    def hub(self) -> Any:
        raise NotImplementedError


class Reading:
    """A follower and all that it was given."""

    def __init__(self, streams: Streams, path: str, offset: str) -> None:
        self.woken = asyncio.Event()
        self.inside = False
        self.batches: list[Batch] = []
        self.gone: Gone | None = None
        self.follower = streams.follow(path, offset, self._wake)

    def _wake(self) -> None:
        assert not self.inside, "wake was called from inside a method"
        self.woken.set()

    def take(self) -> Batch | Gone | None:
        self.inside = True
        found = self.follower.take()
        self.inside = False
        if isinstance(found, Gone):
            self.gone = found
        elif found is not None:
            self.batches.append(found)
        return found

    @property
    def items(self) -> list[bytes]:
        return [item for batch in self.batches for item in batch.items]

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while True:
                while self.take() is not None and self.gone is None:
                    pass
                if done():
                    return
                self.woken.clear()
                await self.woken.wait()

    async def until_items(self, *items: bytes) -> None:
        await self.until(lambda: len(self.items) >= len(items))
        assert self.items == list(items)

    async def until_begun(self) -> None:
        await self.until(lambda: bool(self.batches))


@pytest.fixture
def backend() -> CutBackend:
    return CutBackend(MemoryBackend(), random.Random(0), 0.0)


async def test_many_followers_cost_one_read_for_each_append(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/rooms/{room}", content_type="text/plain")
    await messages.append("0", room=5)
    readings = [Reading(streams, "/rooms/5", "now") for _ in range(50)]
    for reading in readings:
        await reading.until_begun()
    for number in range(1, 4):
        backend.reads.clear()
        await messages.append(str(number), room=5)
        for reading in readings:
            await reading.until(lambda reading=reading, number=number: len(reading.items) == number)
        assert len(backend.reads) == 1
    assert all(reading.items == [b"1", b"2", b"3"] for reading in readings)
    assert len({id(reading.batches[-1]) for reading in readings}) == 1


async def test_a_crowd_that_begins_at_the_same_offset_reads_each_page_once(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    await messages.append_many(range(100))
    readings = [Reading(streams, "/log", "-1") for _ in range(50)]
    backend.reads.clear()
    await asyncio.gather(*(each.until(lambda each=each: len(each.items) == 100) for each in readings))
    assert len(backend.reads) <= 6
    for reading in readings:
        reading.follower.close()
    assert len(streams.service.tails()) == 0


async def test_where_a_follower_begins(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    first = await messages.append(1)
    await messages.append(2)
    begin, middle, end = (Reading(streams, "/log", at) for at in ("-1", first, "now"))
    await begin.until_items(b"1", b"2")
    await middle.until_items(b"2")
    await end.until_begun()
    assert (end.items, end.batches[0].up_to_date, end.batches[0].offset) == ([], True, begin.follower.offset)
    await messages.append(3)
    for reading, items in ((begin, [b"1", b"2", b"3"]), (middle, [b"2", b"3"]), (end, [b"3"])):
        await reading.until_items(*items)


@pytest.mark.parametrize("offset", ["-1", "0", "now"])
async def test_a_stream_that_is_not_there_yet_is_followed_from_its_first_item(backend, offset):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    reading = Reading(streams, "/log", offset)
    await reading.until_begun()
    assert reading.follower.offset == "0"
    await messages.append(1)
    await messages.append(2)
    await reading.until_items(b"1", b"2")


async def test_a_crowd_that_waits_for_a_stream_costs_one_read_when_it_comes(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    readings = [Reading(streams, "/log", "-1") for _ in range(50)]
    await asyncio.gather(*(each.until_begun() for each in readings))
    await messages.append(1)
    await asyncio.gather(*(each.until_items(b"1") for each in readings))
    assert len(backend.reads) <= 3


async def test_nobody_is_told_that_nothing_follows_when_something_does(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    slow, quick = Reading(streams, "/log", "now"), Reading(streams, "/log", "now")
    await asyncio.gather(slow.until_begun(), quick.until_begun())
    for number in (b"1", b"2"):
        await messages.append(int(number))
        await quick.until(lambda number=number: number in quick.items)
    assert [batch.up_to_date for batch in quick.batches] == [True, True, True]
    await slow.until_items(b"1", b"2")
    assert [batch.up_to_date for batch in slow.batches] == [True, False, True]


async def test_offsets_that_are_not_the_streams_own(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    old = await messages.append(1)
    await messages.delete()
    early = Reading(streams, "/log", old)
    await early.until(lambda: early.gone is not None)
    assert early.gone.document["status"] == 400
    await messages.append(2)
    reading = Reading(streams, "/log", old)
    await reading.until(lambda: reading.gone is not None)
    assert reading.gone.document["status"] == 400
    with pytest.raises(Problem):
        streams.follow("/log", "a,b", lambda: None)


async def test_a_writable_stream_has_to_be_there(backend):
    streams = Streams(House(backend))
    streams.declare("/log", writable=True)
    reading = Reading(streams, "/log", "-1")
    await reading.until(lambda: reading.gone is not None)
    assert reading.gone.document["status"] == 404


async def test_a_stream_that_is_deleted_ends_its_followers(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    await messages.append(1)
    reading, late = Reading(streams, "/log", "-1"), Reading(streams, "/log", "now")
    await reading.until_items(b"1")
    await messages.delete()
    for each in (reading, late):
        await each.until(lambda each=each: each.gone is not None)
        assert each.gone.document["status"] == 410
    await messages.append(2)
    again = Reading(streams, "/log", "-1")
    await again.until_items(b"2")


async def test_an_expired_stream_ends_its_followers_and_followers_keep_one_alive(backend):
    streams = Streams(House(backend))
    clock = streams.service.log.lives
    messages, other = streams.declare("/log", ttl=0.2), streams.declare("/other")
    await messages.append(1)
    await other.append(1)
    reading = Reading(streams, "/log", "-1")
    await reading.until_items(b"1")
    began = clock.clock()
    while clock.clock() - began < 0.6:
        await asyncio.sleep(0.02)
    assert (await messages.info()) is not None
    assert reading.take() is None
    reading.follower.close()
    while await messages.info() is not None:
        await asyncio.sleep(0.05)


async def test_the_end_of_a_stream_is_told_once_with_its_last_items(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    await messages.append(1)
    reading, late = Reading(streams, "/log", "-1"), Reading(streams, "/log", "now")
    await reading.until_items(b"1")
    await late.until_begun()
    await messages.close()
    for each in (reading, late):
        await each.until(lambda each=each: each.batches[-1].closed)
        assert each.take() is None
    after = Reading(streams, "/log", "now")
    await after.until_begun()
    assert (after.batches[0].closed, after.items) == (True, [])
    whole = Reading(streams, "/log", "-1")
    await whole.until(lambda: bool(whole.batches) and whole.batches[-1].closed)
    assert whole.items == [b"1"]


async def test_a_slow_follower_gets_everything_and_is_kept_nothing_for(backend, monkeypatch):
    monkeypatch.setattr(tail, "RECENT_BYTES", 1000)
    streams = Streams(House(backend))
    messages = streams.declare("/log", content_type="text/plain")
    slow, quick = Reading(streams, "/log", "-1"), Reading(streams, "/log", "-1")
    await slow.until_begun()
    for number in range(100):
        await messages.append(f"{number:0100d}")
        await quick.until(lambda number=number: len(quick.items) > number)
    kept = streams.service.tails()._tails["/log"]
    assert kept._size <= 1100
    await slow.until(lambda: len(slow.items) == 100)
    assert slow.items == quick.items


async def test_a_follower_that_is_too_far_behind_is_told_so(backend, monkeypatch):
    monkeypatch.setattr(tail, "RECENT_BYTES", 10)
    streams = Streams(House(backend))
    messages = streams.declare("/log", keep=5)
    slow = Reading(streams, "/log", "-1")
    await slow.until_begun()
    await messages.append("first")
    await slow.until(lambda: len(slow.items) == 1)
    for number in range(300):
        await messages.append(number)
    await slow.until(lambda: slow.gone is not None)
    assert slow.gone.document["status"] == 410


async def test_who_waited_for_a_stream_is_not_given_it_with_a_hole(backend):
    streams = Streams(House(backend))
    messages = streams.declare("/log", keep=5)
    slow = Reading(streams, "/log", "0")
    await slow.until_begun()
    slow.follower.close()
    for number in range(300):
        await messages.append(number)
    again = Reading(streams, "/log", slow.follower.offset)
    await again.until(lambda: again.gone is not None)
    assert again.gone.document["status"] == 410


async def test_a_lost_hint_is_made_good(tmp_path: Path):
    """Another process appends, and its announcement does not come."""
    here = Streams(House(SqliteBackend(tmp_path / "s.db"), recheck=0.2))
    there = Streams(House(SqliteBackend(tmp_path / "s.db")))
    here.declare("/log")
    messages = there.declare("/log")
    reading = Reading(here, "/log", "-1")
    await reading.until_begun()
    await messages.append(1)
    await reading.until_items(b"1")
    reading.follower.close()


async def test_a_hint_of_another_process_is_followed_at_once(tmp_path: Path):
    here = Streams(House(SqliteBackend(tmp_path / "s.db")))
    there = Streams(House(SqliteBackend(tmp_path / "s.db")))
    here.declare("/log")
    messages = there.declare("/log")
    reading = Reading(here, "/log", "-1")
    await reading.until_begun()
    await messages.append(1)
    await asyncio.to_thread(here.grew, ["/log"])
    await reading.until_items(b"1")
    await asyncio.to_thread(messages.blocking.append, 2)
    await asyncio.to_thread(here.grew, None)
    await reading.until_items(b"1", b"2")
    reading.follower.close()


async def test_a_backend_that_is_away_ends_nobody(backend, monkeypatch):
    monkeypatch.setattr(tail, "AGAIN", 0.05)
    streams = Streams(House(backend))
    messages = streams.declare("/log")
    await messages.append(1)
    reading = Reading(streams, "/log", "-1")
    await reading.until_items(b"1")
    read, away = backend.read, [3]

    def failing(*args: Any) -> Any:
        if away[0]:
            away[0] -= 1
            raise BackendUnavailable("away")
        return read(*args)

    backend.read = failing
    late = Reading(streams, "/log", "-1")
    await messages.append(2)
    await reading.until_items(b"1", b"2")
    await late.until_items(b"1", b"2")
    assert away == [0]


@pytest.mark.parametrize("seed", range(4))
async def test_followers_that_come_at_any_time_get_everything_once_and_in_order(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    streams = Streams(House(SqliteBackend(tmp_path / "s.db")))
    messages = streams.declare("/log", content_type="text/plain")
    readings: list[Reading] = [Reading(streams, "/log", "-1")]

    async def write() -> None:
        for number in range(60):
            await messages.append(f"{number};")
            if chance.random() < 0.2:
                begin = chance.choice(["-1", "now", readings[0].follower.offset or "-1"])
                readings.append(Reading(streams, "/log", begin))
                await readings[0].until(lambda number=number: len(readings[0].items) > number // 2)

    await write()
    await messages.append("60;")
    whole = [f"{number};".encode() for number in range(61)]
    for reading in readings:
        await reading.until(lambda reading=reading: bool(reading.items) and reading.items[-1] == whole[-1])
        assert reading.items == whole[61 - len(reading.items) :]
        reading.follower.close()
