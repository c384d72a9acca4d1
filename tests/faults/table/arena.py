"""Carries schedules out, one after the other, on one fleet and one backend, and records what happens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import psutil

from faults import journal
from faults.driver import around
from faults.history import History, Residue, Submitted
from faults.observers import Observers
from faults.submissions import live_through
from scenarios.watches import new_client

from .clients import WriterClient
from .events import Fleet, Inside, Resident, Settled
from .ghosts import Ghosts
from .nodes import Node, Nodes
from .promises import SLACK, is_held
from .schedule import Schedule, Shape
from .stores import ServerStore, store_of
from .stream_promises import owed
from .streaming import AppenderClient, ReaderClient
from .strikes import Striker
from .watching import WatcherClient
from .witness import Witness

WITHIN = 10.0
"""Seconds after the last fault, and the last acknowledgement, within which everybody catches up."""

WORK_WITHIN = 45.0
"""Seconds within which everything is written and every fault is over, whatever was done."""

BAD_SIGNS = (
    "never retrieved",
    "Exception in thread",
    "Exception in ASGI application",
    "Exception in callback",
    "engine thread met an error",
)
"""What no log of a node may hold, whatever was done to it and to its backend."""

EMPTY_WITHIN = 6.0
"""Seconds within which a process lets go of what it held for clients that are gone."""


class Arena:
    """One fleet: ``start`` it, ``run`` schedules, ``stop`` it."""

    def __init__(self, backend: str, shape: Shape, folder: Path) -> None:
        self.backend, self.shape = backend, shape
        self._store = store_of(backend, folder)
        self._nodes = Nodes(folder, self._store, shape)
        self._witness: Witness | None = None
        self._sizes: dict[int, list[int]] = defaultdict(list)
        self._read: dict[int, int] = defaultdict(int)
        """How much of each log was looked at."""

    async def start(self) -> None:
        await self._store.start()
        await self._nodes.start()
        if isinstance(self._store, ServerStore):
            self._witness = Witness(self._store.server.url)
            self._witness.start()

    async def stop(self) -> None:
        if self._witness is not None:
            await asyncio.to_thread(self._witness.stop)
        await self._nodes.stop()
        await self._store.stop()

    async def run(self, plan: Schedule, history: History) -> None:
        """One schedule, from its first client to the last one's end; ``history`` gets what happens."""
        begun = time.monotonic()
        history.add(Fleet(at=begun, recheck=self.shape.settings["recheck"]))
        before = await self._inside()
        await Play(
            plan, history, self._nodes, Striker(self._nodes, self._store, history, Random(plan.seed))
        ).run()
        await self._look_inside(history, before)
        await self._look_at_nodes(history)
        seen = [] if self._witness is None else self._witness.notes
        history.notes = [note for note in (*journal.read(self._nodes.journal), *seen) if note.at >= begun]

    def logs(self) -> str:
        """What the nodes have said lately, for a report."""
        return self._nodes.logs()

    # What is left in the nodes

    async def _inside(self) -> dict[int, dict[str, int]]:
        """What each process holds; only one that is alone behind its port can be asked."""
        found: dict[int, dict[str, int]] = {}
        if self.shape.workers > 1:
            return found
        async with new_client() as http:
            for node in self._nodes.places:
                said = (await http.get(f"{node.url}/inside", headers={"connection": "close"})).json()
                found[said["pid"]] = said["counts"]
        return found

    async def _look_inside(self, history: History, before: dict[int, dict[str, int]]) -> None:
        deadline = time.monotonic() + EMPTY_WITHIN
        # A process that was started meanwhile is held against one that was there.
        usual = next(iter(before.values()), {})
        while True:
            after = await self._inside()
            held = any(
                count > before.get(pid, usual).get(name, 0) + SLACK
                for pid, counts in after.items()
                for name, count in counts.items()
                if is_held(name)
            )
            if not held or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)
        for pid, counts in after.items():
            history.add(Inside(at=time.monotonic(), pid=pid, before=before.get(pid, usual), after=counts))

    async def _look_at_nodes(self, history: History) -> None:
        now = time.monotonic()
        for node in self._nodes.places:
            assert node.member is not None
            if not node.member.alive:
                status, log = node.member.process.returncode, node.member.log[-3000:]
                history.add(Residue(at=now, what=f"node {node.number} ended by itself with {status}\n{log}"))
                await self._nodes.down(node, 0, everything=False, within=1)
                await self._nodes.up(node)
        for member in self._nodes.members:
            log, seen = member.log, self._read[member.pid]
            self._read[member.pid] = len(log)
            for phrase in BAD_SIGNS:
                if phrase in log[seen:]:
                    history.add(Residue(at=now, what=f"in a log: {around(log[seen:], phrase)}"))
            for pid in member.processes():
                with contextlib.suppress(psutil.Error):
                    self._sizes[pid].append(psutil.Process(pid).memory_info().rss)
                    history.add(Resident(at=now, pid=pid, sizes=tuple(self._sizes[pid])))


class Play:
    """One schedule's clients and faults."""

    def __init__(self, plan: Schedule, history: History, nodes: Nodes, striker: Striker) -> None:
        self._plan, self._history = plan, history
        places: list[Node] = nodes.places
        self._writers = [WriterClient(each, history, places) for each in plan.writers]
        self._watchers = [WatcherClient(each, i, history, places) for i, each in enumerate(plan.watchers)]
        self._appenders = [AppenderClient(each, history, places) for each in plan.appenders]
        self._readers = [ReaderClient(each, i, history, places) for i, each in enumerate(plan.readings)]
        self._observers = Observers(nodes.front.url, history)
        self._striker, self._ghosts = striker, Ghosts(plan, places)
        striker.vanish = self._ghosts.vanish

    async def run(self) -> None:
        """Until everybody has caught up, or the time for that is over."""
        self._begun = time.monotonic()
        watching = [
            asyncio.create_task(self._client(each, each.plan.at))
            for each in (*self._watchers, *self._readers)
        ]
        operations = [
            asyncio.create_task(self._at(each.at, lambda each=each: live_through(self._observers, each)))
            for each in self._plan.submissions
        ]
        try:
            await self._work()
            await self._settle(operations)
        finally:
            self._ghosts.stop()
            left = [task for task in watching if task.cancelled()]
            for task in (*watching, *operations):
                task.cancel()
            results = await asyncio.gather(*watching, *operations, return_exceptions=True)
            await self._observers.aclose()
        for result in results:
            if isinstance(result, Exception):
                raise result
        if left:
            raise RuntimeError("A client was cancelled by nobody.")

    async def _at(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(max(0.0, self._begun + seconds - time.monotonic()))
        await action()

    async def _client(self, client: Any, at: float) -> None:
        async with client:
            await self._at(at, client.run)

    async def _work(self) -> None:
        """All that is written and appended, and all faults."""
        jobs: list[Coroutine[Any, Any, None]] = [self._ghosts.run()]
        jobs += [self._client(each, each.plan.at) for each in self._writers]
        jobs += [self._client(each, 0.0) for each in self._appenders]
        jobs += [self._strike(each) for each in self._plan.strikes]
        async with asyncio.timeout(WORK_WITHIN), asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)

    async def _strike(self, strike: Any) -> None:
        await self._at(strike.at, lambda: self._striker.strike(strike))

    # The end

    async def _settle(self, operations: list[asyncio.Task[None]]) -> None:
        begun = time.monotonic()
        await self._until(self._late_watchers, begun)
        await self._until(self._late_readers, begun)
        await self._close_streams()
        await self._until(self._open_readers, time.monotonic())
        if operations:
            await asyncio.wait(operations, timeout=2 * WITHIN)
        late = [*self._late_watchers(), *self._late_readers(), *self._open_readers()]
        late += [f"operation {i}" for i, task in enumerate(operations) if not task.done()]
        self._history.add(Settled(at=time.monotonic(), begun=begun, late=tuple(late)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                for op in dict.fromkeys(each.op for each in self._history.of(Submitted) if each.op):
                    await self._observers.settle(op)

    async def _until(self, late: Callable[[], list[str]], begun: float) -> None:
        while late() and time.monotonic() < begun + WITHIN:
            await asyncio.sleep(0.03)

    def _late_watchers(self) -> list[str]:
        last = {each.resource: each.versions for each in self._plan.writers}
        return [each.name for each in self._watchers if each.version != last[each.plan.resource]]

    def _late_readers(self) -> list[str]:
        wanted = {
            stream: owed(self._history, stream) for stream in {each.stream for each in self._plan.readings}
        }
        return [each.name for each in self._readers if wanted[each.plan.stream] - set(each.items)]

    def _open_readers(self) -> list[str]:
        return [f"{each.name} (open)" for each in self._readers if not each.closed]

    async def _close_streams(self) -> None:
        closing = {each.plan.stream: each for each in self._appenders}
        async with asyncio.timeout(WORK_WITHIN):
            for each in closing.values():
                async with each:
                    await each.close()
