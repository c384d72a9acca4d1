"""Node with `ws`, from npm: WebSockets by `ws`, event streams by Node's own http module."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..case import Case, Load
from ..server import Server, running
from .packages import apt
from .peer import FOLDER, Peer, begin, change, opening, version_of

HOME = FOLDER / "node"
WANTED = "ws@8.23.0"
PROGRAM = Path(__file__).with_name("node_server.mjs")


def version() -> str | None:
    """Both versions."""
    found = version_of(HOME / "node_modules/ws/package.json")
    if shutil.which("node") is None or found is None:
        return None
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"Node {node.removeprefix('v')}, ws {found}"


def install() -> None:
    """npm in a folder of its own; Node of Debian's packages where there is none."""
    if shutil.which("npm") is None:
        apt("nodejs", "npm")
    HOME.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(HOME), WANTED]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def cases(load: Load) -> list[Case]:
    """Sockets and streams."""
    serve = partial(serving, load)
    return [
        Case("Node ws, WebSocket", "socket", serve, opening("socket", load), change(load)),
        Case("Node http, SSE", "stream", serve, opening("stream", load), change(load)),
    ]


@contextmanager
def serving(load: Load) -> Iterator[Server]:
    """Node, in one process."""
    with running(["node", str(PROGRAM), str(HOME)]) as server:
        begin(server.port, load)
        yield server


peer = Peer("Node ws", version, cases, install)
