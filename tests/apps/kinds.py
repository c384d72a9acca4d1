"""Resources of every kind that a look meets, set by PUT: text, XML, nothing, bytes, large, final, moved."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse

from restive import Restive

FOREVER = "max-age=31536000, immutable"
LARGE = 20_000
"""Bytes; the apps set max_representation= below it."""


class Shelf:
    """What lies where."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {"hello": "hello\nworld\n"}
        self.bytes: dict[str, bytes] = {"pixel": bytes(range(256))}
        self.results: dict[str, Any] = {}
        self.sealed: set[str] = set()
        self.moved: dict[str, str] = {}


def make(**settings: Any) -> tuple[FastAPI, Restive, Shelf]:
    app = FastAPI()
    shelf = Shelf()
    _texts(app, shelf)
    _bytes(app, shelf)
    _results(app, shelf)
    return app, Restive(app, **settings), shelf


def _texts(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/texts/{name}")
    async def text(name: str) -> Response:
        if name not in shelf.texts:
            raise HTTPException(404)
        return PlainTextResponse(shelf.texts[name]) if shelf.texts[name] else Response(status_code=204)

    @app.get("/xml/{name}")
    async def xml(name: str) -> Response:
        return Response(f"<text>{shelf.texts[name]}</text>", media_type="application/xml")

    @app.put("/texts/{name}", status_code=204)
    @app.put("/xml/{name}", status_code=204)
    async def write(name: str, request: Request) -> None:
        shelf.texts[name] = (await request.body()).decode()


def _bytes(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/bytes/{name}")
    async def read(name: str) -> Response:
        return Response(shelf.bytes[name], media_type="application/octet-stream")

    @app.get("/large/{name}")
    async def large(name: str, padding: int = LARGE) -> Response:
        content = {"padding": "x" * padding, "bytes": shelf.bytes[name].hex()}
        return JSONResponse(content, headers={"etag": f'"large-{hash(shelf.bytes[name]) & 0xFFFF}"'})

    @app.put("/bytes/{name}", status_code=204)
    @app.put("/large/{name}", status_code=204)
    async def write(name: str, request: Request) -> None:
        shelf.bytes[name] = await request.body()


def _results(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/results/{name}")
    async def result(name: str, response: Response) -> Any:
        if name in shelf.moved:
            return RedirectResponse(shelf.moved[name], 307)
        if name not in shelf.results:
            raise HTTPException(404)
        if name in shelf.sealed:
            response.headers["cache-control"] = FOREVER
        return shelf.results[name]

    @app.put("/results/{name}", status_code=204)
    async def set_result(name: str, value: dict[str, Any], sealed: bool = False) -> None:
        shelf.results[name] = value
        if sealed:
            shelf.sealed.add(name)

    @app.delete("/results/{name}", status_code=204)
    async def drop(name: str) -> None:
        shelf.results.pop(name, None)

    @app.put("/results/{name}/location", status_code=204)
    async def move(name: str, to: str) -> None:
        shelf.moved[name] = to
