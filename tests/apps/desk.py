"""An app without a framework that does what its path says, to see what its clients are made to pay.

``app`` takes its settings from the environment, as a server in a process of its own needs it.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from restive import Restive

PIECE = b"x" * 65_536


class Desk:
    """What it saw is kept for the tests."""

    def __init__(self) -> None:
        self.pause = 0.0
        """Seconds that it takes where its path says so."""
        self.ended: list[str] = []
        self.begun: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        name = scope["path"].strip("/").replace("-", "_")
        self.begun.append(name)
        try:
            await getattr(self, name)(scope, receive, send)
        finally:
            self.ended.append(name)

    # HTTP

    async def quick(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"ok")

    async def late(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(self.pause)
        await answer(send, b"late")

    async def listening(self, scope: Any, receive: Any, send: Any) -> None:
        """Late, and waits meanwhile for whether its client goes, as frameworks do."""
        await whole(receive)
        try:
            await asyncio.wait_for(receive(), self.pause)
        except TimeoutError:
            await answer(send, b"listened")

    async def read(self, scope: Any, receive: Any, send: Any) -> None:
        body = await whole(receive)
        if body is not None:
            await answer(send, b"%d" % len(body))

    async def slow_reader(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes its time before it reads, and while it reads."""
        await asyncio.sleep(self.pause)
        first = await receive()
        await asyncio.sleep(self.pause)
        rest = await whole(receive) if first["more_body"] else b""
        if rest is not None:
            await answer(send, b"%d" % (len(first["body"]) + len(rest)))

    async def unread(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"unread")

    async def started(self, scope: Any, receive: Any, send: Any) -> None:
        """Its response begins before the body is there."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if await whole(receive) is not None:
            await send({"type": "http.response.body", "body": b"done"})

    async def fields(self, scope: Any, receive: Any, send: Any) -> None:
        """The names of the header fields, once the body is there."""
        if await whole(receive) is not None:
            await answer(send, json.dumps([name.decode() for name, _ in scope["headers"]]).encode())

    async def bulk(self, scope: Any, receive: Any, send: Any) -> None:
        """Sixteen megabytes."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(256):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body"})

    async def short(self, scope: Any, receive: Any, send: Any) -> None:
        """As much as a transport keeps without a word."""
        await answer(send, PIECE[:60_000])

    async def broken(self, scope: Any, receive: Any, send: Any) -> None:
        """Begins a response, and fails."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": PIECE[:60_000], "more_body": True})
        raise RuntimeError("broken on purpose")

    # Sockets

    async def swallow(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes whatever comes."""
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends it back."""
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({**message, "type": "websocket.send"})


async def whole(receive: Any) -> bytes | None:
    """The rest of a body; None where the client has gone."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body, more = body + message["body"], message["more_body"]
    return body


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def make(**settings: Any) -> tuple[Restive, Desk]:
    desk = Desk()
    return Restive(desk, **{"backend": "memory:", **settings}), desk


app, _ = make(**json.loads(os.environ.get("DESK_SETTINGS", "{}")))
