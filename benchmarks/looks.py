"""``python -m benchmarks.looks``: a user's own request beside 400 looks that wait to be made.

400 watchers, each with a credential of its own, so that each change costs 400 looks. A change is
announced whenever less than half of them still wait; only requests that met waiting looks count.
Blocks with and without looks take turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from contextlib import closing
from functools import partial

from . import wire
from .case import Opening
from .generator import Generator
from .server import Server, serving
from .table import machine, quantile, ratio, table
from .talk import Connection

KINDS = {
    "compute": "async def, 1 ms of CPU",
    "block": "def in the thread pool, sleeps 5 ms",
    "wait": "async def, awaits 20 ms",
}
QUIET = 0.3
"""Seconds without a look, after which a block without looks begins."""


class User:
    """One user with a connection, who asks now and then."""

    def __init__(self, server: Server, kind: str, pause: float) -> None:
        self._connection = Connection(server.port)
        self._kind = kind
        self._pause = pause
        self.alone: list[float] = []
        self.beside: list[float] = []
        self.waiting: list[int] = []

    def ask(self) -> tuple[float, int]:
        """One GET after a pause: seconds, and how many looks waited when it was answered."""
        time.sleep(self._pause * random.uniform(0.5, 1.5))
        begin = time.perf_counter()
        self._connection.send("GET", f"/{self._kind}")
        head, _ = self._connection.answer()
        return time.perf_counter() - begin, int(wire.field(head, b"x-waiting") or 0)

    def announce(self) -> None:
        """Something has changed for all watchers."""
        self._connection.send("POST", f"/changes/{self._kind}")
        self._connection.answer()

    def until_quiet(self) -> None:
        """Wait for the end of all looks, and of those that follow a second later."""
        since = time.monotonic()
        while time.monotonic() - since < 1.0 + QUIET:
            if self.ask()[1]:
                since = time.monotonic()

    def block_alone(self, count: int) -> None:
        """Requests that meet no looks."""
        for _ in range(count):
            taken, waiting = self.ask()
            if not waiting:
                self.alone.append(taken)

    def block_beside(self, count: int, watchers: int) -> None:
        """Requests that meet waiting looks, most of them hundreds."""
        waiting = 0
        for _ in range(count):
            if waiting < watchers // 2:
                self.announce()
            taken, waiting = self.ask()
            if waiting:
                self.beside.append(taken)
                self.waiting.append(waiting)


def measure(kind: str, watchers: int, blocks: int, count: int, pause: float) -> User:
    """Run one kind of app."""
    with (
        serving("benchmarks.work:app") as server,
        closing(Generator(server.port, "socket", watchers)) as generator,
    ):
        generator.load(partial(opening, kind))
        generator.open(b'"version":')
        user = User(server, kind, pause)
        for _ in range(blocks):
            user.until_quiet()
            user.block_alone(count)
            user.block_beside(count, watchers)
        return user


def opening(kind: str, number: int) -> Opening:
    """Each watcher has a credential."""
    return Opening(wire.handshake("/-/live", {"authorization": f"Bearer {number}"}), wire.watch(f"/{kind}"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=400, help="watchers, each with a credential (400)")
    parser.add_argument("--blocks", type=int, default=3, help="blocks with and without looks (3)")
    parser.add_argument("--count", type=int, default=80, help="requests in each block (80)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of app (all)")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two requests (0.02)")
    given = parser.parse_args()
    machine()
    rows: list[tuple[object, ...]] = []
    for kind in given.kinds:
        user = measure(kind, given.watchers, given.blocks, given.count, given.pause)
        rows.append(row(KINDS[kind], user))
    columns = (
        "", "p50 ms alone", "beside", "ratio", "mean ms alone", "beside", "ratio", "p99 ms alone", "beside",
        "looks waiting",
    )  # fmt: skip
    table(f"A user's own request beside {given.watchers} looks", columns, rows)


def row(name: str, user: User) -> tuple[object, ...]:
    """One line of the table."""
    if not user.beside:
        raise SystemExit("No request met a waiting look.")
    cells: list[object] = [name]
    for typical in (statistics.median, statistics.fmean):
        alone, beside = typical(user.alone), typical(user.beside)
        cells += [alone * 1e3, beside * 1e3, ratio(beside, alone)]
    cells += [quantile(user.alone, 0.99) * 1e3, quantile(user.beside, 0.99) * 1e3]
    return (*cells, int(statistics.median(user.waiting)))


if __name__ == "__main__":
    main()
