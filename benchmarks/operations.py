"""``python -m benchmarks.operations``: long work as a resource, against Celery and bare executors.

All rows have the same number of workers and take turns within each round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from . import operations_bare, operations_crash, operations_memory, operations_progress
from .operations_rows import BareRow, CeleryRow, RestiveRow, Row
from .operations_servers import peers, restive
from .operations_work import PIECE
from .server import Server
from .table import machine, ratio, table

ENGINES = ("threads", "processes")
PEERS: Sequence[Callable[[Server, int], Row]] = (
    CeleryRow,
    lambda server, _: BareRow("threads", server),
    lambda server, _: BareRow("processes", server),
)
PACE = 50.0
"""Submissions per second beside busy workers."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, action="append", help="a part of it; may be repeated")
    parser.add_argument("--workers", type=int, default=2, help="workers of each engine (2)")
    parser.add_argument(
        "--count", type=int, default=2000, help="submissions of each row in each round (2000)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument("--connections", type=int, default=16, help="connections that submit at once (16)")
    parser.add_argument("--queued", type=int, default=10_000, help="operations in the queue (10000)")
    parser.add_argument("--in", dest="folder", default="/tmp", help="folder on the disk that is to be used")
    given = parser.parse_args()
    machine()
    for name in given.only or SECTIONS:
        with tempfile.TemporaryDirectory(prefix="restive-benchmark-", dir=given.folder) as folder:
            SECTIONS[name](given, Path(folder))


def rows(stack: ExitStack, folder: Path, workers: int) -> list[Row]:
    """A row for each way to run functions, all served at once."""
    server, file = stack.enter_context(restive(_made(folder / "restive"), workers))
    peer, broker = stack.enter_context(peers(_made(folder / "peers"), workers))
    ours = [RestiveRow(engine, server, file) for engine in ENGINES]
    return [*(make(peer, broker) for make in PEERS), *ours]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# Throughput


def throughput(given: argparse.Namespace, folder: Path) -> None:
    """Short operations, submitted as fast as they are taken."""
    with ExitStack() as stack:
        found = rows(stack, folder, given.workers)
        for row in found:
            row.round(200, given.connections)  # warm
            row.forget()
        for _ in range(given.rounds):
            for row in found:
                row.round(given.count, given.connections)
    show_throughput(found, given)


def show_throughput(found: Sequence[Row], given: argparse.Namespace) -> None:
    """Print the tables."""
    base = found[0]
    lines = [
        (
            row.name,
            *_rate(row.submitted, base.submitted),
            *_rate(row.completed, base.completed),
            statistics.median(row.p50) * 1e3,
            statistics.median(row.p99) * 1e3,
            statistics.median(row.costs) * 1e6,
        )
        for row in found
    ]
    table(
        f"{given.count} short operations over HTTP, {given.workers} workers, {given.connections} connections",
        ("", "202/s", "/ Celery", "completed/s", "/ Celery", "202 p50 ms", "p99 ms", "server µs each"),
        lines,
    )
    bare = [
        (f"{engine} pool", operations_bare.rate(engine, 10 * given.count, given.workers))
        for engine in ENGINES
    ]
    table("Floor: executor.submit() in a loop, no HTTP, nothing stored", ("", "completed/s"), bare)


def _rate(mine: Sequence[float], its: Sequence[float]) -> tuple[float, str]:
    middle = statistics.median(each / other for each, other in zip(mine, its, strict=True))
    return statistics.median(mine), f"{middle:.2f} x"


# Latency


def latency(given: argparse.Namespace, folder: Path) -> None:
    """From POST to 202, at a steady pace, while the workers are idle and while they compute."""
    lines: list[Sequence[object]] = []
    for place, make in enumerate(PEERS):
        with peers(_made(folder / f"peer-{place}"), given.workers) as (server, broker):
            lines.append(paced(make(server, broker), given.workers))
    for engine in ENGINES:
        with restive(_made(folder / engine), given.workers) as (server, file):
            lines.append(paced(RestiveRow(engine, server, file), given.workers))
    table(
        f"From POST to 202, {PACE:.0f} submissions a second, {given.workers} workers",
        ("", "idle p50 ms", "p99 ms", "busy p50 ms", "p99 ms", "busy / idle"),
        lines,
    )


def paced(row: Row, workers: int) -> Sequence[object]:
    """The row's line; its servers are of no further use, since its workers go on computing."""
    row.round(200, 16)  # warm
    count = int(PACE * 6)
    idle = row.submit("short", count, rate=PACE)
    row.settle()
    row.submit("busy", int(9 / PIECE * workers))
    busy = row.submit("short", count, rate=PACE)
    if not row.waiting():
        raise SystemExit(f"{row.name}: the workers ran out of work.")
    times = [each[name] * 1e3 for each in (idle, busy) for name in ("p50", "p99")]
    return row.name, *times, ratio(busy["p50"], idle["p50"])


SECTIONS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "throughput": throughput,
    "latency": latency,
    "progress": lambda given, folder: operations_progress.measure(folder, given.workers),
    "crash": lambda given, folder: operations_crash.measure(folder, given.workers, given.rounds),
    "memory": lambda given, folder: operations_memory.measure(folder, given.workers, given.queued),
}

if __name__ == "__main__":
    main()
