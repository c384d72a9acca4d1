"""What the adapter costs beside psycopg used directly: ``python -m benchmarks.backends_postgres URL``.

Each figure is the adapter's and then the raw engine's, done in the same way: one item of 100 bytes per
append; pages of 1000; the delay from ``announce`` to a listener in another process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import psycopg

from restive.backends.postgres import PostgresBackend

ITEM = b"x" * 100
SECONDS = 1.0
ROUNDS = 5
TABLE = "CREATE TABLE IF NOT EXISTS restive_raw (id bigserial PRIMARY KEY, item bytea NOT NULL)"


def rate(threads: int, once: Callable[[int], object]) -> float:
    """Calls of ``once`` per second, from so many threads; it gets the number of its thread."""
    counts = [0] * threads
    until = time.monotonic() + SECONDS

    def run(number: int) -> None:
        while time.monotonic() < until:
            once(number)
            counts[number] += 1

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / SECONDS


def appends(backend: PostgresBackend, threads: int, streams: int) -> float:
    """Appends per second, to one stream or to one of each thread."""
    return rate(threads, lambda number: backend.append(f"s{number % streams}", [ITEM]))


def raw_inserts(url: str, threads: int) -> float:
    """INSERTs per second, each a transaction, on a connection of each thread."""
    connections = [psycopg.connect(url, autocommit=True) for _ in range(threads)]
    connections[0].execute(TABLE)
    statement = "INSERT INTO restive_raw (item) VALUES (%b) RETURNING id"
    try:
        return rate(threads, lambda number: connections[number].execute(statement, (ITEM,)).fetchone())
    finally:
        for connection in connections:
            connection.close()


def write(backend: PostgresBackend, size: int, count: int) -> None:
    """A stream of ``count`` items."""
    each = min(500, 4_000_000 // size)
    for _ in range(0, count, each):
        backend.append(f"read-{size}", [b"x" * size] * each)


def reading(backend: PostgresBackend, size: int) -> float:
    """MB/s of reading it from its start, in pages."""
    begun, after, total = time.perf_counter(), "", 0
    while True:
        page = backend.read(f"read-{size}", after)
        total += sum(map(len, page.items))
        after = page.next
        if page.up_to_date:
            return total / (time.perf_counter() - begun) / 1e6


def raw_write(url: str, size: int, count: int) -> None:
    """As many rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS restive_raw")
        connection.execute(TABLE)
        insert = "INSERT INTO restive_raw (item) SELECT %b::bytea FROM generate_series(1, %s)"
        connection.execute(insert, (b"x" * size, count))


def raw_reading(url: str, size: int) -> float:
    """MB/s of reading them in pages by their key, in binary."""
    with psycopg.connect(url, autocommit=True) as connection:
        page = max(1, min(1000, 4_194_304 // size))
        select = "SELECT id, item FROM restive_raw WHERE id > %b ORDER BY id LIMIT %b"
        begun, after, total = time.perf_counter(), 0, 0
        while rows := connection.execute(select, (after, page), binary=True).fetchall():
            total += sum(len(item) for _, item in rows)
            after = rows[-1][0]
        return total / (time.perf_counter() - begun) / 1e6


ANNOUNCER = """
import sys, threading, time
from restive.backends.postgres import PostgresBackend
url, name, count, threads, pause = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
backend = PostgresBackend(url, name=name)
def run():
    for _ in range(int(count / threads)):
        backend.announce(b"%.6f" % time.time())
        time.sleep(pause)
workers = [threading.Thread(target=run) for _ in range(int(threads))]
for worker in workers: worker.start()
for worker in workers: worker.join()
"""


def announcements(url: str, count: int, threads: int, pause: float) -> tuple[float, float]:
    """Announcements per second that a listener here takes from another process; their median delay in ms."""
    backend = PostgresBackend(url, name=uuid4().hex)
    heard: list[tuple[float, float]] = []
    over = threading.Event()

    def listen(payload: bytes | None) -> None:
        heard.append((time.time(), float(payload or 0)))
        if len(heard) >= count:
            over.set()

    backend.listen(listen)
    command = [sys.executable, "-c", ANNOUNCER, url, backend.name, str(count), str(threads), str(pause)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL):
        over.wait(60)
    backend.close()
    delays = [now - then for now, then in heard if then]
    return len(heard) / (heard[-1][0] - heard[0][0]), statistics.median(delays) * 1000


def compare(what: str, *measures: Callable[[], float]) -> None:
    """The medians of rounds in turn, so that what else the machine does slows all alike."""
    rounds = [[measure() for measure in measures] for _ in range(ROUNDS)]
    *ours, raw = map(statistics.median, zip(*rounds, strict=True))
    print(f"{what}: {', '.join(f'{figure:.0f} ({figure / raw:.2f})' for figure in ours)}, raw {raw:.0f}")


def main(url: str) -> None:
    backend = PostgresBackend(url, name=uuid4().hex)
    compare("appends/s, 1 thread", lambda: appends(backend, 1, 1), lambda: raw_inserts(url, 1))
    eight = (lambda: appends(backend, 8, 1), lambda: appends(backend, 8, 8))
    compare("appends/s, 8 threads, to one stream, to 8", *eight, lambda: raw_inserts(url, 8))
    for size, count in ((100, 50_000), (10_000, 4_000), (1_000_000, 60)):
        write(backend, size, count), raw_write(url, size, count)
        what = f"MB/s read, items of {size} bytes"
        compare(what, lambda size=size: reading(backend, size), lambda size=size: raw_reading(url, size))
    backend.close()
    print(
        "announcements/s heard of 8 threads: {:.0f}; delay {:.1f} ms".format(*announcements(url, 8000, 8, 0))
    )
    print("delay of one by one, median: {1:.2f} ms".format(*announcements(url, 300, 1, 0.01)))


if __name__ == "__main__":
    main(sys.argv[1])
