"""Every place in which a FastAPI app can commit: endpoint, dependency, background, thread, failure, abort."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

import restive
from restive import Restive


class Ledger:
    """Accounts, and what is committed later."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.looks: Counter[str] = Counter()
        self.aborted = threading.Event()
        self.live: Any = None
        self.server: Any = None

    def add(self, name: str) -> None:
        self.accounts[name] = self.accounts.get(name, 0) + 1


def make(**settings: Any) -> tuple[FastAPI, Restive, Ledger]:
    app = FastAPI()
    ledger = Ledger()
    ledger.live = live = Restive(app, **settings)
    _reads(app, ledger)
    _plain_writes(app, ledger)
    _late_writes(app, ledger)
    _broken_writes(app, ledger)
    _elsewhere_writes(app, ledger)
    return app, live, ledger


def _reads(app: FastAPI, ledger: Ledger) -> None:
    async def read(request: Request, response: Response) -> dict[str, Any]:
        path = request.url.path
        ledger.looks[path] += "restive" in request.scope
        if path not in ledger.accounts:
            raise HTTPException(404)
        for name, value in ledger.headers.get(path, {}).items():
            response.headers[name] = value
        return {"amount": ledger.accounts[path]}

    app.get("/")(read)
    app.get("/a/{rest:path}")(read)


def _plain_writes(app: FastAPI, ledger: Ledger) -> None:
    async def write(request: Request) -> dict[str, Any]:
        for path in request.query_params.getlist("also") or [request.url.path]:
            ledger.add(path)
        status = int(request.query_params.get("status", "200"))
        if status != 200:
            raise HTTPException(status)
        return {}

    async def remove(request: Request) -> None:
        for path in [p for p in ledger.accounts if p.startswith(request.url.path)]:
            del ledger.accounts[path]

    app.api_route("/a/{rest:path}", methods=["PUT", "PATCH", "PURGE", "QUERY", "PROPFIND"])(write)
    app.delete("/a/{rest:path}", status_code=204)(remove)


def _late_writes(app: FastAPI, ledger: Ledger) -> None:
    def request_scoped(request: Request) -> Iterator[None]:
        yield
        ledger.add(request.url.path)

    async def function_scoped(request: Request) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0.05)
        ledger.add(request.url.path)

    @app.post("/a/{name}/yield-request", dependencies=[Depends(request_scoped, scope="request")])
    async def by_request(name: str) -> dict[str, Any]:
        return {}

    @app.post("/a/{name}/yield-function", dependencies=[Depends(function_scoped, scope="function")])
    async def by_function(name: str) -> dict[str, Any]:
        return {}

    @app.post("/a/{name}/background")
    async def in_background(request: Request, tasks: BackgroundTasks) -> dict[str, Any]:
        async def later() -> None:
            await asyncio.sleep(0.2)
            ledger.add(request.url.path)

        tasks.add_task(later)
        return {}


def _broken_writes(app: FastAPI, ledger: Ledger) -> None:
    @app.post("/a/{name}/error")
    async def fails_after_commit(request: Request) -> None:
        ledger.add(request.url.path)
        raise RuntimeError("after the commit")

    @app.post("/a/{name}/abort")
    async def streams_until_gone(request: Request) -> StreamingResponse:
        async def endless() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"."
                    await asyncio.sleep(0.01)
            finally:
                ledger.add(request.url.path)
                ledger.aborted.set()

        return StreamingResponse(endless())

    @app.post("/a/{name}/upload")
    async def body_cut_off(request: Request) -> dict[str, Any]:
        ledger.add(request.url.path)
        try:
            await request.body()
        except ClientDisconnect:
            ledger.aborted.set()
            raise
        return {}


def _elsewhere_writes(app: FastAPI, ledger: Ledger) -> None:
    @app.get("/announce")
    def announce(path: str) -> None:
        """A safe request that changes and says so by the package's function, in a worker thread."""
        ledger.add(path)
        restive.changed(path)

    @app.post("/do")
    async def do(changes: str, request: Request, response: Response) -> dict[str, Any]:
        """Change one thing, and say so by the response fields that the query names."""
        ledger.add(changes)
        for name in ("location", "content-location", "cache-group-invalidation"):
            if name in request.query_params:
                response.headers[name] = request.query_params[name]
        response.status_code = int(request.query_params.get("status", "200"))
        return {}
