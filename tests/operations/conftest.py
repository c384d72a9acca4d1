"""Fixtures: backends, a home, and benches of `operation_bench` on them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from operation_bench import Bench, TinyHost

from restive.backends.memory import MemoryBackend
from restive.backends.port import Backend
from restive.backends.sqlite import SqliteBackend


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made: Backend = MemoryBackend() if request.param == "memory" else SqliteBackend(tmp_path / "it.db")
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
async def new_bench(backend: Backend, home: Path) -> AsyncIterator[Callable[..., Bench]]:
    """Make a bench with settings of its own; all are stopped at the end."""
    benches: list[Bench] = []

    def make(**settings: Any) -> Bench:
        benches.append(Bench(TinyHost(backend, home, **settings)))
        return benches[-1]

    yield make
    for each in benches:
        await each.client.aclose()
        await asyncio.to_thread(each.operations.drain, 0)


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    return new_bench()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that a function may wait for; set at the end, so that nothing hangs."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def elsewhere(tmp_path: Path, redis_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Make a bench whose broker is a database of its own, and whose backend is ``sqlite:``."""
    from elsewhere_bench import Bench as Elsewhere

    benches: list[Elsewhere] = []

    def make(**env: str) -> Elsewhere:
        given = {"ELSEWHERE_BACKEND": f"sqlite:///{tmp_path}/it.db", "ELSEWHERE_BROKER": redis_url, **env}
        benches.append(Elsewhere(tmp_path, given))
        return benches[-1]

    yield make
    for each in benches:
        await each.close()


@pytest.fixture(scope="module")
def worker_of_all(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Any]:
    """A bench with one worker of eight threads for all tests of a module that leave it as it is."""
    from elsewhere_bench import Bench as Elsewhere
    from elsewhere_bench import Worker

    folder = tmp_path_factory.mktemp("elsewhere")
    given = {"ELSEWHERE_BACKEND": f"sqlite:///{folder}/it.db", "ELSEWHERE_BROKER": redis_url}
    bench = Elsewhere(folder, {**given, "ELSEWHERE_LEASE": "1"})
    worker = Worker(folder, bench.env, "threads", 8)
    try:
        worker.await_ready()
        yield bench, worker
    finally:
        worker.stop()


@pytest.fixture
async def common(worker_of_all: Any) -> AsyncIterator[Any]:
    """That bench and its worker; the nodes are the test's own."""
    yield worker_of_all
    await worker_of_all[0].close_nodes()
