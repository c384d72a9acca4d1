"""``python -m benchmarks.operations_elsewhere``: short operations on two backends, also in Celery workers.

Against plain Celery tasks behind FastAPI. Redis, as broker and as backend, flushes its file each second.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from restive.backends import open_backend

from .operations import _rate
from .operations_rows import CeleryRow, Row
from .operations_servers import celery_worker
from .operations_work import NAME
from .server import Server, serving
from .table import machine, table


class StoredRow(Row):
    """Restive's operations, whose marks in the backend say what has not ended."""

    def __init__(self, name: str, server: Server, path: str, url: str) -> None:
        super().__init__(name, server, path)
        self._backend = open_backend(url, name=NAME)

    def waiting(self) -> int:
        """1 while there is a mark of one that is not final."""
        return len(self._backend.scan("operation-open/", limit=1))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="workers of each engine (2)")
    parser.add_argument("--count", type=int, default=10_000, help="submissions of each row and round (10000)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds (1)")
    parser.add_argument("--connections", type=int, default=16, help="connections that submit at once (16)")
    given = parser.parse_args()
    machine()
    with tempfile.TemporaryDirectory(prefix="restive-benchmark-") as folder, ExitStack() as stack:
        found = rows(stack, Path(folder), given.workers)
        for row in found:
            row.round(200, given.connections)  # warm
            row.forget()
        for _ in range(given.rounds):
            for row in found:
                row.round(given.count, given.connections)
    base = found[0]
    table(
        f"{given.count} short operations, {given.workers} workers, {given.connections} connections",
        ("", "202/s", "/ Celery", "completed/s", "/ Celery"),
        [
            (row.name, *_rate(row.submitted, base.submitted), *_rate(row.completed, base.completed))
            for row in found
        ],
    )


def rows(stack: ExitStack, folder: Path, workers: int) -> list[Row]:
    """Plain Celery, then each engine on each backend."""
    broker = stack.enter_context(redis(folder / "broker"))
    port = int(broker.rpartition(":")[2].partition("/")[0])
    environment = {
        "BENCHMARK_WORKERS": str(workers),
        "BENCHMARK_BROKER": broker,
        "BENCHMARK_RESULTS": broker.removesuffix("/0") + "/1",
    }
    stack.enter_context(celery_worker(folder, workers, environment, "benchmarks.operations_peers"))
    peer = stack.enter_context(serving("benchmarks.operations_peers:app", environment=environment))
    made: list[Row] = [CeleryRow(peer, port)]
    for name in ("sqlite", "redis"):
        home = folder / name
        home.mkdir()
        for engine in ("threads", "Celery"):
            url = f"sqlite:///{home}/{engine}.db"
            if name == "redis":
                url = stack.enter_context(redis(home / engine))
            made.append(_restive(stack, home, engine, {**environment, "RESTIVE_BACKEND": url}, broker))
    return made


def _restive(stack: ExitStack, home: Path, engine: str, environment: dict[str, str], broker: str) -> Row:
    url, workers = environment["RESTIVE_BACKEND"], int(environment["BENCHMARK_WORKERS"])
    name = f"Restive on {url.partition(':')[0]}, {engine}"
    given = {**environment, "RESTIVE_HOME": str(home)}
    if engine == "threads":
        server = stack.enter_context(serving("benchmarks.operations_apps:app", environment=given))
        return StoredRow(name, server, "/threads", url)
    # A database of its own, so that its tasks and those of other rows go to their own workers.
    given["BENCHMARK_BROKER"] = broker.removesuffix("/0") + ("/2" if url.startswith("sqlite") else "/3")
    stack.enter_context(celery_worker(home, workers, given, "benchmarks.operations_celery"))
    server = stack.enter_context(serving("benchmarks.operations_celery:app", environment=given))
    return StoredRow(name, server, "/elsewhere", url)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A server of the tests' kind, and its URL."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    server = importlib.import_module("engines.redis_server").RedisServer(folder, appendfsync="everysec")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


if __name__ == "__main__":
    main()
