"""What a peer is, and what its rows have in common.

A watcher of the resources 0, 1, 2 opens /watch/0,1,2 and sends nothing more; ``PUT /orders`` takes a list of
states, each of which goes to those who watch the resource of its ``number``. A peer that is installed is
found here; ``install`` puts it in place. Nothing is downloaded by a measurement.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import wire
from ..case import Case, Kind, Load, Opening, compact, document
from ..server import HOST

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "restive-benchmarks")
"""Where pip and npm put the peers: not the environment that the benchmarks run in."""


@dataclass(frozen=True)
class Peer:
    """Another server that does the same job."""

    name: str
    version: Callable[[], str | None]
    """What is installed, for the reader of a table; None where it cannot run."""
    cases: Callable[[Load], list[Case]]
    """Its rows; none where it cannot do what the load asks for."""
    install: Callable[[], None]
    """Installs it, or raises ``OSError`` or ``CalledProcessError``."""


def opening(kind: Kind, load: Load) -> Callable[[int], Opening]:
    """What each watcher sends: it watches every resource of the load, by its path alone."""
    target = "/watch/" + ",".join(map(str, range(load.resources)))
    stream = wire.request("GET", target, {"accept": "text/event-stream"})
    same = Opening(wire.handshake(target) if kind == "socket" else stream)
    return lambda _number: same


def states(load: Load, version: int) -> list[dict[str, object]]:
    """The state of every resource."""
    return [document(version, number, load.size) for number in range(load.resources)]


def change(load: Load) -> Callable[[int], bytes]:
    """All resources at once, in one request."""
    return lambda version: wire.request("PUT", "/orders", document=states(load, version))


def begin(port: int, load: Load, path: Callable[[int], str] | None = None) -> None:
    """Bring the server to version 0; one that takes one state in a request has a ``path`` for each number."""
    given = states(load, 0)
    puts = [("/orders", compact(given))]
    if path is not None:
        puts = [(path(number), compact(state)) for number, state in enumerate(given)]
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    for target, body in puts:
        connection.request("PUT", target, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise SystemExit(f"PUT {target} was answered {answer.status}")
    connection.close()


def version_of(file: Path) -> str | None:
    """The version in a package.json, where there is one."""
    return str(json.loads(file.read_bytes())["version"]) if file.exists() else None
