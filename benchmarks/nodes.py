"""``python -m benchmarks.nodes``: what a second node adds to a push, and how many announcements a node takes.

Two nodes share a backend and an app's state. The first row of each engine is a PUT and its push on one node,
the second one has its watcher on the other node; both take turns.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from restive.announcements import pack, unpack
from restive.backends import open_backend
from restive.http.invalidation import Change

from . import wire
from .engines_running import ENGINES, running
from .rows import FAST
from .server import serving
from .table import machine, quantile, ratio, table
from .talk import Connection, Watcher, socket_watcher

COUNTERS = 1000
NO_PINGS = ("--ws-ping-interval", "1000")


def delays(url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from the PUT to the push, on the node that took it and on the other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "state").write_bytes(b"%016d" % 0 * COUNTERS)
        env = {"NODES_STATE": str(folder / "state"), "RESTIVE_BACKEND": url, "RESTIVE_HOME": str(folder)}
        options = (*NO_PINGS, *FAST)
        ports = [
            stack.enter_context(serving("benchmarks.nodes_app:app", options=options, environment=env)).port
            for _ in range(2)
        ]
        writer = Connection(ports[0])
        watchers: list[Watcher] = [socket_watcher(port, f"/counters/{n}") for n, port in enumerate(ports)]
        for watcher in watchers:
            watcher.until(b'"version":0}')
        time.sleep(1)  # the nodes listen to each other from the first watch on
        samples: tuple[list[float], list[float]] = ([], [])
        for version in range(1, rounds + 1):
            for number, watcher in enumerate(watchers):
                time.sleep(random.uniform(0.06, 0.09))  # not held up by min_interval
                begin = time.perf_counter()
                writer.socket.sendall(wire.request("PUT", f"/counters/{number}", body=b"%d" % version))
                watcher.until(b'"version":%d}' % version)
                samples[number].append(time.perf_counter() - begin)
                writer.left = b""
                writer.answer()
        return samples


def absorbed(url: str, count: int) -> tuple[float, float]:
    """Announcements a second that a process announces and another handle hears, and the hearer's µs each."""
    announcer, hearer = open_backend(url, name="bench"), open_backend(url, name="bench")
    heard, done = 0, threading.Event()
    spent = 0.0

    def hear(payload: bytes | None) -> None:
        nonlocal heard, spent
        begin = time.thread_time()
        if payload is not None:
            unpack(payload)
        heard += 1
        spent += time.thread_time() - begin
        if payload == last:
            done.set()

    payloads = [pack([Change(f"/counters/{n}")]) for n in range(count)]
    last = payloads[-1]
    hearer.listen(hear)
    begin = time.perf_counter()
    for payload in payloads:
        announcer.announce(payload)
    if not done.wait(60):
        raise TimeoutError("the last announcement was not heard")
    taken = time.perf_counter() - begin
    announcer.close()
    hearer.close()
    return count / taken, spent / count * 1e6


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="pushes per row (300)")
    parser.add_argument("--count", type=int, default=5000, help="announcements (5,000)")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="one of them; default: all")
    given = parser.parse_args()
    machine()
    lines, rates = [], []
    for engine in given.engine or ENGINES:
        with running(engine) as url:
            own, other = delays(url, given.rounds)
            for name, taken in (("its own node", own), ("the other node", other)):
                middle = quantile(taken, 0.5)
                lines.append(
                    (f"{engine}, {name}", middle * 1e3, quantile(taken, 0.99) * 1e3,
                     ratio(middle, quantile(own, 0.5)))
                )  # fmt: skip
            rates.append((engine, *absorbed(url, given.count)))
    table("From PUT to the push at one watcher", ("", "p50 ms", "p99 ms", "p50 / own"), lines)
    table("Announcements, one at a time", ("", "a second", "us each to hear"), rates)


if __name__ == "__main__":
    main()
