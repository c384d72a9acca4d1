"""``python -m benchmarks.storm``: all clients come back at once, each with the ETag that it had last.

The rows: clients whose requests are the same; and clients with a credential each, of a resource that a shared
cache could keep. Plain connects are the same clients before, who come as fast and know nothing yet.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from . import rows, wire
from .case import Case, Load, Opening, mark
from .generator import allow_files
from .server import HOST
from .table import machine, ratio, table
from .trial import SETTLED, Trial, middle, trial

AT_ONCE = 2000
"""Connections that are being opened: as many as uvicorn's backlog holds."""
TARGET = "/orders/0"


@dataclass(frozen=True)
class Found:
    """What one row cost."""

    plain: Sequence[float]
    storm: Sequence[float]
    """Seconds of the server's CPU for each client, of each round."""
    looks: int
    """Looks of the last storm."""
    current: int
    full: int
    """Clients of all storms who were told that they are up to date, and who were told the state again."""
    took: float
    """Seconds until the last client of the last storm was told."""


def measure(case: Case, load: Load, rounds: int, credentials: bool) -> Found:
    """One row."""
    plain, storm, current, full, looks, took = [], [], 0, 0, 0, 0.0
    first = (lambda number: opening(case, number)) if credentials else case.opening
    with trial(case, load) as row:
        for _ in range(rounds):
            row.generator.load(first)
            cpu = row.server.cpu()
            row.generator.open(mark(row.version), in_flight=AT_ONCE)
            plain.append((row.server.cpu() - cpu) / load.watchers)
            row.change()
            drop(row)
            tag = etag(row.server.port)
            row.generator.load(back(case, tag, credentials))
            before, cpu = looks_made(row), row.server.cpu()
            is_current, is_state = (b'"current":', b'"data":') if case.kind == "socket" else CURRENT
            told = row.generator.open(is_current, other=is_state, in_flight=AT_ONCE)
            storm.append((row.server.cpu() - cpu) / load.watchers)
            current, full, took = current + told.told, full + told.other, told.last - told.begin
            looks = looks_made(row) - before
            drop(row)
    return Found(plain, storm, looks, current, full, took)


CURRENT = b"event: current", mark(0)[:10]
"""What a stream says to one that is up to date, and what is in every state."""


def drop(row: Trial) -> None:
    """All go, and the server has noticed."""
    row.generator.drop()
    time.sleep(SETTLED)


def opening(case: Case, number: int, tag: str = "") -> Opening:
    """What a client with a credential sends."""
    fields = {"authorization": f"Bearer {number}"}
    if case.kind == "socket":
        return Opening(wire.handshake("/-/live", fields), frame(tag))
    return Opening(wire.request("GET", stream_target(tag), fields))


def back(case: Case, tag: str, credentials: bool) -> Callable[[int], Opening]:
    """What each sends when it comes back."""
    if credentials:
        return lambda number: opening(case, number, tag)
    if case.kind == "socket":
        same = replace(case.opening(0), frames=frame(tag))
    else:
        same = Opening(wire.request("GET", stream_target(tag)))
    return lambda _number: same


def frame(tag: str) -> bytes:
    """The frame that begins the watch."""
    return wire.frame(wire.TEXT, json.dumps({"watch": TARGET} | ({"etag": tag} if tag else {})).encode())


def stream_target(tag: str) -> str:
    """The same for an event stream."""
    return f"{TARGET}?live=sse" + (f"&etag={quote(tag)}" if tag else "")


def etag(port: int) -> str:
    """The validator of the state that all have: each was told it, and it is the same for all."""
    connection = http.client.HTTPConnection(HOST, port)
    connection.request("GET", TARGET, headers={"authorization": "Bearer 0"})
    return connection.getresponse().headers["etag"]


def looks_made(row: Trial) -> int:
    """How often the app's GET was called so far."""
    connection = http.client.HTTPConnection(HOST, row.server.port)
    connection.request("GET", "/looks")
    return int(json.loads(connection.getresponse().read())["looks"])


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=10_000, help="clients in each row (10000)")
    parser.add_argument("--rounds", type=int, default=3, help="storms in each row (3)")
    given = parser.parse_args()
    allow_files()
    machine()
    load = Load(given.watchers)
    lines = []
    for credentials, app, kind in (
        (False, "live_app", "the same request"),
        (True, "live_public", "a credential each, public"),
    ):
        for case in (rows.fast_socket(load, app), rows.fast_stream(load, app)):
            found = measure(case, load, given.rounds, credentials)
            plain, storm = middle(found.plain), middle(found.storm)
            lines.append((
                f"{case.name}, {kind}", plain * 1e6, storm * 1e6, ratio(storm, plain), found.looks,
                found.current, found.full, found.took,
            ))  # fmt: skip
    columns = ("", "µs a plain connect", "µs back", "ratio", "looks", "current", "full states", "s for all")
    table(f"{load.watchers} clients back at once, {given.rounds} times", columns, lines)


if __name__ == "__main__":
    main()
