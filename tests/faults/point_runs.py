"""One operation, and a server that is killed or stopped at a chosen point of its work; then another one.

The points of one such story can so be tried one after the other, and none is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path

from . import journal
from .driver import STOPPED, Driver, later
from .history import Fault
from .plans import LEASE, Plan, Submission
from .points import POINT

SETTINGS = {
    "lease": LEASE,
    "workers": 2,
    "stop_grace": 0.5,
    "settle": 0.1,
    "recheck": 0.5,
    "drain_operations": 20.0,
}
STORIES = {"collect": "", "follow": "", "digest": "", "count": "cancel", "wait": "delete"}
"""The kinds of operation that are tried, and what a client does with each."""


def point_plan(kind: str) -> Plan:
    """A plan of one operation."""
    wanted = Submission(0.0, f"key-{kind}", f"/threads/2/{kind}", 3, 0.05, ("sse", "get"), STORIES[kind], 0.1)
    return Plan(0, ("threads",), dict(SETTINGS), (wanted,), ())


class PointDriver(Driver):
    """As ``Driver``; ``what`` is kill, stop, or count, which only finds out how many points there are."""

    def __init__(self, plan: Plan, folder: Path, what: str, number: int = 0) -> None:
        super().__init__(plan, folder)
        self.what, self.number, self.points = what, number, 0

    async def _begin(self) -> None:
        """The server may come to its point before it is ready."""
        self.fleet.env[POINT] = f"{self.what}:{self.number}"
        self.first = self.fleet.launch()
        del self.fleet.env[POINT]
        self.relay.targets.append(self.first.port)

    async def _faults(self) -> None:
        begun = time.monotonic()
        while not (is_harmed := self._harmed()) and not all(task.done() for task in self.tasks):
            await asyncio.sleep(0.02)
        self.points = sum(each.what == "point" for each in journal.read(self.fleet.journal))
        if self.what == "count":
            return
        self._leave(self.first)
        if not is_harmed:  # it did everything without coming to its point
            self.first.signal(signal.SIGKILL)
        await asyncio.gather(self._join(), later(STOPPED, lambda: self.first.signal(signal.SIGCONT)))
        self.history.add(Fault(at=begun, until=time.monotonic(), what=f"{self.what}-server"))

    def _harmed(self) -> bool:
        return not self.first.alive or is_stopped(self.first.pid)


def is_stopped(pid: int) -> bool:
    """Whether the process sleeps until it gets SIGCONT."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False
