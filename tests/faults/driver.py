"""Carries out one plan against real servers and returns the history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from restive.backends import open_backend

from . import journal
from .fleet import Fleet, Member
from .history import Fault, History, Listed, Residue
from .observers import Observers
from .plans import LEASE, Plan, Step, Submission
from .relay import Relay
from .submissions import live_through

PATIENCE = 40.0
"""Seconds after the last fault within which everybody has to see the end of everything."""

STOPPED = LEASE * 1.8
"""Seconds for which a process is stopped."""

BAD_SIGNS = (
    "never retrieved",
    "Exception in thread",
    "engine thread met an error",
    "cannot be kept now",
    "cannot be run now",
)
"""What no log of a server may hold, whatever was done to the others."""

STOPS_WITHIN = 30.0
"""Seconds within which a server ends that was asked to."""


class Driver:
    """One run."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.history = History()
        self._random = Random(plan.seed)
        self.begun = 0.0
        self.relay = Relay(self._random)
        settings = {**plan.settings, "backend": f"sqlite:///{folder / 'restive.db'}"}
        self.fleet = Fleet(
            folder, {"FAULTS_SETTINGS": json.dumps(settings), "FAULTS_ENGINES": ",".join(plan.engines)}
        )

    async def run(self) -> History:
        """From the first server's start to the last one's end."""
        await self.relay.start()
        self.observers = Observers(self.relay.url, self.history)
        try:
            await self._begin()
            await self._happen()
            await self._stop()
        finally:
            await self.observers.aclose()
            await self.relay.stop()
            self.fleet.stop()
        self.history.notes = journal.read(self.fleet.journal)
        return self.history

    async def _begin(self) -> None:
        """The servers that are there at first."""
        await self._join()

    async def _happen(self) -> None:
        """Everything that has a time."""
        self.begun = time.monotonic()
        self.tasks = [asyncio.create_task(self._operation(each)) for each in self.plan.submissions]
        try:
            await self._faults()
            done, _ = await asyncio.wait(self.tasks, timeout=PATIENCE)
        finally:
            for task in self.tasks:  # of those that are late the validators say what is missing
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        for task in done:
            task.result()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._look()

    async def _faults(self) -> None:
        """What is done to the servers."""
        for step in self.plan.steps:
            await self._at(step.at)
            await self._harm(step)

    async def _at(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, self.begun + seconds - time.monotonic()))

    async def _operation(self, wanted: Submission) -> None:
        """Submit one operation, and all that its clients do with it."""
        await self._at(wanted.at)
        await live_through(self.observers, wanted)

    async def _look(self) -> None:
        """What everybody can see at the end."""
        for op in self.history.acknowledged():
            await self.observers.settle(op)
        found: list[str] = []
        for collection in sorted({each.collection for each in self.plan.submissions}):
            found += [op async for op in self.observers.listing(collection)]
        self.history.add(Listed(at=time.monotonic(), ops=tuple(found)))

    # Faults

    @property
    def _serving(self) -> Member:
        """One of the servers that take requests."""
        return self._random.choice([it for it in self.fleet.members if it.port in self.relay.targets])

    async def _join(self, port: int = 0) -> Member:
        member = await self.fleet.start(port)
        self.relay.targets.append(member.port)
        return member

    def _leave(self, member: Member) -> None:
        with contextlib.suppress(ValueError):
            self.relay.targets.remove(member.port)

    async def _harm(self, step: Step) -> None:
        begun, detail = time.monotonic(), ""
        what, member = step.what, self._serving
        match what:
            case "kill-server" | "kill-group":
                await self._killed(member, step)
            case "kill-helper" | "stop-helper":
                detail = await self._helper(member, what)
            case "stop-server" | "stop-group":
                await self._stopped(member, everything=what == "stop-group")
            case "terminate":
                await self._terminated(member, step)
            case "roll":
                await self._rolled(member)
            case "cut":
                self.relay.cut()
        short = self.plan.settings["drain_operations"] < 1
        harmful = what if what != "roll" or not short else "terminate"
        self.history.add(
            Fault(at=begun, until=time.monotonic(), what=harmful, detail=f"{member.pid} {detail}")
        )

    async def _killed(self, member: Member, step: Step) -> None:
        self._leave(member)
        if step.what == "kill-group":
            member.signal_all(signal.SIGKILL)
        else:
            member.signal(signal.SIGKILL)
        await member.ended(STOPS_WITHIN)
        await asyncio.sleep(step.down)
        await self._join(member.port)

    async def _helper(self, member: Member, what: str) -> str:
        helpers = member.helpers()
        if not helpers:
            return "there was none"
        victim = self._random.choice(helpers)
        if what == "kill-helper":
            _signal(victim, signal.SIGKILL)
        else:
            _signal(victim, signal.SIGSTOP)
            await asyncio.sleep(STOPPED)
            _signal(victim, signal.SIGCONT)
        return f"helper {victim}"

    async def _stopped(self, member: Member, *, everything: bool) -> None:
        """It sleeps for longer than its leases, while another one serves; it wakes late, and is let go."""
        send = member.signal_all if everything else member.signal
        send(signal.SIGSTOP)
        self._leave(member)
        # Not after the other one is ready: who is stopped may hold the lock of the database.
        await asyncio.gather(self._join(), later(STOPPED, lambda: send(signal.SIGCONT)))
        await self._let_go(member)

    async def _terminated(self, member: Member, step: Step) -> None:
        self._leave(member)
        await self._let_go(member)
        await asyncio.sleep(step.down)
        await self._join(member.port)

    async def _rolled(self, member: Member) -> None:
        await self._join()
        self._leave(member)
        await self._let_go(member)

    async def _let_go(self, member: Member) -> None:
        """Ask it to end, and wait for that."""
        member.signal(signal.SIGTERM)
        if await member.ended(STOPS_WITHIN) is None:
            self._left(
                f"a server that did not end within {STOPS_WITHIN:g} s of SIGTERM\n{member.log[-2000:]}"
            )
            member.end()

    # After the end

    def _left(self, what: str) -> None:
        self.history.add(Residue(at=time.monotonic(), what=what))

    async def _stop(self) -> None:
        """End every server in an orderly way; what is left then should not be."""
        await asyncio.gather(*(self._let_go(each) for each in self.fleet.members if each.alive))
        for member in self.fleet.members:
            for left in await member.gone():
                self._left(f"{left} of server {member.pid}")
            for phrase in BAD_SIGNS:
                if phrase in (log := member.log):
                    self._left(f"in the log of server {member.pid}: {around(log, phrase)}")
        self._look_into_store()
        self._look_into_folders()

    def _look_into_store(self) -> None:
        """Where everything is final, the store has neither open marks nor arguments."""
        backend = open_backend(f"sqlite:///{self.folder / 'restive.db'}", name="restive")
        try:
            for prefix in ("operation-open/", "operation-input/"):
                for record in backend.scan(prefix, limit=100):
                    self._left(f"the record {record.name}")
        finally:
            backend.close()

    def _look_into_folders(self) -> None:
        """What was deleted has no files, and none is left that was being written."""
        gone = {op.rpartition("/")[2] for op in self.history.deleted()}
        for folder in (self.folder / "home" / "operations").glob("*"):
            if folder.name in gone:
                self._left(f"the folder of {folder.name}, which is deleted")
            for path in folder.rglob("*"):
                if path.suffix in {".open", ".tmp", ".gone"}:
                    self._left(f"the file {path.relative_to(folder.parent)}")


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def later(seconds: float, action: Callable[[], None]) -> None:
    """Do it after some seconds."""
    await asyncio.sleep(seconds)
    action()


def around(log: str, phrase: str) -> str:
    begin = log.index(phrase)
    return log[max(0, begin - 200) : begin + 1500]
