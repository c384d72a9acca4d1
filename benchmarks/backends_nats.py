"""``python -m benchmarks.backends_nats``: the NATS backend beside nats-py used directly, on one server.

Raw are JetStream publishes from as many threads, through a connection in an event loop of its own, and
batched direct gets.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
from nats.aio.client import Client

from restive.backends.nats import NatsBackend
from restive.backends.port import Announce, Append, Save

ITEM = b"x" * 100
HEARD = """
import sys, time
from restive.backends.nats import NatsBackend
def heard(payload):
    print(time.monotonic_ns() - int(payload), flush=True)
NatsBackend(sys.argv[1], name="bench").listen(heard)
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


async def raw_client(url: str) -> Client:
    """A connection, and a stream to publish to."""
    client = await nats.connect(url)
    config = {"name": "RAW", "subjects": ["raw.>"], "storage": "file", "allow_direct": True}
    await client.request("$JS.API.STREAM.CREATE.RAW", json.dumps(config).encode())
    return client


def raw_appends(url: str, threads: int) -> float:
    """Acknowledged publishes a second from so many threads, over one connection in a loop of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    client = wait(raw_client(url))
    try:
        return rate(lambda: wait(client.request("raw.s", ITEM, timeout=5)), threads)
    finally:
        wait(client.close())
        loop.call_soon_threadsafe(loop.stop)


async def raw_reads(url: str, size: int, count: int, page: int) -> float:
    """MB/s of batched direct gets."""
    client = await raw_client(url)
    js = client.jetstream()
    futures = [await js.publish_async(f"raw.{size}", b"x" * size) for _ in range(count)]
    await asyncio.gather(*futures)
    inbox = client.new_inbox()
    sub = await client.subscribe(inbox)
    begun, seen, sequence = time.perf_counter(), 0, 1
    while seen < count:
        question = {"seq": sequence, "next_by_subj": f"raw.{size}", "batch": page, "max_bytes": 2**22}
        await client.publish("$JS.API.DIRECT.GET.RAW", json.dumps(question).encode(), reply=inbox)
        while True:
            message = await sub.next_msg(5)
            headers = message.headers or {}
            if "Status" in headers:
                break
            seen, sequence = seen + 1, int(headers["Nats-Sequence"]) + 1
    took = time.perf_counter() - begun
    await client.close()
    return size * count / took / 1e6


def reads(backend: NatsBackend, size: int, count: int, each: int) -> float:
    """MB/s of reading a stream that was written with so many items in an append."""
    stream = f"s{size}/{each}"
    for start in range(0, count, each):
        backend.append(stream, [b"x" * size] * min(each, count - start))
    begun, seen = time.perf_counter(), 0
    page = backend.read(stream)
    while not page.up_to_date:
        seen += len(page.items)
        page = backend.read(stream, page.next)
    assert seen + len(page.items) == count
    return size * count / (time.perf_counter() - begun) / 1e6


def absorbed(announcer: NatsBackend, listener: NatsBackend, count: int) -> float:
    """Announcements a second that one listener takes."""
    over = threading.Event()
    heard: list[bytes | None] = []

    def listen(payload: bytes | None) -> None:
        heard.append(payload)
        if payload == b"end":
            over.set()

    listener.listen(listen)
    begun = time.perf_counter()
    for _ in range(count // 200):
        announcer.apply([Announce(ITEM)] * 200)
    announcer.announce(b"end")
    over.wait(60)
    took = time.perf_counter() - begun
    listener.close()
    assert len(heard) == count + 1, heard.count(None)
    return count / took


def delay(url: str, backend: NatsBackend, count: int = 300) -> list[float]:
    """Milliseconds from announcing until another process has heard, one at a time."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HEARD, url], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = []
        for _ in range(count):
            backend.announce(b"%d" % time.monotonic_ns())
            found.append(int(process.stdout.readline()) / 1e6)
            time.sleep(0.002)
        process.kill()
    return found


def batches(backend: NatsBackend, threads: int) -> float:
    """Batches a second of four steps, as an operation's."""
    count = iter(range(10**9))

    def apply() -> None:
        name = f"op/{threads}/{next(count)}"
        backend.apply([Save(f"open/{name}", b"", None), Save(name, ITEM), Save(f"in/{name}", ITEM, None)])

    return rate(apply, threads)


def measure(url: str) -> None:
    """Print all of it."""
    backend = NatsBackend(url, name="bench")
    for threads in (1, 8):
        theirs = raw_appends(url, threads)
        ours = rate(lambda: backend.append("s", [ITEM]), threads)
        print(f"appends/s, {threads} at once: raw {theirs:.0f}, ours {ours:.0f} ({ours / theirs:.2f})")
    told = rate(lambda: backend.apply([Append("t", [ITEM]), Announce(ITEM)]), 8)
    print(f"appends with announcement/s, 8 threads: {told:.0f}")
    for threads in (1, 8):
        print(f"batches of 3 saves/s, {threads} threads: {batches(backend, threads):.0f}")
    for size, count in ((100, 20_000), (1000, 20_000), (100_000, 1000)):
        theirs = asyncio.run(raw_reads(url, size, count, 512))
        singly, together = reads(backend, size, count, 1), reads(backend, size, count, 100)
        print(f"read MB/s, {size} bytes: raw {theirs:.1f}, ours {singly:.1f}, of packs {together:.1f}")
    heard = absorbed(backend, NatsBackend(url, name="bench"), 20_000)
    print(f"announcements/s heard: {heard:.0f}")
    late = delay(url, backend)
    print(f"announce to heard, ms: {statistics.median(late):.2f}, at worst {max(late):.1f}")
    backend.close()


def main() -> None:
    """Measure on a server of its own."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from engines.nats_server import NatsServer

    with TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        try:
            server.start()
            measure(server.url)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
