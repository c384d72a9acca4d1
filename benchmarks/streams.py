"""``python -m benchmarks.streams``: a stream of ``live.stream`` beside the engine it is kept in, by hand.

The same server, the same items of JSON, as many writers at once: coroutines that await each append. By hand
are XADD, a JetStream publish that waits for its acknowledgement, an INSERT in a transaction of its own. A
stream adds to that the check that nobody else wrote first, and the announcement to the other nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI

from restive import Restive

from .engines_running import ENGINES, running
from .table import machine, ratio, table

Append = Callable[[bytes], Awaitable[object]]
Read = Callable[[int], Awaitable[int]]
"""Reads all items in pages of so many; the bytes read."""

PAGE = 1000
WRITERS = (1, 8, 64)


@asynccontextmanager
async def by_hand(engine: str, url: str) -> AsyncIterator[tuple[Append, Read]]:
    """The engine's own append and read."""
    kinds = {"sqlite": _sqlite, "redis": _redis, "nats": _nats, "postgres": _postgres}
    async with kinds[engine](url) as found:
        yield found


@asynccontextmanager
async def _sqlite(url: str) -> AsyncIterator[tuple[Append, Read]]:
    database = sqlite3.connect(Path(urlsplit(url).path).with_name("raw.db"), isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, item BLOB)")

    async def append(item: bytes) -> None:
        database.execute("INSERT INTO raw (item) VALUES (?)", (item,))

    async def read(page: int) -> int:
        after = total = 0
        select = "SELECT id, item FROM raw WHERE id > ? ORDER BY id LIMIT ?"
        while rows := database.execute(select, (after, page)).fetchall():
            total, after = total + sum(len(item) for _, item in rows), rows[-1][0]
        return total

    yield append, read
    database.close()


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[tuple[Append, Read]]:
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url)

    async def append(item: bytes) -> None:
        await client.xadd("raw", {"i": item})

    async def read(page: int) -> int:
        after, total = "-", 0
        while entries := await client.xrange("raw", after, "+", page):
            total, after = (
                total + sum(len(entry[b"i"]) for _, entry in entries),
                f"({entries[-1][0].decode()}",
            )
        return total

    yield append, read
    await client.aclose()


@asynccontextmanager
async def _nats(url: str) -> AsyncIterator[tuple[Append, Read]]:
    import nats
    from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig

    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="RAW", subjects=["raw"]))

    async def append(item: bytes) -> None:
        await js.publish("raw", item)

    async def read(page: int) -> int:
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy="none")
        sub = await js.pull_subscribe("raw", stream="RAW", config=config)
        total, left = 0, (await js.stream_info("RAW")).state.messages
        while left:
            found = await sub.fetch(min(page, left))
            total, left = total + sum(len(each.data) for each in found), left - len(found)
        return total

    yield append, read
    await client.close()


@asynccontextmanager
async def _postgres(url: str) -> AsyncIterator[tuple[Append, Read]]:
    import psycopg

    count = 8  # connections, as many as Restive uses threads
    idle: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()
    for _ in range(count):
        idle.put_nowait(await psycopg.AsyncConnection.connect(url, autocommit=True))
    first = idle._queue[0]  # type: ignore[attr-defined]  # noqa: SLF001
    await first.execute("CREATE TABLE raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item bytea)")

    async def append(item: bytes) -> None:
        connection = await idle.get()
        await connection.execute("INSERT INTO raw (item) VALUES (%b)", (item,))
        idle.put_nowait(connection)

    async def read(page: int) -> int:
        after = total = 0
        select = "SELECT id, item FROM raw WHERE id > %s ORDER BY id LIMIT %s"
        while rows := await (await first.execute(select, (after, page), binary=True)).fetchall():
            total, after = total + sum(len(item) for _, item in rows), rows[-1][0]
        return total

    yield append, read
    while not idle.empty():
        await idle.get_nowait().close()


@asynccontextmanager
async def stream(url: str) -> AsyncIterator[tuple[Append, Read]]:
    """A stream's append and read, as an app calls them."""
    live = Restive(FastAPI(), backend=url, name="bench")
    log = live.stream("/log")

    async def append(item: bytes) -> None:
        await log.append({"text": item.decode()})

    async def read(page: int) -> int:
        offset, total = "-1", 0
        while True:
            found = await log.read(offset, page)
            total += sum(len(each["text"]) + len('{"text":""}') for each in found.items)
            offset = found.offset
            if found.up_to_date:
                return total

    yield append, read
    live.backend.close()


async def rate(append: Append, writers: int, item: bytes, seconds: float) -> float:
    """Appends a second by so many at once."""
    end, done = time.perf_counter() + seconds, 0

    async def write() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await append(item)
            done += 1
            await asyncio.sleep(0)

    begin = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return done / (time.perf_counter() - begin)


async def pace(read: Read) -> float:
    """MB/s of reading everything."""
    begin = time.perf_counter()
    return await read(PAGE) / (time.perf_counter() - begin) / 1e6


async def measure(engine: str, seconds: float, size: int) -> list[tuple[object, ...]]:
    """The rows of one engine: raw and ours in turns, so that both have the same machine."""
    text = "x" * size
    item = json.dumps({"text": text}, separators=(",", ":")).encode()
    rows: list[tuple[object, ...]] = []
    with running(engine) as url:
        async with by_hand(engine, url) as (raw, raw_read), stream(url) as (own, own_read):
            for writers in WRITERS:
                theirs = await rate(raw, writers, item, seconds)
                ours = await rate(own, writers, text.encode(), seconds)
                rows.append((f"{engine}, {writers} at once, appends/s", theirs, ours, ratio(ours, theirs)))
            theirs, ours = await pace(raw_read), await pace(own_read)
            rows.append((f"{engine}, read MB/s", theirs, ours, ratio(ours, theirs)))
    return rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", action="append", choices=ENGINES, help="one of them; default: all")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each rate (2)")
    parser.add_argument("--size", type=int, default=1000, help="bytes of an item (1,000)")
    given = parser.parse_args()
    machine()
    rows = [
        row
        for engine in given.engine or ENGINES
        for row in asyncio.run(measure(engine, given.seconds, given.size))
    ]
    table(f"A stream of items of {given.size} bytes", ("", "by hand", "live.stream", "ratio"), rows)


if __name__ == "__main__":
    main()
