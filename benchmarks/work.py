"""The apps of ``benchmarks.looks``: a GET that computes, one that blocks a thread, one that waits."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import FastAPI

from restive import Restive

COMPUTE, BLOCK, WAIT = 0.001, 0.005, 0.020
"""Seconds that each GET takes."""


class Waiting:
    """Tells users, not looks, how many looks wait at the moment of the response."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""

        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                waiting = repr(live.hub()).partition(" waiting=")[2].rstrip(">")
                message["headers"].append((b"x-waiting", waiting.encode()))
            await send(message)

        own = scope["type"] == "http" and "restive" not in scope
        await self._app(scope, receive, tell if own else send)


app = FastAPI(openapi_url=None)
app.add_middleware(Waiting)
live = Restive(app)
version = 0


def state(kind: str) -> dict[str, Any]:
    """What a GET answers."""
    return {"kind": kind, "version": version}


@app.get("/compute")
async def compute() -> dict[str, Any]:
    """CPU work on the event loop."""
    end = time.thread_time() + COMPUTE
    while time.thread_time() < end:
        pass
    return state("compute")


@app.get("/block")
def block() -> dict[str, Any]:
    """A blocking call, in Starlette's thread pool; the work of a database driver."""
    time.sleep(BLOCK)
    return state("block")


@app.get("/wait")
async def wait() -> dict[str, Any]:
    """An await, as of another service."""
    await asyncio.sleep(WAIT)
    return state("wait")


@app.post("/changes/{kind}")
async def change(kind: str) -> None:
    """A change that every watcher of ``kind`` is to see."""
    global version
    version += 1
    live.changed(f"/{kind}")
