"""Apps with streams, for servers of the tests. The environment says what they are like."""

from __future__ import annotations

import os

from fastapi import FastAPI

from restive import Restive

app = FastAPI()
live = Restive(
    app,
    backend=os.environ.get("STREAMS_BACKEND", "memory:"),
    allow_origins=["https://example.com"],
    wait=2.0,
)
streams = live.stream("/v1/stream/{name:path}", content_type="*/*", writable=True)


@app.get("/polls")
def polls() -> int:
    """Long polls under way."""
    assert live.streams is not None
    return live.streams.service.polls.total()
