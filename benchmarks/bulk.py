"""The app of ``benchmarks.parts``: an operation that writes one big part, at once or when told to."""

from __future__ import annotations

import hashlib
import threading

from fastapi import FastAPI

from restive import Operation, Restive

app = FastAPI(openapi_url=None)
live = Restive(app)
go = threading.Event()

BLOCK = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(32_768))
"""1 MiB."""


@live.operation("/bulk")
def bulk(op: Operation, mebibytes: int, waits: bool = False) -> str:
    """The part's URL."""
    with op.part("bulk.bin") as file:
        file.write(BLOCK)
        if waits:
            go.wait()
        for _ in range(mebibytes - 1):
            file.write(BLOCK)
    return f"/bulk/{op.id}/parts/bulk.bin"


@app.post("/go")
def start() -> None:
    """Let it write."""
    go.set()
