"""What all clients of a schedule share: the history, the nodes to choose from, and one that writes resources.

A client knows the nodes by their addresses only, as behind a balancer that notices nothing: it may choose one
that is dead, stopped or cut off, and then takes another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

import httpx2

from faults.history import History
from scenarios.watches import Lost, new_client

from .events import Put
from .nodes import Node
from .schedule import Writer

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds after which a request, or a connection on which nothing comes, is given up."""

HASTY = 0.1
"""The share of requests whose client goes away at once: its answer is lost, whatever came of it."""

SLICE = 0.5
"""Seconds after which a connection on which nothing came is asked whether its node lives."""

AGAIN = 0.08
"""Seconds after which a request without a good answer is made again, at most."""


class Client:
    """One client. ``name`` tells it from the others; its choices come from its own part of the seed."""

    def __init__(self, name: str, history: History, nodes: Sequence[Node]) -> None:
        self.name, self.history = name, history
        self._nodes = nodes
        self._random = Random(name)
        self._node: Node | None = None
        self.http: httpx2.AsyncClient

    async def __aenter__(self) -> Any:
        self.http = new_client()
        self.http.timeout = httpx2.Timeout(PATIENCE)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def another(self) -> Node:
        """Another node than the last time, where there is one."""
        others = [node for node in self._nodes if node is not self._node] or list(self._nodes)
        self._node = self._random.choice(others)
        return self._node

    async def while_alive(self, node: Node, awaitable: Coroutine[Any, Any, T]) -> T:
        """What comes, as long as its node answers other requests. Raises ``Lost``."""
        task = asyncio.ensure_future(awaitable)
        try:
            while not (await asyncio.wait([task], timeout=SLICE))[0]:
                try:
                    async with asyncio.timeout(PATIENCE):
                        await self.http.get(f"{node.url}/-/health/live")
                except (httpx2.HTTPError, TimeoutError):
                    raise Lost("the node does not answer") from None
            return task.result()
        finally:
            task.cancel()

    async def rest(self) -> None:
        await asyncio.sleep(self._random.uniform(0.0, AGAIN))

    async def ask(self, node: Node, method: str, target: str, **options: Any) -> httpx2.Response | None:
        """The answer; None where none came."""
        hasty = self._random.random() < HASTY
        try:
            async with asyncio.timeout(self._random.uniform(0.0, 0.03) if hasty else PATIENCE):
                return await self.http.request(method, node.url + target, **options)
        except (httpx2.HTTPError, TimeoutError):
            return None


class WriterClient(Client):
    """Writes one version after the other, each until it is acknowledged."""

    def __init__(self, plan: Writer, history: History, nodes: Sequence[Node]) -> None:
        super().__init__(f"writer {plan.resource}", history, nodes)
        self.plan = plan

    async def run(self) -> None:
        first = self.plan.node
        for version in range(1, self.plan.versions + 1):
            node = self.another() if first is None else self._nodes[first]
            first = None
            while not await self._put(node, version):
                await self.rest()
                node = self.another()
            await asyncio.sleep(self.plan.pace)

    async def _put(self, node: Node, version: int) -> bool:
        asked = time.monotonic()
        answer = await self.ask(node, "PUT", self.plan.resource, json={"version": version})
        status = 0 if answer is None else answer.status_code
        self.history.add(
            Put(
                at=time.monotonic(),
                asked=asked,
                resource=self.plan.resource,
                version=version,
                node=node.number,
                status=status,
            )
        )
        if 400 <= status < 500 and status != 429:
            raise AssertionError(f"PUT {self.plan.resource} was answered {status}: {answer and answer.text}")
        return status == 200
