"""Progress from end to end: a function that reports as fast as it goes, and one watcher of its operation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from . import wire
from .operations_servers import restive
from .server import Server
from .table import table
from .talk import Connection, socket_watcher, stream_watcher

SECONDS = 3.0
"""How long the function reports."""

INTERVALS = (0.1, 0.001)
"""``report_interval``: the default, and as good as none."""

FINAL = {"succeeded", "failed", "canceled"}


def measure(folder: Path, workers: int) -> None:
    """Run it and print the table."""
    lines = []
    for interval in INTERVALS:
        home = folder / str(interval)
        home.mkdir()
        with restive(home, workers, {"BENCHMARK_INTERVAL": str(interval)}) as (server, _):
            for engine in ("threads", "processes"):
                for transport in ("sse", "websocket"):
                    name = f"{engine}, {transport}, report_interval={interval:g}"
                    lines.append((name, *watched(server, engine, transport)))
    table(
        f"Progress from op.report() to one watcher, {SECONDS:.0f} s",
        ("", "reports/s taken", "states/s seen", "from end to last ms", "the last report came"),
        lines,
    )


def watched(server: Server, engine: str, transport: str) -> tuple[float, float, float, str]:
    """One operation: rates, how long after its end the last state came, and whether it was the right one."""
    target = f"/{engine}/reports?number="
    follow(server, transport, post(server, f"{target}10"))  # warm
    location = post(server, f"{target}{SECONDS * 1000:.0f}")
    seen = follow(server, transport, location)
    came, last = seen[-1]
    if last["status"] != "succeeded":
        raise SystemExit(last)
    counts = [state["progress"]["completed"] or 0 for _, state in seen]
    if sorted(counts) != counts:
        raise SystemExit("The progress went back.")
    reports = last["result"]
    delay = came - moment(last["finished"])
    told = "yes" if last["progress"]["completed"] == reports else "no"
    return reports / SECONDS, len(seen) / SECONDS, delay * 1e3, told


def moment(date: str) -> float:
    """Unix time of a date in a document."""
    from datetime import datetime

    return datetime.fromisoformat(date).timestamp()


def post(server: Server, target: str) -> str:
    """Submit; where the operation is."""
    with closing(Connection(server.port)) as connection:
        connection.send("POST", target, {"content-length": "0"})
        head, body = connection.answer()
        if not head.startswith(b"HTTP/1.1 202"):
            raise SystemExit((head + b"\n" + body).decode("latin-1"))
        return (wire.field(head, b"location") or b"").decode()


def follow(server: Server, transport: str, location: str) -> list[tuple[float, dict[str, Any]]]:
    """Every state that one watcher gets, and when (Unix time), up to the final one."""
    seen: list[tuple[float, dict[str, Any]]] = []
    opened, split = TRANSPORTS[transport]
    with closing(opened(server.port, location)) as connection:
        while not seen or seen[-1][1]["status"] not in FINAL:
            connection.left += connection.read()
            now = time.time()
            found, connection.left = split(connection.left)
            seen += ((now, state) for state in found)
    return seen


def of_stream(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The states among whole events, and what is left over."""
    *events, rest = data.split(b"\n\n")
    return list(_states(line for event in events for line in event.splitlines())), rest


def of_socket(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The states among whole frames, and what is left over."""
    found, rest = wire.frames(data)
    states = (json.loads(payload).get("data") for opcode, payload in found if opcode == wire.TEXT)
    return [state for state in states if state], rest


def _states(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith(b"data: {"):
            state = json.loads(line[6:])
            if "id" in state:  # no end of the watch
                yield state


Split = Callable[[bytes], tuple[list[dict[str, Any]], bytes]]
Opened = Callable[[int, str], Connection]
TRANSPORTS: dict[str, tuple[Opened, Split]] = {
    "sse": (lambda port, target: stream_watcher(port, f"{target}?live=sse"), of_stream),
    "websocket": (lambda port, target: socket_watcher(port, target), of_socket),
}
