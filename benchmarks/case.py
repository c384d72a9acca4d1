"""One row of the tables of many watchers: a server, how its watchers subscribe, how a change is made.

A table describes what it wants as a ``Load``; ``rows.cases(load)`` and ``peers.cases(load)`` answer with the
``Case``s that can do it (none, where a peer cannot or is not installed). All rows of a table are told the
same states, ``document``, over the same generator (``crowd.c``), which sends the bytes given here and looks
for ``mark`` in what comes. A server is found in the state of version 0, and changes are numbered from 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Kind = Literal["socket", "stream"]
"""A WebSocket, or a response that does not end (SSE)."""

MOST_RESOURCES = 64
"""Resources that one watcher may watch at once: the generator keeps a bit for each."""


class Measured(Protocol):
    """What a running server must tell: ``server.Server``, or ``server.Group`` of several processes."""

    @property
    def port(self) -> int:
        """Its port of 127.0.0.1, for watchers and for changes."""
        ...

    def cpu(self) -> float:
        """Seconds of CPU that all its processes have taken so far."""
        ...

    def memory(self) -> int:
        """Bytes of PSS of all its processes."""
        ...


@dataclass(frozen=True)
class Load:
    """What a table asks of each row.

    ``resources`` are numbered from 0; every watcher watches all of them, and one change changes all of them,
    in one turn of the server's loop where it can. ``private``: each watcher has a credential and a rendering
    of its own (of resource 0), and one change changes the rendering of each.
    """

    watchers: int
    resources: int = 1
    size: int = 120
    """Bytes of a state."""
    private: bool = False


@dataclass(frozen=True)
class Opening:
    """The bytes that one watcher sends."""

    request: bytes
    """The whole HTTP request: ``wire.handshake`` or ``wire.request``."""
    frames: bytes = b""
    """Sockets: what is sent once the 101 has come, such as one or several of ``wire.frame`` (masked)."""


@dataclass(frozen=True)
class Case:
    """A server, and how it is used."""

    name: str
    kind: Kind
    serve: Callable[[], AbstractContextManager[Measured]]
    """Starts it, yields it when it answers, stops it."""
    opening: Callable[[int], Opening]
    """The bytes of the watcher of this number, from 0."""
    change: Callable[[int], bytes]
    """The request that makes the change of this version; several, one after the other, where it takes more.

    They go in one write over a connection of their own; each must be answered by 2xx."""
    first: bool = True
    """Whether a watcher is told the state of version 0 when it opens; else its 101 or 200 is enough."""
    floor: bool = False
    """The bare loop of send(2), against which others are held."""
    tls: bool = False
    """Whether the port speaks TLS; ``watchers.py`` is the generator then."""


def document(version: int, number: int = 0, size: int = 120, owner: int = 0) -> dict[str, Any]:
    """The state of a resource: as compact JSON it has ``size`` bytes (at least about 85).

    ``owner``: whose it is, where a load is private; the number of the watcher.
    """
    found = {"item": "tea", "owner": owner, "note": "", "version": version, "number": number}
    found["note"] = "x" * (size - len(compact(found)))
    return found


def compact(found: Any) -> bytes:
    """JSON as the generator expects it in what servers send: no spaces."""
    return json.dumps(found, separators=(",", ":")).encode()


def mark(version: int) -> bytes:
    """What the generator looks for; the resource's number and ``}`` follow. It must arrive unescaped."""
    return b'"version":%d,"number":' % version
