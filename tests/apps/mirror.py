"""An app that answers what it was asked, looks that hang, and event streams of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from restive import Restive

WHO: ContextVar[str] = ContextVar("who", default="nobody")
PLAIN = ("type", "method", "scheme", "path", "root_path", "http_version")


class Mirror:
    """What the test changes, and what it learns."""

    def __init__(self) -> None:
        self.version = 1
        self.cancelled = 0
        self.started: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"database": "open", "visits": 0}


def make(**settings: Any) -> tuple[FastAPI, Restive, Mirror]:
    app = FastAPI(lifespan=lifespan)
    mirror = Mirror()
    live = Restive(app, **settings)

    @app.get("/echo")
    async def echo(request: Request, response: Response) -> dict[str, Any]:
        scope = request.scope
        response.set_cookie("seen", "secret")
        response.headers["cache-control"] = "private"
        seen = {
            "fields": dict(request.headers),
            "client": scope["client"],
            "extensions": sorted(scope.get("extensions") or {}),
            "look": (scope.get("restive") or {}).get("look"),
            "state": {k: v for k, v in scope["state"].items() if k != "secret_of"},
            "outer": scope["state"].get("secret_of"),
            "who": WHO.get(),
            "version": mirror.version,
            **{
                name: scope[name]
                for name in ("type", "method", "scheme", "path", "root_path", "http_version")
            },
            "query": scope["query_string"].decode(),
        }
        scope["state"]["visits"] += 1
        return seen

    _bodies(app, mirror)
    _streams(app)
    _negotiated(app)
    return app, live, mirror


def _bodies(app: FastAPI, mirror: Mirror) -> None:
    @app.get("/body")
    async def body(request: Request) -> dict[str, Any]:
        data = await request.body()
        return {"body": data.decode(), "gone": await request.is_disconnected(), "version": mirror.version}

    @app.get("/hang/{name}")
    async def hang(name: str) -> None:
        mirror.started.append(name)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            mirror.cancelled += 1
            raise

    @app.get("/waits")
    async def waits_for_disconnect(request: Request) -> dict[str, Any]:
        """Says how long a look keeps its client: a disconnect before the response would end it early."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await request.body()
                message = await request.receive()
                return {"came": message["type"]}
        return {"came": None}

    @app.get("/stuck")
    async def begins_and_hangs() -> StreamingResponse:
        async def stuck() -> AsyncIterator[bytes]:
            yield b'{"begun":'
            await hang("stuck")

        return StreamingResponse(stuck(), media_type="application/json", headers={"content-length": "100"})


async def ticks(prefix: str, end: str) -> AsyncIterator[str]:
    for n in range(3):
        yield f"{prefix}{n}{end}"
        await asyncio.sleep(0.01)


def _streams(app: FastAPI) -> None:
    @app.get("/ticks.sse")
    async def sse() -> StreamingResponse:
        return StreamingResponse(ticks(": own\nid: x\ndata: ", "\n\n"), media_type="text/event-stream")

    @app.get("/ticks.ndjson")
    async def ndjson() -> StreamingResponse:
        return StreamingResponse(ticks('{"own":', "}\n"), media_type="application/x-ndjson")

    @app.get("/ticks.json")
    async def endless_json() -> StreamingResponse:
        return StreamingResponse(ticks(" ", "\n"), media_type="application/json")

    @app.get("/ticks.multipart")
    async def multipart() -> StreamingResponse:
        return StreamingResponse(ticks("--b\r\n\r\n", "\r\n"), media_type="multipart/mixed; boundary=b")


def _negotiated(app: FastAPI) -> None:
    @app.get("/ticks/negotiated")
    async def negotiated(request: Request) -> Any:
        """An event stream for who asks for one, else JSON."""
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(ticks("data: own ", "\n\n"), media_type="text/event-stream")
        return {"plain": True}

    @app.get("/waiting")
    async def waits_itself(request: Request, response: Response) -> dict[str, Any]:
        """An app that speaks Prefer: wait by itself."""
        if "wait" in request.headers.get("prefer", ""):
            response.headers["preference-applied"] = "wait=7"
            return {"own": True}
        return {"own": False}

    @app.get("/picky")
    async def picky(request: Request) -> Any:
        """Answers 406 to who accepts no JSON."""
        if "json" not in (accept := request.headers.get("accept", "*/*")) and "*/*" not in accept:
            return Response(status_code=406)
        return {"picky": True}
