"""``python -m benchmarks.crowd``: thousands of watchers of one resource, and one PUT that all of them see.

Through plain ASGI and on the fast path, beside the same broadcast written by hand in FastAPI on the same
uvicorn, and beside the floor: a bare loop of send(2), built with ``cc``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import wire
from .apps import order
from .server import Server, running, serving
from .table import machine, quantile, ratio, table
from .watchers import Watchers

SETTLED = 1.5
"""Seconds after a change until the server is quiet again; Restive looks once more after 1 s."""


@dataclass(frozen=True)
class Case:
    """An app, and how its watchers reach it."""

    name: str
    app: str
    """None of Python: the floor."""
    kind: str
    target: str
    options: tuple[str, ...] = ()
    """Options of uvicorn."""


FAST = ("--http", "restive.transports.uvicorn:Http", "--ws", "restive.transports.uvicorn:WebSocket")

CASES = (
    Case("a bare loop of send(2) in C", "", "stream", "/watch"),
    Case("FastAPI by hand, WebSocket", "hand_made", "socket", "/watch"),
    Case("Restive, WebSocket", "live_app", "websocket", "/orders/3"),
    Case("Restive, WebSocket, fast path", "live_app", "websocket", "/orders/3", FAST),
    Case("FastAPI by hand, SSE", "hand_made", "stream", "/stream"),
    Case("Restive, SSE", "live_app", "stream", "/orders/3?live=sse"),
    Case("Restive, SSE, fast path", "live_app", "stream", "/orders/3?live=sse", FAST),
)


@dataclass(frozen=True)
class Found:
    """What one case cost."""

    memory: float
    """Bytes for each watcher."""
    opening: float
    """Seconds of the server's CPU to open one."""
    first: float
    half: float
    last: float
    """Seconds from PUT until the first, half of the, and all watchers had the state; medians."""
    cost: float
    """Seconds of the server's CPU for each message that was delivered, median."""
    idle: float
    """Share of one CPU that the server takes when nothing happens."""


def measure(case: Case, count: int, changes: int) -> Found:
    """Run one case."""
    with served(case) as server:
        before, cpu = server.memory(), server.cpu()
        with closing(Watchers(server.port, case.kind, case.target, count)) as watchers:
            opening = (server.cpu() - cpu) / count
            time.sleep(SETTLED)
            memory = (server.memory() - before) / count
            idle = idle_share(server)
            times, costs = [], []
            for version in range(1, changes + 1):
                cpu = server.cpu()
                request = wire.request("PUT", "/orders/3", document=order(version))
                times.append(watchers.change(version, request))
                time.sleep(SETTLED)
                costs.append((server.cpu() - cpu - idle * (max(times[-1]) + SETTLED)) / count)
    first, half, last = (statistics.median(quantile(each, q) for each in times) for q in (0, 0.5, 1))
    return Found(memory, opening, first, half, last, statistics.median(costs), idle)


@contextmanager
def served(case: Case) -> Iterator[Server]:
    """The server of a case."""
    if case.app:
        with serving(f"benchmarks.apps:{case.app}", options=case.options) as server:
            yield server
        return
    with TemporaryDirectory() as folder:
        program = f"{folder}/floor"
        subprocess.run(["cc", "-O2", "-o", program, str(Path(__file__).with_name("floor.c"))], check=True)
        with running([program]) as server:
            yield server


def idle_share(server: Server, seconds: float = 3.0) -> float:
    """Share of one CPU that it takes without a change."""
    cpu = server.cpu()
    time.sleep(seconds)
    return (server.cpu() - cpu) / seconds


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=5000, help="watchers in each case (5000)")
    parser.add_argument("--changes", type=int, default=5, help="changes in each case (5)")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    machine()
    show(given.watchers, {case.name: measure(case, given.watchers, given.changes) for case in CASES})


def show(count: int, found: dict[str, Found]) -> None:
    """Print the table."""
    floor, *cases = found.items()
    lines = []
    for place, (name, row) in enumerate([floor, *cases]):
        peer = cases[(place - 1) // 3 * 3][1] if place else row
        lines.append((
            name, row.memory / 1024, ratio(row.memory, peer.memory), row.opening * 1e6,
            row.first * 1e3, row.half * 1e3, row.last * 1e3, ratio(row.last, peer.last),
            row.cost * 1e6, ratio(row.cost, peer.cost), ratio(row.cost, floor[1].cost), f"{row.idle:.1%}",
        ))  # fmt: skip
    columns = (
        "", "KB each", "/ by hand", "µs to open", "first ms", "half ms", "all ms", "/ by hand",
        "µs/message", "/ by hand", "/ floor", "idle CPU",
    )  # fmt: skip
    table(f"{count} watchers of one resource, one PUT", columns, lines)


if __name__ == "__main__":
    main()
