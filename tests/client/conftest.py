"""The scripted server and clients with short times."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from scripted import Script

from restive.client import AsyncClient, Policy
from scenarios.servers import ThreadServer

TLS = ssl.create_default_context()
"""One for all clients, since making it takes longer than most tests."""

FAST = Policy(
    patience=0.5,
    silence=1.0,
    wait=1.0,
    poll_interval=0.05,
    backoff=0.03,
    most_backoff=0.2,
    stable=0.3,
    better_after=60.0,
    linger=0.1,
)


@pytest.fixture
def policy() -> Policy:
    return FAST


@pytest.fixture
def script() -> Script:
    script = Script()
    script.put("/a", {"n": 0})
    return script


class Stage:
    """The server's app. A header names the script: a late request of one test cannot reach another's."""

    def __init__(self) -> None:
        self.scripts: dict[bytes, Script] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.scripts[dict(scope["headers"])[b"x-script"]](scope, receive, send)


@pytest.fixture(scope="session")
def stage() -> Iterator[ThreadServer]:
    """One server for all tests that let it live."""
    server = ThreadServer(Stage(), ws_ping_interval=None, log_level="critical")
    yield server
    server.stop()


@pytest.fixture
def server(stage: ThreadServer, script: Script) -> Iterator[ThreadServer]:
    stage.app.scripts[str(id(script)).encode()] = script
    yield stage
    script.hang_up()


@pytest.fixture
def mortal(script: Script) -> Iterator[ThreadServer]:
    """A server of the test's own, which it may stop and start."""
    server = ThreadServer(script, ws_ping_interval=None, log_level="critical")
    yield server
    script.hang_up()
    server.stop()


@pytest.fixture
async def connect(server: ThreadServer, script: Script) -> AsyncIterator[Callable[..., AsyncClient]]:
    """Clients of the scripted server; closed with the test."""
    async with AsyncExitStack() as stack:
        made: list[AsyncClient] = []

        def make(url: str | None = None, **options: Any) -> AsyncClient:
            headers = {"x-script": str(id(script)), **options.pop("headers", {})}
            given = {"policy": FAST, "trust_env": False, "verify": TLS, "headers": headers, **options}
            client = AsyncClient(url or server.url, **given)
            made.append(client)
            return client

        yield make
        for client in made:
            await stack.enter_async_context(client)


async def until(condition: Callable[[], bool], timeout: float = 8.0) -> None:
    """Wait until the other side has come so far."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return until
