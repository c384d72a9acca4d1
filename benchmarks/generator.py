"""The load generator, ``crowd.c``, in a process of its own, and the connection that makes changes.

Both clocks are CLOCK_MONOTONIC, so that several generators can wait for one change. ``NotToldError`` says
that a watcher was refused, lost or not told: no table may show less than it claims.
"""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .case import Kind, Opening
from .server import HOST

IN_FLIGHT = 100
"""Connections that are being opened."""

PIECE = 65536


@dataclass(frozen=True)
class Told:
    """What a generator found; times are of ``time.monotonic()``."""

    told: int
    wanted: int
    other: int
    """Watchers that saw the other mark."""
    refused: int
    lost: int
    lost_deaf: int
    """Watchers that the server closed, of those that read and of those that do not."""
    begin: float
    first: float
    half: float
    p99: float
    last: float
    """When the first, half, 99 %, all of them were told."""
    cpu: float
    """Seconds of the generator's CPU since ``begin``."""
    bytes: int


class NotToldError(Exception):
    """Watchers were refused, lost, or heard nothing for 30 s."""

    def __init__(self, found: Told) -> None:
        super().__init__(f"not every watcher was told: {found}")
        self.found = found


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def built(name: str) -> str:
    """The program of ``name``.c, built once."""
    program = f"{_folder().name}/{name}"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, str(source)], check=True)
    return program


class Generator:
    """``count`` watchers on ``port``, of which the last ``deaf`` never read.

    ``offset`` is the number of the first, ``slow`` takes the generator in Python, which speaks ``tls``.
    """

    def __init__(
        self,
        port: int,
        kind: Kind,
        count: int,
        *,
        deaf: int = 0,
        offset: int = 0,
        tls: bool = False,
        slow: bool = False,
    ) -> None:
        program = [sys.executable, "-m", "benchmarks.watchers"] if slow else [built("crowd")]
        command = [*program, str(port), kind, str(count), str(deaf), str(offset)]
        command += ["tls" if tls else "plain"] if slow else []
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.port, self.count, self.readers, self.offset = port, count, count - deaf, offset

    def load(self, opening: Callable[[int], Opening]) -> None:
        """What each watcher sends when it opens next."""
        path = f"{_folder().name}/records-{self._process.pid}"
        with Path(path).open("wb") as file:
            for number in range(self.offset, self.offset + self.count):
                it = opening(number)
                file.write(struct.pack("=II", len(it.request), len(it.frames)) + it.request + it.frames)
        self._ask("load", path)
        Path(path).unlink()

    def open(self, mark: bytes, need: int = 1, *, other: bytes = b"", in_flight: int = IN_FLIGHT) -> Told:
        """Open all, ``in_flight`` at a time, until each has seen ``mark`` (none: the head of the answer)."""
        return self._told(self._ask("open", _hex(mark), need, _hex(other), in_flight))

    def expect(
        self, mark: bytes, need: int = 1, *, tell: int = 0, other: bytes = b"", hold: int = 0
    ) -> Callable[[], Told]:
        """Prepare for a change; what it returns waits until ``tell`` watchers (0: all) have seen ``mark``.

        ``need`` different numbers must follow it. ``hold``: milliseconds in which nothing is read.
        """
        self._ask("expect", _hex(mark), need, _hex(other), tell or self.readers, hold)
        return lambda: self._told(self._said())

    def drop(self) -> None:
        """Close all connections."""
        self._ask("drop")

    def lost(self) -> Told:
        """What was lost up to now."""
        time.sleep(0.1)
        return Told(**self._ask("lost"))

    def close(self) -> None:
        """End the process, and with it every watcher."""
        self._process.kill()
        self._process.communicate()

    def _told(self, said: dict[str, Any]) -> Told:
        found = Told(**said)
        if found.told < found.wanted or found.refused or found.lost:
            raise NotToldError(found)
        return found

    def _ask(self, *words: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("The load generator did not get there.")
        found: dict[str, Any] = json.loads(line)
        return found


def _hex(data: bytes) -> str:
    return data.hex() or "-"


def change(port: int, request: bytes, context: ssl.SSLContext | None = None) -> float:
    """Send ``request``, one or several, over a new connection, and read the answers; when it began.

    Raises ``SystemExit`` unless each is answered by 2xx.
    """
    wanted = len(re.findall(rb" HTTP/1\.1\r\n", request))
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((HOST, port), 30))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            connection = stack.enter_context(context.wrap_socket(connection))
        begin = time.monotonic()
        answered = _exchange(connection, request, wanted)
    if len(answered) != wanted or any(status[:1] != b"2" for status in answered):
        raise SystemExit(f"A change was answered {set(answered)}, {len(answered)} times instead of {wanted}.")
    return begin


def _exchange(connection: socket.socket, request: bytes, wanted: int) -> list[bytes]:
    """Send all, read each status, a piece at a time, so that neither end waits for the other."""
    answered: list[bytes] = []
    rest = b""
    for start in range(0, len(request), PIECE):
        connection.sendall(request[start : start + PIECE])
        last = start + PIECE >= len(request)
        while len(answered) < wanted and (last or select.select([connection], [], [], 0)[0]):
            data = connection.recv(PIECE)
            if not data:
                return answered
            rest += data
            found = list(re.finditer(rb"HTTP/1\.1 (\d\d\d) ", rest))
            answered += [it[1] for it in found]
            rest = rest[found[-1].end() if found else 0 :][-16:]
    return answered


def allow_files() -> None:
    """As many open files as this process may have, for it and what it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
