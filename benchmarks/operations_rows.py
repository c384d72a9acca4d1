"""The rows of ``benchmarks.operations``: where to submit, and whether what was submitted has ended."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from .operations_load import submit
from .operations_work import NAME
from .server import HOST, Server
from .talk import Connection

PATIENCE = 300.0
"""Seconds after which what was submitted should have ended."""


class Row:
    """One way to run functions behind HTTP, and what was measured of it."""

    def __init__(self, name: str, server: Server, path: str) -> None:
        self.name, self.server, self.path = name, server, path
        self.forget()

    def forget(self) -> None:
        """Measure anew."""
        self.submitted: list[float] = []
        self.completed: list[float] = []
        self.costs: list[float] = []
        self.p50: list[float] = []
        self.p99: list[float] = []

    def waiting(self) -> int:
        """How many have not ended; at least 0 tells from some."""
        raise NotImplementedError

    def submit(self, function: str, count: int, connections: int = 16, rate: float = 0.0) -> dict[str, float]:
        """Submit, and return once all was answered."""
        target = f"{self.path}/{function}?number=1"
        return submit(self.server.port, target, count=count, connections=connections, rate=rate)

    def settle(self) -> float:
        """Wait until all has ended; when that was (Unix time)."""
        deadline = time.monotonic() + PATIENCE
        while self.waiting():
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: {self.waiting()} have not ended.")
            time.sleep(0.01)
        return time.time()

    def round(self, count: int, connections: int) -> None:
        """Measure once."""
        cpu = self.server.cpu()
        found = self.submit("short", count, connections)
        ended = self.settle()
        self.submitted.append(count / (found["ended"] - found["begun"]))
        self.completed.append(count / (ended - found["begun"]))
        self.costs.append((self.server.cpu() - cpu) / count)
        self.p50.append(found["p50"])
        self.p99.append(found["p99"])


class RestiveRow(Row):
    """Operations on one engine."""

    def __init__(self, engine: str, server: Server, file: Path) -> None:
        super().__init__(f"Restive, {engine}", server, f"/{engine}")
        self._file = file

    def waiting(self) -> int:
        """1 while the file holds an operation that has not ended: the marks that Restive's sweeps read."""
        prefix = (NAME, "operation-open/", "operation-open0")
        statement = "SELECT 1 FROM records WHERE app = ? AND name > ? AND name < ? LIMIT 1"
        connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)
        try:
            return len(connection.execute(statement, prefix).fetchall())
        finally:
            connection.close()


class CeleryRow(Row):
    """Tasks behind FastAPI. Their results are alone in a database of the broker: as many have ended."""

    def __init__(self, server: Server, broker: int) -> None:
        super().__init__("FastAPI + Celery prefork", server, "/celery")
        from redis import Redis

        self._results = Redis(HOST, broker, db=1)
        self._counted = 0

    def waiting(self) -> int:
        """Those without a result."""
        return self._counted - int(self._results.dbsize())  # type: ignore[arg-type]

    def submit(self, function: str, count: int, connections: int = 16, rate: float = 0.0) -> dict[str, float]:
        """As for every row."""
        if not self.waiting():
            self._results.flushdb()
            self._counted = 0
        self._counted += count
        return super().submit(function, count, connections, rate)


class BareRow(Row):
    """An executor behind FastAPI."""

    def __init__(self, engine: str, server: Server) -> None:
        super().__init__(f"FastAPI + {engine} pool, bare", server, f"/{engine}")
        self._engine = engine

    def waiting(self) -> int:
        """What the app says."""
        connection = Connection(self.server.port)
        connection.send("GET", f"/waiting/{self._engine}")
        try:
            return int(connection.answer()[1])
        finally:
            connection.close()
