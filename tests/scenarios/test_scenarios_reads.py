"""Plain reads that the hub answers, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, Response

from restive import Restive
from scenarios.servers import Serve
from scenarios.watches import new_client


class Counter:
    """A number in memory, and which functions of the app ran for clients."""

    def __init__(self) -> None:
        self.value = 0
        self.reads = 0
        self.lock = threading.Lock()

    def add(self) -> int:
        with self.lock:
            self.value += 1
            return self.value


def make(**settings: Any) -> tuple[FastAPI, Restive, Counter]:
    app = FastAPI()
    counter = Counter()

    @app.get("/counter")
    def read(response: Response) -> int:
        counter.reads += 1
        response.headers["cache-control"] = "public, max-age=600"
        return counter.value

    @app.get("/plain")
    def plain() -> int:
        counter.reads += 1
        return counter.value

    @app.put("/{name}")
    def write(name: str, tasks: BackgroundTasks) -> int:
        tasks.add_task(len, name)
        return counter.add()

    @app.post("/elsewhere")
    def elsewhere() -> int:
        value = counter.add()
        live.changed("/counter", "/plain")
        return value

    live = Restive(app, backend="memory:", **settings)
    live.fresh("/plain")
    return app, live, counter


@contextlib.asynccontextmanager
async def watched(http: httpx2.AsyncClient, url: str) -> Any:
    async with http.stream("GET", f"{url}?live=sse") as response:
        lines = response.aiter_lines()
        while not (await anext(lines)).startswith("data:"):
            pass
        yield lines  # kept: without it the response would be closed


@pytest.mark.parametrize("path", ["/counter", "/plain"])
async def test_a_read_wakes_nobody_and_comes_with_its_age(
    serve: Serve, http: httpx2.AsyncClient, path: str
) -> None:
    app, _, counter = make()
    url = f"{serve(app).url}{path}"
    async with watched(http, url):
        before = counter.reads
        for _ in range(5):
            response = await http.get(url)
            assert response.json() == 0
            assert response.headers["cache-status"].startswith("restive; hit; ttl=")
            assert int(response.headers["age"]) <= 8
        again = await http.get(url, headers={"if-none-match": response.headers["etag"]})
        head = await http.head(url)
        assert (again.status_code, head.status_code) == (304, 200)
        assert counter.reads == before


@pytest.mark.parametrize("path", ["/counter", "/plain"])
async def test_everybody_reads_what_was_written_over_any_connection(
    serve: Serve, http: httpx2.AsyncClient, path: str
) -> None:
    """Writers and readers on connections of their own: nobody gets less than what was answered already."""
    app, _, counter = make(min_interval=0.0, settle=0.1)
    base = serve(app).url
    known = 0

    async def write(client: httpx2.AsyncClient, n: int) -> None:
        nonlocal known
        for i in range(15):
            sent = client.post(f"{base}/elsewhere") if (n + i) % 3 == 0 else client.put(f"{base}{path}")
            written = (await sent).json()
            known = max(known, written)
            assert (await http.get(f"{base}{path}")).json() >= written

    async def read(client: httpx2.AsyncClient) -> None:
        while known < 30:
            least = known
            response = await client.get(f"{base}{path}")
            assert response.json() >= least

    async with watched(http, f"{base}{path}"), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(new_client()) for _ in range(4)]
        await asyncio.gather(
            *(write(client, n) for n, client in enumerate(clients[:2])), *(read(c) for c in clients[2:])
        )
        response = await http.get(f"{base}{path}")
        assert response.json() == counter.value == 30


async def test_a_stampede_wakes_the_app_once(serve: Serve, http: httpx2.AsyncClient) -> None:
    app, live, counter = make(min_interval=5.0, settle=600)
    url = f"{serve(app).url}/counter"
    async with watched(http, url):
        before = counter.reads
        live.changed("/counter")
        await asyncio.gather(*(http.get(url) for _ in range(40)))
        assert counter.reads <= before + 2
