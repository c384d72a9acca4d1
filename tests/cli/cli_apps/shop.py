"""One value that all workers read from a file, as they would from a database."""

from __future__ import annotations

from pathlib import Path

from fastapi import Body, FastAPI

from restive import Restive

app = FastAPI()
live = Restive(app)
stored = Path("seen.txt")


@app.get("/seen")
def read() -> int:
    return int(stored.read_text()) if stored.exists() else 0


@app.put("/seen")
def write(value: int = Body()) -> int:
    stored.write_text(str(value))
    return value
