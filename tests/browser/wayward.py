"""A proxy between page and server that a test tells how to misbehave, and that counts what is asked.

Each connection carries one request, so that every request is seen. It runs on the test's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, Self

CHUNK = 65_536
DROP_AFTER = 0.2
"""Seconds that an accepted WebSocket lives where it is dropped."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Asked:
    """One request. ``kind`` is how it watches, or its method in lower case."""

    kind: str
    target: str


class Wayward:
    """``server`` is the port behind it."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.port = 0
        self.log: list[Asked] = []
        self.websocket: Literal["pass", "refuse", "drop"] = "pass"
        self.sse: Literal["pass", "buffer"] = "pass"
        self.down: Literal["no", "502", "reset"] = "no"
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(asked.kind for asked in self.log)

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked = _asked(head)
        self.log.append(asked)
        websocket = asked.kind == "websocket"
        if self.down == "reset":
            writer.transport.abort()
        elif self.down == "502" or (websocket and self.websocket == "refuse"):
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        else:
            upstream = await asyncio.open_connection("127.0.0.1", self.server)
            self._open.add(upstream[1])
            try:
                upstream[1].write(head if websocket else _closing(head))
                await self._relay((reader, writer), upstream, asked.kind)
            finally:
                self._open.discard(upstream[1])
                upstream[1].close()

    async def _relay(self, client: Streams, server: Streams, kind: str) -> None:
        there = asyncio.ensure_future(_pump(client[0], server[1]))  # a body comes before the answer
        try:
            client[1].write(await server[0].readuntil(b"\r\n\r\n"))
            if kind == "websocket" and self.websocket == "drop":
                await asyncio.sleep(DROP_AFTER)
            elif kind == "sse" and self.sse == "buffer":
                client[1].write(await server[0].read())
                await client[1].drain()
            else:
                await _pump(server[0], client[1])
        finally:
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


def _asked(head: bytes) -> Asked:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    found = re.search(r"[?&]live=([a-z-]+)", target)
    if re.search(rb"(?mi)^upgrade: *websocket", head):
        return Asked("websocket", target)
    return Asked(found[1] if found else method.lower(), target)


def _closing(head: bytes) -> bytes:
    """The request, after which the connection ends: so the next one is seen too."""
    kept = re.sub(rb"(?mi)^connection:.*\r\n", b"", head)
    return kept[:-2] + b"Connection: close\r\n\r\n"
