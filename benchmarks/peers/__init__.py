"""The peers: other servers that do the same job, as far as they are installed.

``cases(load)`` are their rows of a table, ``missing()`` is the line on those that are left out, and
``python -m benchmarks.peers install`` installs what can be had.
"""

from __future__ import annotations

from ..case import Case, Load
from . import nchan, node, uwebsockets
from .peer import Peer

PEERS: tuple[Peer, ...] = (nchan.peer, uwebsockets.peer, node.peer)


def cases(load: Load) -> list[Case]:
    """The rows of all that are installed.

    None of them has a rendering for each credential, which would be a channel for each watcher.
    """
    if load.private:
        return []
    return [case for peer in PEERS if peer.version() for case in peer.cases(load)]


def versions() -> str:
    """What is installed, in one line."""
    return ", ".join(found for peer in PEERS if (found := peer.version()))


def missing() -> str | None:
    """The line that tells which are not installed; None where all are."""
    names = ", ".join(peer.name for peer in PEERS if not peer.version())
    return f"Left out, not installed: {names} (python -m benchmarks.peers install)" if names else None
