"""A part that is dropped while it is followed: the reader sees that it is not whole, whatever is between."""

from __future__ import annotations

import threading

import httpx2
import pytest
from fastapi import FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from restive import Operation, Restive
from scenarios.servers import FAST, FAST_PATH, ThreadServer

MIDDLEWARE = {
    "none": {},
    "dispatch": {"dispatch": lambda request, call_next: call_next(request)},
    "gzip": {"minimum_size": 10},
}


async def read(http: httpx2.AsyncClient, url: str, gate: threading.Event) -> None:
    """Read to the end; the gate is opened once the answer has begun."""
    async with http.stream("GET", url) as answer:
        assert answer.status_code == 200
        gate.set()
        async for _ in answer.aiter_bytes():
            pass


@pytest.mark.parametrize("path", [{}, FAST_PATH], ids=["plain", "fast"])
@pytest.mark.parametrize("middleware", MIDDLEWARE)
async def test_a_reader_of_a_dropped_part_is_cut_without_a_traceback(middleware, path, capfd):
    app, begun, gate = FastAPI(), threading.Event(), threading.Event()
    if options := MIDDLEWARE[middleware]:
        app.add_middleware(GZipMiddleware if middleware == "gzip" else BaseHTTPMiddleware, **options)
    live = Restive(app, **FAST)

    @live.operation("/logs")
    def write(op: Operation) -> None:
        with op.part("log.txt") as file:
            file.write(b"the first line\n")
            begun.set()
            gate.wait(10)
            raise ValueError("it cannot be done")

    server = ThreadServer(app, **path)
    try:
        async with httpx2.AsyncClient(base_url=server.url) as http:
            location = (await http.post("/logs")).headers["location"]
            assert begun.wait(10)
            with pytest.raises(httpx2.RemoteProtocolError):
                await read(http, f"{location}/parts/log.txt", gate)
    finally:
        gate.set()
        server.stop()
    said = capfd.readouterr().err
    assert "Traceback" not in said
