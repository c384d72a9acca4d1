"""A board whose notes are watched by event streams, clients that ask for them in given bytes, and which of
those requests were no ASGI call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from restive import Restive
from restive.hub.hub import Hub
from restive.transports.bare_stream import BareStream
from restive.transports.uvicorn import Http, reads
from scenarios.servers import Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Raw, request

FIELDS = {"Host": "shop.test"}
PUBLIC = {"cache-control": "public, max-age=600"}
QUIET: dict[str, Any] = {"backend": "memory:", "settle": 600, "min_interval": 0.0}


def asking(target: str = "/a?live=sse", **fields: str) -> bytes:
    """A request; names of fields with ``_`` for ``-``."""
    return request(target, {**FIELDS, **{name.replace("_", "-"): value for name, value in fields.items()}})


SAME = asking()
"""The request that comes again and again."""


def bearer(name: str) -> bytes:
    return asking("/a?live=sse", Authorization=f"Bearer {name}")


class Board:
    """Notes, who may read them, and what woke the app."""

    def __init__(self, **settings: Any) -> None:
        self.n = 0
        self.lock = threading.Lock()
        self.absent: set[str] = set()
        self.removed: list[int] = []
        """Versions in which a note was taken away."""
        self.headers: dict[str, str] = {}
        self.rights: set[str] | None = None
        """The values of Authorization that are let in; None: anybody."""
        self.padding = ""
        self.woken: list[str] = []
        self.lag = 0
        """Turns of the loop between what a read finds and its response."""
        self.delay: asyncio.Event | None = None
        """What reads wait for between what they find and its response."""
        self.waiting = 0
        """Reads that do."""
        self.hold: asyncio.Event | None = None
        """Of a ``PUT ?hold``, which was committed and not answered yet."""
        methods = {"GET": self.read, "PUT": self.write, "DELETE": self.remove}
        routes = [Route("/{path:path}", call, methods=[name]) for name, call in methods.items()]
        self.app = Starlette(routes=routes)
        self.live = Restive(self.app, **{**QUIET, **settings})

    async def read(self, request: Request) -> Response:
        self.woken.append("look" if "restive" in request.scope else request.method)
        response = self.answer(request)
        if self.delay is not None:
            self.waiting += 1
            await self.delay.wait()
            self.waiting -= 1
        for _ in range(self.lag):
            await asyncio.sleep(0)
        return response

    def answer(self, request: Request) -> Response:
        user = request.headers.get("authorization", "")
        if self.rights is not None and user not in self.rights:
            return Response(status_code=401)
        if request.url.path in self.absent:
            return Response(status_code=404)
        body = {"n": self.n, "user": user, "padding": self.padding, "path": request.url.path}
        return JSONResponse(body, headers=self.headers)

    def commit(self, path: str, *, absent: bool = False) -> int:
        """Make it another version, on any thread."""
        with self.lock:
            self.n += 1
            (self.absent.add if absent else self.absent.discard)(path)
            if absent:
                self.removed.append(self.n)
            return self.n

    async def write(self, request: Request) -> Response:
        n = self.commit(request.url.path)
        await self.pause(request)
        return JSONResponse(n)

    async def remove(self, request: Request) -> Response:
        n = self.commit(request.url.path, absent=True)
        await self.pause(request)
        return JSONResponse(n)

    async def pause(self, request: Request) -> None:
        """Between the commit and the response."""
        if "hold" in request.query_params:
            self.loop, self.hold = asyncio.get_running_loop(), asyncio.Event()
            await self.hold.wait()
        for _ in range(int(request.query_params.get("turns", "0"))):
            await asyncio.sleep(0)

    async def go_on(self) -> None:
        """Let the reads go on that wait for ``delay``."""
        delay, self.delay = self.delay, None
        assert delay is not None
        self.hub.loop.call_soon_threadsafe(delay.set)
        await until(lambda: not self.waiting)

    def finish(self) -> None:
        """Let the write be answered that waits for ``hold``."""
        hold, self.hold = self.hold, None
        assert hold is not None
        self.loop.call_soon_threadsafe(hold.set)

    def set(self, n: int) -> None:
        """Another state, announced from this thread."""
        self.n = n
        self.live.changed("/a")

    @property
    def hub(self) -> Hub:
        """That of the server's loop."""
        (hub,) = self.live._hubs.values()
        return hub

    def counted(self) -> int:
        """Live connections in the books of the front door."""
        assert self.live._door is not None
        return self.live._door._core._connections.total()


class Early:
    """Which requests of one server opened a stream early; and its connections, as long as they live."""

    def __init__(self) -> None:
        self.http: weakref.WeakSet[Http] = weakref.WeakSet()
        self.segments = 0
        """That have come."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0

    async def count(self) -> int:
        """How many did, once the server has done with what its clients have got already."""

        async def counted() -> int:
            return self._count

        if self._loop is None:
            return 0
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(counted(), self._loop))

    def protocol(self) -> type[Http]:
        """uvicorn's option ``http``."""
        early = self

        class Told(Http):
            def connection_made(self, transport: Any) -> None:
                early._loop = self.loop
                early.http.add(self)
                super().connection_made(transport)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                early.segments += 1

            def streamed(self, data: bytes) -> bool:
                found = super().streamed(data)
                early._count += found
                return found

        return Told


class Began(NamedTuple):
    """How a stream began."""

    head: bytes
    first: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def timeless(self) -> tuple[bytes, bytes]:
        """All but the Date."""
        return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", self.head), self.first

    @property
    def n(self) -> int:
        """The version that was told."""
        return number(self.first)


def number(chunk: bytes) -> int:
    found = re.search(rb'"n":(\d+)', chunk)
    assert found is not None, chunk
    return int(found[1])


class Reader(Raw):
    """A connection that asks for a stream."""

    async def begun(self) -> Began:
        """How the response to what was sent begins."""
        head = await self.until(b"\r\n\r\n")
        streams = b"transfer-encoding: chunked" in head
        return Began(head, await self.chunk() if streams else b"")

    async def ask(self, data: bytes = SAME) -> Began:
        """The beginning of the response to ``data``, sent in one piece."""
        self.send(data)
        return await self.begun()

    async def read(self, target: str) -> None:
        """A plain read before."""
        self.send(asking(target))
        await self.until(b'"path":"%b"}' % target.encode())

    async def told(self) -> int:
        """The version that is told next, whatever silence comes before."""
        while b'"n":' not in (chunk := await self.chunk()):
            assert chunk.strip() in {b"", b":"}, chunk
        return number(chunk)


@contextlib.asynccontextmanager
async def reading(server: ThreadServer, data: bytes = SAME, **options: Any) -> AsyncIterator[Reader]:
    """Somebody reads the stream that ``data`` asks for, and has its first state."""
    async with Reader(server.port, **options) as reader:
        assert (await reader.ask(data)).status == 200
        yield reader


def start(serve: Serve, board: Board, early: Early, app: Any = None, **config: Any) -> ThreadServer:
    return serve(board.app if app is None else app, http=early.protocol(), **config)


def known(server: ThreadServer) -> Mapping[bytes, Any]:
    """The requests of streams that the server knows by their bytes."""
    (found,) = [r.streams for state, r in reads._servers.items() if state is server._server.server_state]
    return found


async def all_gone(server: ThreadServer, board: Board) -> None:
    """Wait until nothing is left of any client."""
    await until(lambda: not server._server.server_state.connections)
    await until(lambda: not board.live._hubs)
    assert board.counted() == 0


def bare(server: ThreadServer) -> list[BareStream]:
    return [each for each in server._server.server_state.connections if isinstance(each, BareStream)]


def uncollected(early: Early) -> int:
    """Connections of HTTP that live on, whatever the collector of cycles has not come to yet."""
    gc.collect()
    return len(early.http)
