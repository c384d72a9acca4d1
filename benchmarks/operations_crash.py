"""From ``kill -9`` of a server to the second attempt of what it ran."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from .operations_progress import moment, post
from .operations_servers import restive
from .server import Server
from .table import table
from .talk import Connection

PATIENCE = 60.0


def measure(folder: Path, workers: int, rounds: int) -> None:
    """Run it and print the table."""
    lines = []
    for engine in ("threads", "processes"):
        for beside in (False, True):
            taken = []
            for number in range(rounds):
                home = folder / f"{engine}-{beside}-{number}"
                home.mkdir()
                taken.append(retried(home, workers, engine, beside))
            answers, begins = zip(*taken, strict=True)
            other = "another server runs" if beside else "a new server is started at once"
            lines.append(
                (
                    f"{engine}, {other}",
                    statistics.median(answers) * 1e3,
                    statistics.median(begins) * 1e3,
                    max(begins) * 1e3,
                )
            )
    table(
        f"From kill -9 of the server, {rounds} rounds",
        ("", "a server answers, ms", "second attempt runs, ms", "at most, ms"),
        lines,
    )


def retried(folder: Path, workers: int, engine: str, beside: bool) -> tuple[float, float]:
    """Seconds from the kill until a server answers, and until the second attempt runs."""
    with ExitStack() as stack:
        first, _ = stack.enter_context(restive(folder, workers))
        location = post(first, f"/{engine}/hold?number=60")
        until(first, location, 1)
        second = stack.enter_context(restive(folder, workers))[0] if beside else None
        if second is not None:
            until(second, location, 1)
        begin = time.time()
        os.kill(first.pid, signal.SIGKILL)
        if second is None:
            second, _ = stack.enter_context(restive(folder, workers))
        answered = time.time()
        found = until(second, location, 2)
        return answered - begin, moment(found["started"]) - begin


def until(server: Server, location: str, attempt: int) -> dict[str, Any]:
    """The operation once that attempt runs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with closing(Connection(server.port)) as connection:
            connection.send("GET", location)
            head, body = connection.answer()
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit((head + b"\n" + body).decode("latin-1"))
        found: dict[str, Any] = json.loads(body)
        if (found["attempt"], found["status"]) == (attempt, "running"):
            return found
        time.sleep(0.01)
    raise SystemExit(f"Attempt {attempt} does not run: {found}")
