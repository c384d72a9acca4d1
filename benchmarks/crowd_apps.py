"""The apps of the tables of many watchers: orders, made live by Restive.

``POST /changes`` changes several orders, or ``/mine``, in one turn of the loop. In the environment are the
size of a state, ``CROWD_SIZE``, and the file of versions that several processes share, ``CROWD_FILE``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket

from restive import Restive

from .case import compact, document

SIZE = int(os.environ.get("CROWD_SIZE", "120"))
ORDERS = 2048
MINE = ORDERS - 1
"""The place of the version of everybody's own rendering."""


@dataclass
class Change:
    """What is changed: the orders from ``start`` on, so many of them, or each user's own rendering."""

    version: int
    count: int = 1
    start: int = 0
    mine: bool = False


def shared_versions() -> memoryview:
    """The version of each order, and of ``/mine``: a number of 32 bits each."""
    path = os.environ.get("CROWD_FILE")
    if path is None:
        return memoryview(bytearray(4 * ORDERS)).cast("I")
    with open(path, "r+b") as file:
        return memoryview(mmap(file.fileno(), 4 * ORDERS)).cast("I")


def shop(cache_control: str = "") -> FastAPI:
    """Orders, and one rendering for each user. ``GET /looks`` tells how many looks were made.

    What a socket on ``/tell`` says is the new version of order 0.
    """
    app = FastAPI(openapi_url=None)
    versions = shared_versions()
    looks = {"looks": 0}
    headers = {"cache-control": cache_control} if cache_control else {}

    def answer(found: dict[str, Any]) -> Response:
        return Response(compact(found), media_type="application/json", headers=headers)

    @app.get("/orders/{number}")
    async def read(number: int) -> Response:
        looks["looks"] += 1
        return answer(document(versions[number], number, SIZE))

    @app.get("/mine")
    async def mine(request: Request) -> Response:
        looks["looks"] += 1
        user = int(request.headers["authorization"].removeprefix("Bearer "))
        return answer(document(versions[MINE], 0, SIZE, user))

    @app.get("/looks")
    async def count() -> dict[str, int]:
        return looks

    @app.post("/changes")
    async def change(given: Change) -> None:
        if given.mine:
            versions[MINE] = given.version
            live.changed("/mine")
            return
        numbers = range(given.start, given.start + given.count)
        for number in numbers:
            versions[number] = given.version
        live.changed(*(f"/orders/{number}" for number in numbers))

    @app.websocket("/tell")
    async def tell(socket: WebSocket) -> None:
        await socket.accept()
        async for version in socket.iter_text():
            versions[0] = int(version)
            live.changed("/orders/0")

    live = Restive(app)
    return app


live_app = shop()
live_public = shop("public, max-age=86400")
