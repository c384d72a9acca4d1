"""What operations cost a server that wait in its queue, and what a new server does about them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

from .operations_load import submit
from .operations_progress import post
from .operations_servers import restive
from .server import Server
from .table import table
from .talk import Connection

MB = 1_000_000


def measure(folder: Path, workers: int, queued: int) -> None:
    """Run it and print the table."""
    with restive(folder, workers) as (server, _):
        location = post(server, "/threads/hold?number=3600")
        submit(server.port, "/threads/hold?number=3600", count=500)
        before, rss = server.memory(), server.resident()
        submit(server.port, "/threads/hold?number=3600", count=queued)
        after, rss_after = server.memory(), server.resident()
        read = asked(server, location)
        os.kill(server.pid, signal.SIGKILL)
    with restive(folder, workers) as (server, _):
        first = asked(server, location)
        again = server.memory()
    table(
        f"A server with {queued} operations in its queue",
        ("", "MB", "bytes each"),
        [
            ("RSS before", rss / MB, None),
            ("RSS", rss_after / MB, (rss_after - rss) / queued),
            ("PSS before", before / MB, None),
            ("PSS", after / MB, (after - before) / queued),
            ("PSS of a new server on the same file", again / MB, None),
        ],
    )
    table(
        "GET of one of them",
        ("", "ms"),
        [("that server", read * 1e3), ("a new server, first request", first * 1e3)],
    )


def asked(server: Server, location: str) -> float:
    """Seconds until the operation is answered."""
    with closing(Connection(server.port)) as connection:
        begin = time.perf_counter()
        connection.send("GET", location)
        head, _ = connection.answer()
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode("latin-1"))
        return time.perf_counter() - begin
