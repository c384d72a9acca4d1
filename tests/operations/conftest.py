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
