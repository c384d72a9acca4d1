"""The apps that are measured: a small FastAPI app, the same made live, and the same done by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from restive import Restive


def shop() -> FastAPI:
    """Orders in memory: GET and PUT, nothing live."""
    app = FastAPI(openapi_url=None)
    orders: dict[int, dict[str, Any]] = {}

    @app.get("/orders/{number}")
    async def read(number: int) -> dict[str, Any]:
        return orders.get(number) or order(0)

    @app.put("/orders/{number}")
    async def write(number: int, given: dict[str, Any]) -> dict[str, Any]:
        orders[number] = given
        return given

    return app


def order(version: int) -> dict[str, Any]:
    """An order of about 120 bytes, whose last member tells its versions apart."""
    return {
        "item": "green tea, second flush",
        "quantity": 2,
        "status": "paid",
        "note": "leave at the door",
        "version": version,
    }


plain = shop()
live_app = shop()
live = Restive(live_app)

PUBLIC = (b"cache-control", b"public, max-age=86400")


def shared() -> FastAPI:
    """The same orders, which a shared cache could keep."""
    app = shop()

    @app.middleware("http")
    async def public(request: Request, go_on: Any) -> Response:
        response: Response = await go_on(request)
        response.headers["cache-control"] = PUBLIC[1].decode()
        return response

    return app


public_app = shared()
live_public = Restive(public_app)


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers like ``shop``, with no framework at all."""
    if scope["type"] != "http":
        return
    await receive()
    body = json.dumps(order(0), separators=(",", ":")).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def bare_public(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same, which a shared cache could keep."""

    async def public(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append(PUBLIC)
        await send(message)

    await bare(scope, receive, public)


live_bare = Restive(bare)
live_bare_public = Restive(bare_public)


def by_hand() -> FastAPI:
    """What one writes without Restive: the PUT sends to every socket and to a queue for every stream."""
    app = FastAPI(openapi_url=None)
    sockets: set[WebSocket] = set()
    queues: set[asyncio.Queue[bytes]] = set()
    now = {"text": json.dumps(order(0), separators=(",", ":"))}

    @app.websocket("/watch")
    async def watch(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(now["text"])
        sockets.add(socket)
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        sockets.discard(socket)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    async def events() -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queues.add(queue)
        try:
            yield f"data: {now['text']}\n\n".encode()
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    @app.put("/orders/{_number}")
    async def write(_number: int, given: dict[str, Any]) -> Response:
        now["text"] = text = json.dumps(given, separators=(",", ":"))
        for socket in list(sockets):
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.send_text(text)
        for queue in queues:
            queue.put_nowait(f"data: {text}\n\n".encode())
        return Response(text, media_type="application/json")

    return app


hand_made = by_hand()
