"""What one writes without Restive, with FastAPI alone: the peer of ``crowd_apps``.

A change sends to every socket, one ``await`` each, and puts into a queue for every stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from .case import compact, document
from .crowd_apps import SIZE, Change

app = FastAPI(openapi_url=None)
sockets: dict[WebSocket, int] = {}
queues: dict[asyncio.Queue[bytes], int] = {}
latest = Change(0)


def states(owner: int) -> list[str]:
    """What the latest change has to say."""
    numbers = range(latest.start, latest.start + latest.count)
    return [compact(document(latest.version, number, SIZE, owner)).decode() for number in numbers]


def owner_of(asking: Request | WebSocket) -> int:
    """The user."""
    return int(asking.headers.get("authorization", "Bearer 0").removeprefix("Bearer "))


@app.get("/ready")
async def ready() -> Response:
    """The app runs."""
    return Response()


@app.websocket("/watch")
async def watch(socket: WebSocket) -> None:
    """A socket."""
    await socket.accept()
    sockets[socket] = owner_of(socket)
    await socket.send_text(states(sockets[socket])[0])
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()
    del sockets[socket]


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    """A stream."""
    return StreamingResponse(_events(owner_of(request)), media_type="text/event-stream")


async def _events(owner: int) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    queues[queue] = owner
    try:
        yield f"data: {states(owner)[0]}\n\n".encode()
        while True:
            yield await queue.get()
    finally:
        del queues[queue]


@app.post("/changes")
async def change(given: Change) -> None:
    """Tell everybody."""
    global latest
    latest = given
    shared = states(0)
    for socket, owner in list(sockets.items()):
        with suppress(RuntimeError, WebSocketDisconnect):
            for text in states(owner) if given.mine else shared:
                await socket.send_text(text)
    for queue, owner in queues.items():
        for text in states(owner) if given.mine else shared:
            queue.put_nowait(f"data: {text}\n\n".encode())
