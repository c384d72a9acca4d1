"""``python -m benchmarks.crowd``: thousands of watchers, and one change that all of them see.

Restive through plain ASGI and on the fast path, beside the same broadcast written by hand in FastAPI on the
same uvicorn, beside the peers that are installed, and beside the floor: a bare loop of send(2). ``--table
burst``: 20 resources change at once, ``--table private``: each watcher has a rendering of its own.
"""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from . import peers, rows
from .case import Case, Load
from .generator import NotToldError, allow_files
from .server import HOST
from .table import machine, ratio, table
from .trial import Opened, Sample, Trial, middle, trial

LOADS = {
    "crowd": Load(10_000),
    "burst": Load(10_000, resources=20),
    "private": Load(10_000, size=200, private=True),
}
TITLES = {
    "crowd": "{0.watchers} watchers of one resource, one change",
    "burst": "{0.watchers} watchers of {0.resources} resources each, one change of all of them in one tick",
    "private": "{0.watchers} watchers with a credential and {0.size} bytes of their own each, one change",
}
QUIET = 0.2
"""Seconds until the floor has nothing more to do."""


@dataclass(frozen=True)
class Found:
    """What one row cost."""

    opened: Opened
    changes: Sequence[Sample]
    floors: Sequence[float]
    """Seconds of CPU for each message of the floor, right before each change and after the last."""

    def cost(self) -> float:
        """Seconds of the server's CPU for each message, the median."""
        return middle(each.cost for each in self.changes)


def compare(cases: Sequence[Case], load: Load, changes: int) -> dict[str, Found]:
    """Run the rows one after the other, each change between two of the floor; one that fails is left out."""
    found = {}
    with ExitStack() as stack:
        floor = None if load.private else stack.enter_context(trial(rows.floor(load), load))
        if floor:
            opened = floor.open(QUIET)
            samples = [floor.change(QUIET) for _ in range(changes)]
            found[floor.case.name] = Found(opened, samples, [each.cost for each in samples])
            keeps_up(floor)
        for case in cases:
            try:
                with trial(case, load) as row:
                    found[case.name] = measure(row, floor, changes)
            except (NotToldError, TimeoutError) as error:
                print(f"{case.name} failed: {error}", flush=True)
    return found


def measure(row: Trial, floor: Trial | None, changes: int) -> Found:
    """One row."""
    opened = row.open()
    floors, samples = [], []
    for _ in range(changes):
        floors += [floor.change(QUIET).cost] if floor else []
        samples.append(row.change())
    floors += [floor.change(QUIET).cost] if floor else []
    return Found(opened, samples, floors)


def keeps_up(floor: Trial) -> None:
    """How fast the floor sends, and the generator takes what lies ready: who is the slower of the two?"""
    count = floor.generator.count
    sending, taking, shares = [], [], []
    for _ in range(3):
        shares.append(floor.change(QUIET).share)
        sending.append(took(floor.server.port) / count)
        told = floor.change(QUIET, hold=1000 + count // 10).told
        taking.append((told.last - told.begin) / count)
    print(
        f"For each watcher the floor sends for {middle(sending) * 1e6:.2f} µs, the generator busy for "
        f"{middle(shares):.0%} of that; where all lies ready it takes {middle(taking) * 1e6:.2f} µs.",
        flush=True,
    )


def took(port: int) -> float:
    """Seconds that the floor's last loop took."""
    connection = http.client.HTTPConnection(HOST, port)
    connection.request("GET", "/took")
    return int(connection.getresponse().read()) / 1e6


def show(title: str, found: dict[str, Found]) -> None:
    """Print the table."""
    lines = []
    for name, row in found.items():
        floor = ratio(row.cost(), middle(row.floors)) if row.floors else ""
        half, p99, share = (
            middle(getattr(each, what) for each in row.changes) for what in ("half", "p99", "share")
        )
        lines.append((
            name, row.opened.memory / 1024, row.opened.cost * 1e6, half * 1e3, p99 * 1e3, row.cost() * 1e6,
            floor, f"{row.opened.idle:.1%}", f"{share:.0%}",
        ))  # fmt: skip
    columns = (
        "", "KB each", "µs to open", "p50 ms", "p99 ms", "µs/message", "/ floor", "idle CPU",
        "generator's CPU",
    )  # fmt: skip
    table(title, columns, lines)


def selected(load: Load, only: Sequence[str]) -> list[Case]:
    """The rows of Restive and of the peers whose names contain one of ``only``; all without."""
    found = [*rows.cases(load), *peers.cases(load)]
    return [case for case in found if not only or any(word in case.name for word in only)]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=LOADS, default="crowd")
    parser.add_argument("--watchers", type=int, help="watchers in each row (10000)")
    parser.add_argument("--changes", type=int, default=5, help="changes in each row (5)")
    parser.add_argument("--rows", action="append", default=[], help="only rows with this in their name")
    given = parser.parse_args()
    load = LOADS[given.table]
    if given.watchers:
        load = Load(given.watchers, load.resources, load.size, load.private)
    allow_files()
    machine()
    print(peers.versions(), flush=True)
    cases = selected(load, given.rows)
    found = compare(cases, load, given.changes)
    show(TITLES[given.table].format(load), found)
    if missing := peers.missing():
        print(missing)
    if any(case.name not in found for case in cases):
        raise SystemExit("A row failed.")


if __name__ == "__main__":
    main()
