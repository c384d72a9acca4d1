"""One row under load: its server, its watchers, and what a change costs it.

CPU is the server's own clock, less what it takes when nothing happens. A change is counted until the server
is quiet again, ``SETTLED`` seconds after the last watcher was told at least: Restive looks again after 1 s.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from .case import Case, Load, Measured, mark
from .generator import Generator, Told, change
from .server import insecure

SETTLED = 1.5
BUSY, PATIENCE = 0.1, 30.0
"""Share of one CPU below which a server counts as quiet; seconds that it gets for that."""
WARM = 50
"""Watchers that come and go before anything is measured."""


@dataclass(frozen=True)
class Sample:
    """One change."""

    cost: float
    """Seconds of the server's CPU for each message that was delivered."""
    begin: float
    told: Told

    @property
    def half(self) -> float:
        """Seconds from the change until half of the watchers had it."""
        return self.told.half - self.begin

    @property
    def p99(self) -> float:
        """Seconds until 99 % had it."""
        return self.told.p99 - self.begin

    @property
    def share(self) -> float:
        """Share of one CPU that the generator took meanwhile."""
        return self.told.cpu / (self.told.last - self.told.begin)


@dataclass(frozen=True)
class Opened:
    """All watchers came."""

    memory: float
    """Bytes of PSS for each."""
    cost: float
    """Seconds of the server's CPU for each."""
    idle: float
    """Share of one CPU that the server takes when nothing happens."""


class Trial:
    """A running server and the generator of its watchers."""

    def __init__(self, case: Case, load: Load, server: Measured, generator: Generator) -> None:
        self.case, self.load, self.server, self.generator = case, load, server, generator
        self.version = 0
        self.idle = 0.0
        self._context = insecure() if case.tls else None

    def open(self, settled: float = SETTLED) -> Opened:
        """Let all watchers come."""
        before, cpu = self.server.memory(), self.server.cpu()
        first = mark(0) if self.case.first else b""
        self.generator.open(first, self.load.resources)
        cost = (self.server.cpu() - cpu) / self.generator.count
        self._settle(settled)
        memory = (self.server.memory() - before) / self.generator.count
        self.idle = self._idle_share(2 * settled)
        return Opened(memory, cost, self.idle)

    def change(self, settled: float = SETTLED, hold: int = 0) -> Sample:
        """The next change. With ``hold`` the generator reads nothing for so many milliseconds."""
        self.version += 1
        wait = self.generator.expect(mark(self.version), self.load.resources, hold=hold)
        cpu, before = self.server.cpu(), time.monotonic()
        begin = change(self.server.port, self.case.change(self.version), self._context)
        told = wait()
        self._settle(settled)
        took = self.server.cpu() - cpu - self.idle * (time.monotonic() - before)
        return Sample(took / (self.generator.readers * self.load.resources), begin, told)

    def _settle(self, seconds: float) -> None:
        time.sleep(seconds)
        deadline = time.monotonic() + PATIENCE
        while self._idle_share(0.2) > BUSY and time.monotonic() < deadline:
            pass

    def _idle_share(self, seconds: float) -> float:
        cpu = self.server.cpu()
        time.sleep(seconds)
        return (self.server.cpu() - cpu) / seconds


@contextmanager
def trial(case: Case, load: Load, *, deaf: int = 0, slow: bool = False) -> Iterator[Trial]:
    """Start the server, warm it up, and have the watchers ready to open.

    ``slow`` takes the generator in Python also where it need not be.
    """
    options = {"tls": case.tls, "slow": slow or case.tls}
    with case.serve() as server:
        with closing(Generator(server.port, case.kind, WARM, **options)) as few:
            few.load(case.opening)
            few.open(mark(0) if case.first else b"", load.resources)
        time.sleep(0.5)
        generator = Generator(server.port, case.kind, load.watchers, deaf=deaf, **options)
        with closing(generator):
            generator.load(case.opening)
            yield Trial(case, load, server, generator)


def middle(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)
