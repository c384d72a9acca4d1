"""What each fault does to nodes, wires and the backend, and how it is undone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from random import Random

from faults.history import Fault, History

from .events import Ended, Wiped
from .nodes import Node, Nodes
from .schedule import Strike
from .stores import ServerStore, SqliteStore, Store

ENDS_WITHIN = 30.0
SLOW = 0.1
"""Seconds by which each piece is late in a slow network."""


class Striker:
    """Carries strikes out, at most one at a time on each node and on the backend."""

    def __init__(self, nodes: Nodes, store: Store, history: History, random: Random) -> None:
        self._nodes, self._store, self._history = nodes, store, history
        self._random = random
        self._server = asyncio.Lock()
        self.vanish: Callable[[], None] = lambda: None

    async def strike(self, strike: Strike) -> None:
        """Do it, wait until it is over and undone, and record it."""
        node = self._nodes.places[strike.node]
        detail = ""
        async with self._locked(strike, node):
            begun = time.monotonic()
            match strike.what:
                case "kill-node" | "kill-group" | "term-node":
                    await self._down(node, strike)
                case "kill-worker":
                    detail = self._kill_worker(node)
                case "stop-node":
                    await self._stop_node(node, strike.lasts)
                case "kill-server" | "stop-server" | "wipe":
                    await self._hit_server(strike)
                case "full-disk":
                    await self._fill(strike.lasts)
                case "cut-net" | "hold-net" | "hold-replies" | "slow-net":
                    await self._disturb(node, strike)
                case "vanish":
                    self.vanish()
        what = f"{strike.what} of node {node.number} for {strike.lasts:.2f} s {detail}"
        self._history.add(Fault(at=begun, until=time.monotonic(), what=strike.what, detail=what))

    @contextlib.asynccontextmanager
    async def _locked(self, strike: Strike, node: Node) -> AsyncIterator[None]:
        if strike.what in {"kill-server", "stop-server", "wipe", "full-disk"}:
            async with self._server:
                yield
        elif strike.what == "vanish":
            yield
        else:
            async with node.lock:
                yield

    async def _down(self, node: Node, strike: Strike) -> None:
        begun, orderly = time.monotonic(), strike.what == "term-node"
        number = signal.SIGTERM if orderly else signal.SIGKILL
        self._history.add(Ended(at=begun, node=node.number, orderly=orderly))
        await self._nodes.down(node, number, everything=strike.what == "kill-group", within=ENDS_WITHIN)
        await asyncio.sleep(strike.lasts)
        await self._nodes.up(node)
        if self._store.url(node.wire) == "memory:":
            self._history.add(Wiped(at=begun, until=time.monotonic()))

    def _kill_worker(self, node: Node) -> str:
        assert node.member is not None
        helpers = node.member.helpers()
        if not helpers:
            return "there was none"
        victim = self._random.choice(helpers)
        self._history.add(Ended(at=time.monotonic(), node=node.number, orderly=False))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return f"process {victim}"

    async def _stop_node(self, node: Node, lasts: float) -> None:
        assert node.member is not None
        node.member.signal_all(signal.SIGSTOP)
        try:
            await asyncio.sleep(lasts)
        finally:
            node.member.signal_all(signal.SIGCONT)

    async def _disturb(self, node: Node, strike: Strike) -> None:
        assert node.wire is not None
        try:
            match strike.what:
                case "cut-net":
                    node.wire.cut()
                case "slow-net":
                    node.wire.delay = SLOW
                case _:
                    node.wire.hold(replies_only=strike.what == "hold-replies")
            await asyncio.sleep(strike.lasts)
        finally:
            if strike.what.startswith("hold") and self._random.random() < 0.5:
                node.wire.break_off()  # what was held never arrives
            node.wire.heal()

    # The backend

    async def _hit_server(self, strike: Strike) -> None:
        begun = time.monotonic()
        if isinstance(self._store, ServerStore):
            await self._hit(self._store, strike)
        elif isinstance(self._store, SqliteStore):
            await self._wipe_file(self._store)
        if strike.wipes:
            self._history.add(Wiped(at=begun, until=time.monotonic()))

    async def _hit(self, store: ServerStore, strike: Strike) -> None:
        if strike.what == "stop-server":
            store.server.pause()
            try:
                await asyncio.sleep(strike.lasts)
            finally:
                store.server.resume()
            return
        await asyncio.to_thread(store.server.kill)
        await asyncio.sleep(strike.lasts)
        await asyncio.to_thread(store.server.restart, wipe=strike.wipes)

    async def _wipe_file(self, store: SqliteStore) -> None:
        """While nobody is at work: the file and its log must go at once."""
        async with contextlib.AsyncExitStack() as stack:
            for node in self._nodes.places:
                await stack.enter_async_context(node.lock)
            members = [node.member for node in self._nodes.places if node.member is not None]
            for member in members:
                member.signal_all(signal.SIGSTOP)
            try:
                store.wipe()
            finally:
                for member in members:
                    member.signal_all(signal.SIGCONT)

    async def _fill(self, lasts: float) -> None:
        assert isinstance(self._store, SqliteStore)
        pids = [pid for node in self._nodes.places if node.member for pid in node.member.processes()]
        async with self._store.full(pids):
            await asyncio.sleep(lasts)
