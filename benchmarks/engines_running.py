"""The servers behind the network backends, each in a folder of its own, started on a free port."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ENGINES", "running"]

SERVERS = {
    "redis": ("engines.redis_server", "RedisServer"),
    "nats": ("engines.nats_server", "NatsServer"),
    "postgres": ("engines.postgres_server", "PostgresServer"),
}
ENGINES = ("sqlite", *SERVERS)
"""Every backend that several processes can share."""


@contextmanager
def running(engine: str) -> Iterator[str]:
    """The URL of an empty backend, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="restive-bench-", ignore_cleanup_errors=True) as folder:
        if engine == "sqlite":
            yield f"sqlite:///{folder}/restive.db"
            return
        tests = str(Path(__file__).parents[1] / "tests")
        if tests not in sys.path:  # the tests' own servers
            sys.path.append(tests)
        module, name = SERVERS[engine]
        server = getattr(importlib.import_module(module), name)(Path(folder))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
