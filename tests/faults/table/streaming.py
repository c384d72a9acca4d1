"""Writers and readers of streams, by the Durable Streams protocol and over the WebSocket.

A writer is an idempotent producer: it sends each batch again, on another node, until it is acknowledged. A
reader comes back with its offset, on another node, and begins anew only where that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from faults.history import History
from restive.wire.sse import Parser
from scenarios.watches import with_query

from .clients import PATIENCE, Client
from .events import Appended, Item, Read, Reader, Refused
from .nodes import Node
from .schedule import Appender, Reading
from .watching import GONE, POLL

JSON = {"content-type": "application/json"}
START = "-1"


class AppenderClient(Client):
    """Appends its batches in order."""

    def __init__(self, plan: Appender, history: History, nodes: Sequence[Node]) -> None:
        super().__init__(f"appender {plan.name}", history, nodes)
        self.plan = plan
        self._epoch = self._seq = 0

    async def run(self) -> None:
        await self.create()
        number = 0
        for size in self.plan.batches:
            items = tuple((self.plan.name, number + each) for each in range(size))
            number += size
            while not await self._append(items):
                await self.rest()
            self._seq += 1
            await asyncio.sleep(self.plan.pace)

    async def create(self) -> None:
        """Make the stream where it is not there."""
        while True:
            answer = await self.ask(self.another(), "PUT", self.plan.stream, headers=JSON)
            if answer is not None and answer.status_code in {200, 201}:
                return
            await self.rest()

    async def close(self) -> None:
        """Close the stream, until that is acknowledged."""
        while True:
            headers = {**JSON, "stream-closed": "true"}
            answer = await self.ask(self.another(), "POST", self.plan.stream, headers=headers)
            if answer is not None and answer.status_code in {200, 204}:
                return
            if answer is not None and answer.status_code == 404:  # wiped after the last append
                await self.create()
            await self.rest()

    async def _append(self, items: tuple[Item, ...]) -> bool:
        node, asked = self.another(), time.monotonic()
        answer = await self.ask(
            node,
            "POST",
            self.plan.stream,
            headers={
                **JSON,
                "producer-id": self.plan.name,
                "producer-epoch": str(self._epoch),
                "producer-seq": str(self._seq),
            },
            content=json.dumps([{"by": by, "n": n} for by, n in items]),
        )
        status = 0 if answer is None else answer.status_code
        self.history.add(
            Appended(
                at=time.monotonic(),
                asked=asked,
                stream=self.plan.stream,
                items=items,
                node=node.number,
                status=status,
                offset=answer.headers.get("stream-next-offset", "") if answer is not None else "",
                detail=answer.text[:200] if answer is not None and status >= 400 else "",
            )
        )
        if status == 404:
            await self.create()
        elif status in {403, 409}:  # its state is gone with a wiped store: it begins a new session
            self._epoch, self._seq = self._epoch + 1, 0
        return status in {200, 204}


class ReaderClient(Client):
    """Reads one stream from its start, over one way. ``items`` are those of the stream's present life."""

    def __init__(self, plan: Reading, number: int, history: History, nodes: Sequence[Node]) -> None:
        super().__init__(f"{plan.way} {plan.stream} reader {number}", history, nodes)
        self.plan = plan
        self.items: list[Item] = []
        self.closed = False
        self._after = START

    async def run(self) -> None:
        """Read until the stream is closed, or the task is cancelled."""
        self.history.add(Reader(at=time.monotonic(), who=self.name, stream=self.plan.stream))
        ways = {
            "catch-up": self._poll,
            "long-poll": self._poll,
            "sse": self._events,
            "websocket": self._socket,
        }
        while not self.closed:
            with contextlib.suppress(*GONE):
                await ways[self.plan.way](self.another())
            await self.rest()

    async def _poll(self, node: Node) -> None:
        """One request after the other."""
        live = "long-poll" if self.plan.way == "long-poll" and self._after != START else None
        while not self.closed:
            asked = time.monotonic()
            target = with_query(self.plan.stream, {"offset": self._after, "live": live})
            answer = await self.while_alive(node, self.http.get(node.url + target, timeout=None))
            if answer.status_code not in {200, 204}:
                self._refused(node, asked, answer.status_code)
                return
            items = answer.json() if answer.status_code == 200 and answer.content else []
            fields = answer.headers
            self._read(node, asked, items, fields["stream-next-offset"], "stream-closed" in fields)
            if live is None:
                await asyncio.sleep(POLL)
                return

    async def _events(self, node: Node) -> None:
        asked = time.monotonic()
        target = with_query(self.plan.stream, {"offset": self._after, "live": "sse"})
        async with self.http.stream("GET", node.url + target, timeout=None) as answer:
            if answer.status_code != 200:
                self._refused(node, asked, answer.status_code)
                return
            items: list[Any] = []
            async for event in self._sse(answer, node):
                if event.name == "data":
                    items += json.loads(event.data)
                elif event.name == "control":
                    control = json.loads(event.data)
                    closed = bool(control.get("streamClosed"))
                    self._read(node, asked, items, control["streamNextOffset"], closed)
                    items = []

    async def _socket(self, node: Node) -> None:
        asked = time.monotonic()
        url = f"{node.url.replace('http', 'ws', 1)}/-/live"
        options = {"proxy": None, "close_timeout": 1, "open_timeout": PATIENCE, "ping_interval": None}
        async with connect(url, subprotocols=[Subprotocol("restive.v1")], **options) as ws:
            frame = {"watch": self.plan.stream}
            await ws.send(json.dumps(frame if self._after == START else {**frame, "offset": self._after}))
            while not self.closed:
                said = json.loads(await self.while_alive(node, ws.recv()))
                if "items" in said or "closed" in said:
                    offset = said.get("offset", self._after)
                    self._read(node, asked, said.get("items", []), offset, bool(said.get("closed")))
                elif "end" in said or "error" in said:
                    self._refused(node, asked, said.get("end", said.get("error"))["status"])
                    return

    async def _sse(self, answer: httpx2.Response, node: Node) -> AsyncIterator[Any]:
        parser, chunks = Parser(), aiter(answer.aiter_bytes())
        while chunk := await self.while_alive(node, _next(chunks)):
            for event in parser.feed(chunk):
                yield event

    def _read(self, node: Node, asked: float, items: list[Any], offset: str, closed: bool) -> None:
        found = tuple((each["by"], each["n"]) for each in items)
        if found or closed:
            self.history.add(
                Read(
                    at=time.monotonic(),
                    asked=asked,
                    who=self.name,
                    way=self.plan.way,
                    node=node.number,
                    stream=self.plan.stream,
                    after=self._after,
                    items=found,
                    offset=offset,
                    closed=closed,
                )
            )
        self.items += found
        self._after, self.closed = offset, closed

    def _refused(self, node: Node, asked: float, status: int) -> None:
        """Begin anew, where it is the offset that is refused and not the server that is away."""
        if status == 429 or status >= 500 or self._after == START:
            return
        self.history.add(
            Refused(
                at=time.monotonic(),
                asked=asked,
                who=self.name,
                node=node.number,
                stream=self.plan.stream,
                after=self._after,
                status=status,
            )
        )
        self.items, self._after = [], START


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    """What comes next; nothing at the end."""
    return await anext(chunks, b"")
