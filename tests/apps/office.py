"""Answers of every kind for requests over a socket and for plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)

from restive import Restive


class Office:
    """A document, and what was done to it."""

    def __init__(self) -> None:
        self.document: Any = {"n": 1}
        self.done: list[str] = []
        self.running = 0
        self.go_on = asyncio.Event()


def make(**settings: Any) -> tuple[FastAPI, Restive, Office]:
    app = FastAPI()
    office = Office()
    _documents(app, office)
    _answers(app)
    _problems(app)
    _slow(app, office)
    return app, Restive(app, **settings), office


def _documents(app: FastAPI, office: Office) -> None:
    @app.get("/document")
    async def read() -> Any:
        return office.document

    @app.put("/document")
    async def write(request: Request) -> Any:
        office.document = await request.json()
        office.done.append("put")
        return office.document

    @app.delete("/document", status_code=204)
    async def delete() -> None:
        office.done.append("delete")

    @app.api_route("/reflect", methods=["GET", "POST", "PUT", "PATCH"])
    async def reflect(request: Request) -> dict[str, Any]:
        body = await request.body()
        fields = {name: request.headers.getlist(name) for name in request.headers}
        return {
            "method": request.method,
            "fields": fields,
            "body": body.decode("latin-1"),
            "url": str(request.url),
        }

    @app.get("/tagged")
    async def tagged() -> Response:
        return JSONResponse(office.document, headers={"etag": '"its-own"'})


def _answers(app: FastAPI) -> None:
    @app.get("/text")
    async def text() -> Response:
        return PlainTextResponse("grüße\n")

    @app.get("/bytes")
    async def data() -> Response:
        return Response(b"\x00\xff", media_type="application/octet-stream")

    @app.get("/asset.{kind}")
    async def asset(kind: str) -> Response:
        return Response(
            "body {}", media_type={"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[kind]
        )

    @app.get("/large")
    async def large() -> Response:
        return JSONResponse({"x": "y" * 200_000})

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def ticks() -> AsyncIterator[bytes]:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(ticks(), media_type="text/event-stream")


def _problems(app: FastAPI) -> None:
    @app.get("/redirect")
    async def redirect() -> Response:
        return RedirectResponse("/document", 307)

    @app.get("/cookies")
    async def cookies() -> Response:
        response = JSONResponse({"x": 1})
        response.set_cookie("sid", "s3cret")
        response.set_cookie("other", "s3cret")
        response.headers.append("x-many", "1")
        response.headers.append("x-many", "2")
        return response

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("s3cret")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(403, "no")

    @app.get("/not-json")
    async def not_json() -> Response:
        return Response(b'{"a": NaN}', media_type="application/json")

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(__file__, media_type="text/plain")


def _slow(app: FastAPI, office: Office) -> None:
    @app.api_route("/slow", methods=["GET", "POST"])
    async def slow(request: Request) -> dict[str, Any]:
        office.running += 1
        try:
            while not office.go_on.is_set():
                await asyncio.sleep(0.01)
            office.done.append(f"slow {request.method}")
        finally:
            office.running -= 1
        return {}

    @app.get("/late")
    async def late() -> StreamingResponse:
        """The head at once, the body only when the test says so."""

        async def piece() -> AsyncIterator[bytes]:
            while not office.go_on.is_set():
                await asyncio.sleep(0.01)
            yield b"{}"

        return StreamingResponse(piece(), media_type="application/json")

    @app.get("/drip")
    async def drip() -> StreamingResponse:
        """JSON in pieces, the second of which comes only when the test says so."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"first": 1,'
            while not office.go_on.is_set():
                await asyncio.sleep(0.01)
            yield b'"second": 2}'

        return StreamingResponse(pieces(), media_type="application/json")
