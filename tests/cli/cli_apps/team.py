"""One value that all workers read from a file, and what a test asks of the worker that answers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Body, FastAPI

from restive import Restive


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """It does not start while there is a file `closed`."""
    if Path("closed").exists():
        raise RuntimeError("The shop is closed.")
    yield


app = FastAPI(lifespan=lifespan)
live = Restive(app, settle=0.1, **json.loads(os.environ.get("TEAM_SETTINGS", "{}")))
stored = Path("seen.txt")


@app.get("/seen")
def read() -> int:
    return int(stored.read_text()) if stored.exists() else 0


@app.put("/seen")
def write(value: int = Body()) -> int:
    stored.with_suffix(".new").write_text(str(value))
    stored.with_suffix(".new").replace(stored)
    return value


@live.never
@app.get("/worker")
async def worker() -> dict[str, Any]:
    """Which process answers, and how many live connections it has."""
    hub = live.current_hub()
    return {"pid": os.getpid(), "clients": len(hub.connections) if hub is not None else 0}


@live.never
@app.get("/slow/{name}")
def slow(name: str, seconds: float) -> float:
    """Says by a file that it has begun."""
    Path(name).touch()
    time.sleep(seconds)
    return seconds
