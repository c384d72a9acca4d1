"""``python -m benchmarks.backends_redis``: the Redis backend beside redis-py used directly, on one server.

Raw are XADD and XRANGE through a ``redis.Redis`` of redis-py's own settings; both have the same server, which
syncs its file every second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from restive.backends.port import Announce
from restive.backends.redis import RedisBackend

ITEM = b"x" * 100
HEARD = """
import sys, time
from restive.backends.redis import RedisBackend
def heard(payload):
    print(time.monotonic_ns() - int(payload), flush=True)
RedisBackend(sys.argv[1], name="bench").listen(heard)
print("listening", flush=True)
sys.stdin.read()
"""


def rate(call: Callable[[], object], threads: int, seconds: float = 2.0) -> float:
    """Calls a second by so many threads."""
    end = time.monotonic() + seconds
    counts = [0] * threads

    def run(number: int) -> None:
        while time.monotonic() < end:
            call()
            counts[number] += 1

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def appends(backend: RedisBackend, raw: redis.Redis, threads: int) -> tuple[float, float]:
    """Appends of one item a second, raw and ours."""
    return (
        rate(lambda: raw.xadd("raw", {"i": ITEM}), threads),
        rate(lambda: backend.append("s", [ITEM]), threads),
    )


def reads(backend: RedisBackend, raw: redis.Redis, size: int, total: int) -> tuple[float, float]:
    """MB/s of reading a stream from its start in pages, raw and ours."""
    count, page = total // size, min(1000, 4_000_000 // size)
    for start in range(0, count, page):
        together = [b"x" * size] * min(page, count - start)
        with raw.pipeline(transaction=False) as pipeline:
            for item in together:
                pipeline.xadd(f"raw{size}", {"i": item})
            pipeline.execute()
        backend.append(f"s{size}", together)
    begun = time.perf_counter()
    after = "-"
    while entries := raw.xrange(f"raw{size}", after, "+", page):
        after = "(" + entries[-1][0].decode()
    between = time.perf_counter()
    found, seen = backend.read(f"s{size}"), 0
    while not found.up_to_date:
        seen += len(found.items)
        found = backend.read(f"s{size}", found.next)
    ended = time.perf_counter()
    assert seen + len(found.items) == count
    return count * size / (between - begun) / 1e6, count * size / (ended - between) / 1e6


def absorbed(announcer: RedisBackend, listener: RedisBackend, count: int) -> float:
    """Announcements a second that one listener takes."""
    over = threading.Event()
    listener.listen(lambda payload: over.set() if payload == b"end" else None)
    begun = time.perf_counter()
    for _ in range(count // 200):
        announcer.apply([Announce(ITEM)] * 200)
    announcer.announce(b"end")
    over.wait(60)
    listener.close()
    return count / (time.perf_counter() - begun)


def delay(url: str, backend: RedisBackend, count: int = 300) -> list[float]:
    """Milliseconds from announcing until another process has heard, one at a time."""
    command = [sys.executable, "-c", HEARD, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = []
        for _ in range(count):
            backend.announce(b"%d" % time.monotonic_ns())
            found.append(int(process.stdout.readline()) / 1e6)
            time.sleep(0.002)
        process.kill()
    return found


def show(what: str, theirs: float, ours: float) -> None:
    print(f"{what}: raw {theirs:.0f}, ours {ours:.0f} ({ours / theirs:.2f})")


def main() -> None:
    """Print all of it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from engines.redis_server import RedisServer

    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), appendfsync="everysec")
        server.start()
        try:
            backend, raw = RedisBackend(server.url, name="bench"), redis.Redis.from_url(server.url)
            for threads in (1, 8):
                theirs, ours = appends(backend, raw, threads)
                print(
                    f"appends/s, {threads} threads: raw {theirs:.0f}, ours {ours:.0f} ({ours / theirs:.2f})"
                )
            for size, total in ((100, 5_000_000), (1000, 50_000_000), (100_000, 200_000_000)):
                theirs, ours = reads(backend, raw, size, total)
                show(f"read MB/s, {size} bytes", theirs, ours)
            listener = RedisBackend(server.url, name="bench")
            print(f"announcements/s heard: {absorbed(backend, listener, 20_000):.0f}")
            late = delay(server.url, backend)
            print(f"announce to heard, ms: {statistics.median(late):.2f}, at worst {max(late):.1f}")
            backend.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
