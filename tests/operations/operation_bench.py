"""A host as small as can be, an app with operations, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from restive.backends.port import Backend
from restive.operations import Operations
from restive.settings import Settings


class TinyHost:
    """What ``Operations`` asks of a ``Restive``; remembers what was announced."""

    def __init__(self, backend: Backend, home: Path, **settings: Any) -> None:
        self.backend, self.home = backend, home
        self.settings = Settings.of({"report_interval": 0.01, "workers": 2, **settings})
        self.announced: list[str] = []

    def changed(self, *targets: str, below: bool = False) -> None:
        self.announced += targets

    def twin(self) -> Callable[[], TinyHost]:
        raise NotImplementedError


class Bench:
    """An app with operations, and a client that speaks to it without a network."""

    def __init__(self, host: TinyHost) -> None:
        self.host = host
        self.operations = Operations(host)
        self.app = FastAPI()
        self.operations.mount(self.app)
        self.client = self.new_client()

    def new_client(self, **options: Any) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx2.AsyncClient(transport=transport, base_url="http://app.test", **options)

    def reborn(self, **settings: Any) -> Bench:
        """A second process as far as operations can tell: only backend and folder are the same."""
        return Bench(TinyHost(self.host.backend, self.host.home, **settings))

    async def settled(self) -> None:
        """Return once nothing runs any more, and all that is to be announced was announced."""
        await asyncio.to_thread(self.operations.drain, 10)

    def operation(self, path: str, **options: Any) -> Callable[[Any], Any]:
        def declare(function: Any) -> Any:
            self.operations.declare(path, function, **options)
            return function

        return declare

    async def until(self, url: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The document at ``url`` once ``holds`` is true of it."""

        async def poll() -> dict[str, Any]:
            while True:
                document = (await self.client.get(url)).json()
                if holds(document):
                    return document
                await asyncio.sleep(0.005)

        return await asyncio.wait_for(poll(), 10)

    async def done(self, url: str) -> dict[str, Any]:
        """The document at ``url`` once it is final."""
        return await self.until(url, lambda it: it["status"] in {"succeeded", "failed", "canceled"})

    async def run(self, url: str, **request: Any) -> dict[str, Any]:
        """Submit, and the document once it is final."""
        response = await self.client.post(url, **request)
        assert response.status_code == 202, response.text
        return await self.done(response.headers["location"])
