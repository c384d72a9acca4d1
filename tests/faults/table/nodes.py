"""The nodes of one fleet: `restive serve` processes that share a backend, each with a wire of its own to it.

A node that ends although nobody asked it to, or that cannot start because its backend is away, is started
again until it serves, as a process manager would.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

from faults.fleet import Member
from faults.relay import Relay
from scenarios.servers import free_port

from .schedule import KINDS, RETRIES, Shape
from .stores import Store
from .wires import Wire

STARTS_WITHIN = 20.0
AGAIN = 0.2
"""Seconds after which a node that did not start is started again."""


class Node:
    """One place of the fleet: its port and its wire stay, its processes come and go."""

    def __init__(self, number: int, wire: Wire | None) -> None:
        self.number, self.wire = number, wire
        self.port = free_port()
        self.lock = asyncio.Lock()
        """Held by the one fault that hits it."""
        self.member: Member | None = None
        self.lives = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Nodes:
    """All of them. ``front`` spreads new connections over those that are up."""

    def __init__(self, folder: Path, store: Store, shape: Shape) -> None:
        self._folder, self._store, self._shape = folder, store, shape
        self.journal = folder / "journal"
        self.members: list[Member] = []
        self.places: list[Node] = []
        self.front = Relay(Random(0))
        (folder / "things").mkdir()

    async def start(self) -> None:
        await self.front.start()
        for number in range(self._shape.nodes):
            wire = self._store.wire()
            if wire is not None:
                await wire.start()
            self.places.append(Node(number, wire))
        await asyncio.gather(*map(self.up, self.places))

    async def stop(self) -> None:
        """Leave no process."""
        for member in self.members:
            member.end()
        await self.front.stop()
        for node in self.places:
            if node.wire is not None:
                await node.wire.stop()

    async def up(self, node: Node) -> None:
        """Start it, again and again until it serves. Raises ``TimeoutError``."""
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            member = Member(
                self._folder,
                self._environment(),
                node.port,
                command=self._command(self._store.url(node.wire)),
            )
            self.members.append(member)
            try:
                await member.ready()
            except RuntimeError as error:
                self.members.remove(member)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"node {node.number} does not start: {error}") from None
                await asyncio.sleep(AGAIN)
                continue
            node.member, node.lives = member, node.lives + 1
            self.front.targets.append(node.port)
            return

    async def down(self, node: Node, number: int, *, everything: bool, within: float) -> None:
        """Signal it, and wait for its end."""
        if node.port in self.front.targets:
            self.front.targets.remove(node.port)
        member, node.member = node.member, None
        assert member is not None
        (member.signal_all if everything else member.signal)(number)
        if await member.ended(within) is None:
            member.end()
            raise AssertionError(f"It did not end within {within:g} s.\n{member.log[-3000:]}")
        await member.gone()
        member.signal_all(signal.SIGKILL)
        self.members.remove(member)

    def logs(self) -> str:
        """What all of them have said lately."""
        return "\n".join(f"== {member.port} {member.pid}\n{member.log[-20_000:]}" for member in self.members)

    def _command(self, backend: str) -> list[str]:
        serve = ["restive.cli", "serve", "faults.table.app:app", "--log-level", "info"]
        return [*serve, "--backend", backend, "--workers", str(self._shape.workers)]

    def _environment(self) -> dict[str, str]:
        values: dict[str, Any] = {
            "RESTIVE_HOME": self._folder / "home",
            "FAULTS_JOURNAL": self.journal,
            "FAULTS_STORE": self._folder / "things",
            "FAULTS_SETTINGS": json.dumps(self._shape.settings),
            "FAULTS_ENGINES": ",".join(self._shape.engines),
            "FAULTS_KINDS": ",".join(KINDS),
            "FAULTS_RETRIES": RETRIES,
        }
        return {name: str(value) for name, value in values.items()}
