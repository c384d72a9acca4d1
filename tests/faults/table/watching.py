"""Watchers of resources over every transport: each comes back with its tag, on another node, until it is
stopped, and records what it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Sequence
from typing import Any

import httpx2
import jsonpatch
from websockets.exceptions import WebSocketException

from faults.history import History
from scenarios.watches import (
    WAYS,
    Current,
    End,
    Fetch,
    Lost,
    Patch,
    SocketWatch,
    State,
    Watch,
    content,
    ended,
    with_query,
)

from .clients import PATIENCE, Client
from .events import Told, Watcher
from .nodes import Node
from .schedule import Watching
from .states import is_sound

SLICE = 0.3
"""Seconds after which a watch on which nothing came is asked whether it lives."""

POLL = 0.15
"""Seconds between two polls."""

GONE = (Lost, OSError, TimeoutError, httpx2.HTTPError, WebSocketException, EOFError)
"""What a client meets when its server, or the way to it, is gone."""


class Poll(Watch):
    """A GET with the tag, each time. What is not news is told as well."""

    pause = POLL

    async def open(self) -> None:
        self.first = True

    def ask(self) -> tuple[str, dict[str, str]]:
        return self.target, {"If-None-Match": self.etag} if self.etag else {}

    async def one(self, http: httpx2.AsyncClient) -> Any:
        if not self.first:
            await asyncio.sleep(self.pause)
        self.first = False
        target, headers = self.ask()
        self.asked = time.monotonic()
        async with asyncio.timeout(PATIENCE + 1):
            response = await http.get(self.url + target, headers=headers)
        if response.status_code in {204, 304}:
            return Current(response.headers.get("etag") or self.etag)
        if response.status_code == 200:
            return State(response.headers.get("etag"), content(response))
        return ended(response)


class LongPoll(Poll):
    """A GET that waits for another tag."""

    pause = 0.0

    def ask(self) -> tuple[str, dict[str, str]]:
        query = {"live": "long-poll", "etag": self.etag, "wait": "1", "n": secrets.token_hex(4)}
        return with_query(self.target, query), {}


class PatchWatch(SocketWatch):
    """The WebSocket, with patches."""

    patch = True


OURS: dict[str, type[Watch]] = {
    **WAYS,
    "poll": Poll,
    "long-poll": LongPoll,
    "websocket-patch": PatchWatch,
}


class WatcherClient(Client):
    """One watcher. ``version`` is the last one that it was told of."""

    def __init__(self, plan: Watching, number: int, history: History, nodes: Sequence[Node]) -> None:
        super().__init__(f"{plan.way} {plan.resource} {number}", history, nodes)
        self.plan = plan
        self.version = -1
        self._etag: str | None = None
        self._data: Any = None
        self._versions: dict[str, int] = {}
        self._link = 0

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        self.history.add(Watcher(at=time.monotonic(), who=self.name, resource=self.plan.resource))
        while True:
            self._link += 1
            with contextlib.suppress(*GONE):
                await self._watch(self.another())
            await self.rest()

    async def _watch(self, node: Node) -> None:
        asked = time.monotonic()
        watch = OURS[self.plan.way](node.url, self.plan.resource, self._etag, {})
        try:
            async with asyncio.timeout(PATIENCE):
                await watch.open()
            while True:
                event = await self._next(watch)
                asked = watch.asked if isinstance(watch, Poll) else asked
                if not self._take(event, node, asked):
                    return
                watch.etag = self._etag
        except AssertionError as error:
            self._told("odd", node, asked, detail=f"{error}"[:300])
        finally:
            with contextlib.suppress(*GONE, AttributeError):
                async with asyncio.timeout(1):
                    await watch.close()

    async def _next(self, watch: Watch) -> Any:
        """What it says next. Raises ``Lost`` where nothing at all comes for long."""
        if isinstance(watch, Poll):
            return await watch.one(self.http)
        heard, before = time.monotonic(), len(watch.raw)
        while True:
            with contextlib.suppress(TimeoutError):
                return await watch.next(SLICE)
            if isinstance(watch, SocketWatch):
                async with asyncio.timeout(PATIENCE):
                    await (await watch.socket.ping())
                heard = time.monotonic()
            elif len(watch.raw) > before:
                heard, before = time.monotonic(), len(watch.raw)
            if time.monotonic() - heard > PATIENCE:
                raise Lost("silence")

    def _take(self, event: Any, node: Node, asked: float) -> bool:
        """Whether the connection goes on."""
        match event:
            case State(etag, data):
                self._state(etag, data, node, asked)
            case Patch(etag, base, ops):
                if base != self._etag:
                    self._told("odd", node, asked, detail=f"a patch from {base}, and I have {self._etag}")
                    return False
                self._state(etag, jsonpatch.apply_patch(self._data, ops), node, asked)
            case Current(etag):
                etag = etag or self._etag
                self.version = self._versions.get(etag or "", self.version)
                self._told("current", node, asked, etag=etag)
            case Fetch(etag):
                self._told("odd", node, asked, detail=f"fetch {etag}")
                return False
            case End(status, document) if status not in {429, 500, 502, 503, 504}:
                self._told("end", node, asked, detail=f"{status} {dict(document)}"[:300])
                return False
            case _:
                return False
        return True

    def _state(self, etag: str | None, data: Any, node: Node, asked: float) -> None:
        self._etag, self._data = etag, data
        version = data.get("version", -1) if isinstance(data, dict) else -1
        self.version = self._versions[etag or ""] = version
        sound = is_sound(self.plan.resource.rpartition("/")[2], data)
        self._told("state", node, asked, etag=etag, version=version, sound=sound)

    def _told(self, kind: str, node: Node, asked: float, **more: Any) -> None:
        self.history.add(
            Told(
                at=time.monotonic(),
                asked=asked,
                who=self.name,
                way=self.plan.way,
                link=self._link,
                node=node.number,
                resource=self.plan.resource,
                kind=kind,
                **more,
            )
        )
