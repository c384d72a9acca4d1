"""One real server of each engine, started when the first test asks for it and killed after the last.

Tests that stop, wipe or kill a server start one of their own. The engines' modules are imported
only where they are used.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def _running(module: str, server: str, factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that runs until the end, however that comes."""
    engine = getattr(importlib.import_module(f"engines.{module}"), server)(factory.mktemp(module))
    try:
        engine.start()
        yield engine.url
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _running("redis_server", "RedisServer", tmp_path_factory) as url:
        yield url


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _running("nats_server", "NatsServer", tmp_path_factory) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _running("postgres_server", "PostgresServer", tmp_path_factory) as url:
        yield url
