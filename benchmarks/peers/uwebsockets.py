"""socketify, from PyPI: Python on uWebSockets, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..case import Case, Load
from ..server import Server, running
from .packages import apt
from .peer import FOLDER, Peer, begin, change, opening

HOME = FOLDER / "python"
PYTHON = HOME / "bin/python"
WANTED = "socketify==0.0.31"
PROGRAM = Path(__file__).with_name("uwebsockets_server.py")


def version() -> str | None:
    """Its version."""
    found = next(HOME.glob("lib/python*/site-packages/socketify-*.dist-info"), None)
    return f"socketify {found.stem.partition('-')[2]}" if found else None


def install() -> None:
    """pip in an environment of its own; its library needs Debian's libuv."""
    apt("libuv1")
    subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", WANTED]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def cases(load: Load) -> list[Case]:
    """Sockets only: it has no event streams."""
    return [
        Case(
            "socketify, WebSocket",
            "socket",
            partial(serving, load),
            opening("socket", load),
            change(load),
        )
    ]


@contextmanager
def serving(load: Load) -> Iterator[Server]:
    """socketify, in one process."""
    with running([str(PYTHON), "-P", str(PROGRAM)]) as server:
        begin(server.port, load)
        yield server


peer = Peer("socketify", version, cases, install)
