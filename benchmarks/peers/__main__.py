"""``python -m benchmarks.peers``: what is installed, and whether it works: start, watch, change, stop.

``python -m benchmarks.peers install`` installs what can be had, with apt-get, pip and npm.
"""

from __future__ import annotations

import argparse
import subprocess
from contextlib import closing

from ..case import Case, Load, mark
from ..talk import Connection
from . import PEERS
from .peer import FOLDER, Peer

TRIED = Load(watchers=1, resources=3)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("try", "install"), default="try")
    if parser.parse_args().what == "install":
        print(f"into {FOLDER}", flush=True)
        for peer in PEERS:
            install(peer)
    for peer in PEERS:
        show(peer)


def install(peer: Peer) -> None:
    """Install one; the others do not depend on it."""
    try:
        peer.install()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{peer.name} was not installed: {error}", flush=True)


def show(peer: Peer) -> None:
    """What is there of it, and whether it works."""
    found = peer.version()
    print(f"{peer.name}: {found or 'not installed'}", flush=True)
    for case in peer.cases(TRIED) if found else ():
        attempt(case)
        print(f"  {case.name}: every state came", flush=True)


def attempt(case: Case) -> None:
    """One watcher of several resources, and one change of all. Raises ``OSError`` where a state is late."""
    with case.serve() as server, closing(Connection(server.port)) as watcher:
        watcher.socket.sendall(case.opening(0).request)
        _await_states(watcher, 0)
        with closing(Connection(server.port)) as writer:
            writer.socket.sendall(case.change(1))
            _await_states(watcher, 1)
        if not server.cpu() > 0 or not server.memory() > 0:
            raise SystemExit(f"{case.name}: the kernel tells neither its CPU nor its memory.")


def _await_states(watcher: Connection, version: int) -> None:
    """Until the state of each resource came, in whatever order."""
    left = {mark(version) + b"%d}" % number for number in range(TRIED.resources)}
    seen = watcher.left
    while left := {each for each in left if each not in seen}:
        seen += watcher.read()
    watcher.left = b""


if __name__ == "__main__":
    main()
