"""Servers and an HTTP client for the tests that need a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, settings

from scenarios.servers import FAST_PATH, ProcessServer, Serve, Spawn, ThreadServer
from scenarios.watches import new_client

pytest_plugins = ["engines.fixtures"]

# Machines that run tests are busy: how long an example takes says nothing.
settings.register_profile("restive", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("restive")


@pytest.fixture(scope="session")
def stopping_servers() -> Iterator[list[ThreadServer]]:
    """Servers that end beside the following tests; every one has to."""
    servers: list[ThreadServer] = []
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def fast() -> bool:
    """Whether connections can be taken over from uvicorn; a folder of tests may say otherwise."""
    return False


@pytest.fixture
def serve(fast: bool, stopping_servers: list[ThreadServer]) -> Iterator[Serve]:
    """Serve an ASGI app in a thread until the test is over."""
    servers: list[ThreadServer] = []

    def start(app: Any, **config: Any) -> ThreadServer:
        servers.append(ThreadServer(app, **{**(FAST_PATH if fast else {}), **config}))
        return servers[-1]

    yield start
    for server in servers:
        server.stopping()
    stopping_servers += servers


@pytest.fixture
def spawn(fast: bool, tmp_path: Path) -> Iterator[Spawn]:
    """Serve ``module:app`` in a process of its own until the test is over."""
    servers: list[ProcessServer] = []

    def start(app: str, **options: Any) -> ProcessServer:
        servers.append(ProcessServer(app, tmp_path, **{"runner": "fast" if fast else "uvicorn", **options}))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with new_client() as client:
        yield client
