"""``python -m benchmarks.slow``: readers beside clients that never read, against the same readers alone.

Each row has two servers, one with readers alone and one with both; changes of 4 KB take turns between them,
so that both meet the same weather on the machine. The next change comes when all readers have the last one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from . import peers, rows
from .case import Case, Load, mark
from .generator import NotToldError, allow_files, change
from .table import machine, quantile, ratio, table
from .trial import SETTLED, Trial, middle, trial

PAUSE = 0.06
"""Seconds between two changes of one server, more than Restive's ``min_interval``."""


@dataclass
class Side:
    """One of the two servers."""

    trial: Trial
    p99: list[float] = field(default_factory=list)
    """Seconds of each change until 99 % of the readers had it."""
    memory: int = 0
    """Bytes of PSS when all are there."""
    growth: int = 0
    """Bytes more after the changes."""
    cut: int = 0
    """Clients that do not read, closed by the server."""

    def begin(self) -> None:
        """Let everybody come."""
        first = mark(0) if self.trial.case.first else b""
        self.trial.generator.open(first)
        time.sleep(SETTLED)
        self.memory = self.trial.server.memory()

    def step(self) -> None:
        """One change."""
        self.trial.version += 1
        wait = self.trial.generator.expect(mark(self.trial.version))
        begin = change(self.trial.server.port, self.trial.case.change(self.trial.version))
        self.p99.append(wait().p99 - begin)
        time.sleep(PAUSE)

    def end(self) -> None:
        """How it stands."""
        self.growth = self.trial.server.memory() - self.memory
        self.cut = self.trial.generator.lost().lost_deaf


def measure(case: Case, load: Load, deaf: int, changes: int) -> tuple[Side, Side]:
    """Run one row; it ends early where the readers are not told any more."""
    alone = replace(load, watchers=load.watchers - deaf)
    with trial(case, alone) as one, trial(case, load, deaf=deaf) as other:
        sides = Side(one), Side(other)
        for side in sides:
            side.begin()
        with suppress(NotToldError, TimeoutError):  # the latter: the change itself was not answered
            for _ in range(changes):
                for side in sides:
                    side.step()
        for side in sides:
            side.end()
        return sides


def line(name: str, sides: tuple[Side, Side], changes: int) -> Sequence[object]:
    """One line of the table."""
    alone, beside = (middle(side.p99) if side.p99 else 0.0 for side in sides)
    worst = [quantile(side.p99, 0.99) if side.p99 else 0.0 for side in sides]
    stuck = len(sides[1].p99) < changes
    megabytes = [side / 1e6 for side in (sides[0].growth, sides[1].memory, sides[1].growth)]
    return (
        name, alone * 1e3, beside * 1e3, "stuck" if stuck else ratio(beside, alone), worst[0] * 1e3,
        worst[1] * 1e3, *megabytes, len(sides[1].p99), sides[1].cut,
    )  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=10_000, help="clients of each row (10000)")
    parser.add_argument("--deaf", type=int, default=1000, help="of them never read (1000)")
    parser.add_argument("--changes", type=int, default=200, help="changes in each row (200)")
    parser.add_argument("--size", type=int, default=4096, help="bytes of a state (4096)")
    parser.add_argument("--rows", action="append", default=[], help="only rows with this in their name")
    given = parser.parse_args()
    allow_files()
    machine()
    load = Load(given.watchers, size=given.size)
    cases = [rows.fast_socket(load), rows.fast_stream(load), *rows.by_hand(load), *peers.cases(load)]
    lines = [
        line(case.name, measure(case, load, given.deaf, given.changes), given.changes)
        for case in cases
        if not given.rows or any(word in case.name for word in given.rows)
    ]
    columns = (
        "", "p99 ms alone", "beside", "ratio", "worst alone", "beside", "MB grown alone", "MB at first",
        "MB grown beside", "changes seen", "cut off",
    )  # fmt: skip
    readers = given.watchers - given.deaf
    table(
        f"{readers} readers beside {given.deaf} that never read, changes of {given.size} bytes",
        columns,
        lines,
    )


if __name__ == "__main__":
    main()
