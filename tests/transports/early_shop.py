"""A small shop on the fast path, clients that are connections, and which requests were no ASGI call."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from restive import Restive
from restive.transports.uvicorn import Http
from scenarios.servers import ThreadServer
from transports.bare_client import Raw, request

PUBLIC = {"cache-control": "public, max-age=600"}
FIELDS = {"Host": "shop.test"}
SAME = request("/a", FIELDS)
"""The request that comes again and again."""


class Shop:
    """Pages, how they may be cached, and what woke the app."""

    def __init__(self, **settings: Any) -> None:
        self.version = 0
        self.lock = threading.Lock()
        self.headers: dict[str, str] = dict(PUBLIC)
        self.bodies: dict[str, bytes] = {}
        self.pages: dict[str, dict[str, str]] = {}
        """Fields of some pages, beyond ``headers``."""
        self.woken: list[str] = []
        self.hold: asyncio.Event | None = None
        routes = [Route("/slow", self.slow)]
        routes += [Route("/{path:path}", self.read), Route("/{path:path}", self.write, methods=["PUT"])]
        self.app = Starlette(routes=routes)
        self.live = Restive(self.app, backend="memory:", **{"settle": 600, "min_interval": 0.0, **settings})

    async def read(self, request: Request) -> Response:
        self.woken.append("look" if "restive" in request.scope else request.method)
        body = self.bodies.get(request.url.path, b'{"n":%d}' % self.version)
        own = self.pages.get(request.url.path, {})
        return Response(body, headers={"content-type": "application/json", **self.headers, **own})

    def commit(self) -> int:
        """Make it another version, on any thread."""
        with self.lock:
            self.version += 1
            return self.version

    async def slow(self, request: Request) -> Response:
        self.woken.append("slow")
        self.hold = asyncio.Event()
        await self.hold.wait()
        return Response("slow")

    async def write(self, request: Request) -> Response:
        version = self.commit()
        for _ in range(int(request.query_params.get("turns", "0"))):
            await asyncio.sleep(0)
        return JSONResponse(version)


class Segments:
    """What reached one server, and how often a segment of it was answered early."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early = 0

    async def early(self) -> int:
        """How many, once the server has done with what its clients have got already."""

        async def count() -> int:
            return self._early

        if self._loop is None:
            return 0
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), self._loop))

    def protocol(self) -> type[Http]:
        """uvicorn's option ``http``."""
        segments = self

        class Told(Http):
            def data_received(self, data: bytes) -> None:
                segments._loop = self.loop
                segments.seen.append(data)
                super().data_received(data)

            def answered(self, data: bytes) -> bool:
                found = super().answered(data)
                segments._early += found
                return found

        return Told


class Answer:
    """A response as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(first.split(" ")[1])
        self.lines = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
        self.fields = dict(self.lines)
        self.body = body
        self.text = (first, body)

    @property
    def hit(self) -> bool:
        return self.fields.get("cache-status", "").startswith("restive; hit")

    def timeless(self) -> Any:
        """All but what depends on the second."""
        lines = [(name, "" if name in {"date", "age"} else value) for name, value in self.lines]
        return self.text, [(name, value.partition("ttl=")[0]) for name, value in lines]


class Caller(Raw):
    """A connection that asks."""

    async def answer(self, method: str = "GET") -> Answer:
        """The next response."""
        head = await self.until(b"\r\n\r\n")
        got = Answer(head, b"")
        if method != "HEAD" and got.status != 304:
            got = Answer(head, await self.exactly(int(got.fields["content-length"])))
        return got

    async def ask(self, data: bytes = SAME) -> Answer:
        """The response to ``data``, sent in one piece."""
        self.send(data)
        return await self.answer(data.split(b" ", 1)[0].decode())

    async def known(self, data: bytes = SAME) -> Answer:
        """Ask twice, so that the server knows the request from now on; the second response."""
        await self.ask(data)
        return await self.ask(data)


@contextlib.asynccontextmanager
async def watched(
    server: ThreadServer, target: str = "/a", fields: Mapping[str, str] = FIELDS, **options: Any
) -> AsyncIterator[Caller]:
    """Somebody watches ``target``, and has its first state."""
    async with Caller(server.port, **options) as watcher:
        watcher.send(request(f"{target}{'&' if '?' in target else '?'}live=sse", fields))
        await watcher.until(b"data:")
        yield watcher
