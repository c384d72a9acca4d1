"""The load generator that speaks TLS: ``crowd.c`` in Python, several times slower, with the same commands.

    python -m benchmarks.watchers PORT socket|stream COUNT 0 FIRST tls|plain

See ``crowd.c`` for the commands on stdin; none of these watchers is deaf, nothing is held, there is no ELSE.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from . import wire
from .generator import allow_files
from .server import HOST, insecure

PER_ADDRESS = 9_000
"""Connections from one address of loopback, as in ``crowd.c``."""
PATIENCE = 30.0
"""Seconds after which a command gives up."""
TAIL = 128
"""Bytes kept of what came, since a mark may be cut."""


@dataclass
class Crowd:
    """What all watchers of this process wait for."""

    port: int
    sockets: bool
    count: int
    first: int
    tls: bool
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    mark: bytes = b""
    need: int = 1
    wanted: int = 0
    lost: int = 0
    received: int = 0
    turn: int = 0
    arrived: list[float] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: list[Watcher] = field(default_factory=list)

    def expect(self, mark: str, need: str, wanted: int) -> None:
        """Wait for so many to have ``mark``."""
        self.mark = bytes.fromhex(mark.strip("-"))
        self.need, self.wanted, self.turn = int(need), wanted, self.turn + 1
        self.received = 0
        self.arrived = []
        self.done.clear()

    def tell(self) -> None:
        """One more has it."""
        self.arrived.append(time.monotonic())
        if len(self.arrived) >= self.wanted:
            self.done.set()


class Watcher(asyncio.Protocol):
    """One watcher: it looks for the mark in what comes."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self.transport: Any = None
        self._open = False
        self._turn = 0
        self._seen: set[bytes] = set()
        self._tail = self._frames = b""

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self.transport = transport
        transport.write(self._crowd.records[self._number][0])

    def data_received(self, data: bytes) -> None:
        """Look for the mark, which may come in pieces."""
        self._crowd.received += len(data)
        if not self._open:
            parts = wire.head_of(self._tail + data)
            if parts is None:
                self._tail += data
                return
            self._opened(parts[0])
            data = parts[1]
        if self._crowd.sockets:
            self._answer_pings(data)
        data = self._tail + data
        if self._crowd.mark:
            self._look(data)
        self._tail = data[-TAIL:]

    def _opened(self, head: bytes) -> None:
        if (b" 101 " if self._crowd.sockets else b" 200 ") not in head:
            raise SystemExit(head.decode("latin-1"))
        self._open, self._tail = True, b""
        self.transport.write(self._crowd.records[self._number][1])
        if not self._crowd.mark:
            self._crowd.tell()

    def _look(self, data: bytes) -> None:
        crowd = self._crowd
        if self._turn != crowd.turn:
            self._turn, self._seen = crowd.turn, set()
        if len(self._seen) >= crowd.need:
            return
        for piece in data.split(crowd.mark)[1:]:
            digits = len(piece) - len(piece.lstrip(b"0123456789"))
            if digits < len(piece):
                self._seen.add(piece[:digits])
        if len(self._seen) >= crowd.need:
            crowd.tell()

    def _answer_pings(self, data: bytes) -> None:
        found, self._frames = wire.frames(self._frames + data)
        for opcode, payload in found:
            if opcode == wire.PING:
                self.transport.write(wire.frame(wire.PONG, payload))

    def connection_lost(self, _error: Exception | None) -> None:
        """The server closed it, or ``drop`` did."""
        self._crowd.lost += self in self._crowd.watchers


async def _open(crowd: Crowd, mark: str, need: str, flight: str) -> None:
    loop, gate, context = (
        asyncio.get_running_loop(),
        asyncio.Semaphore(int(flight)),
        insecure() if crowd.tls else None,
    )
    begin, cpu = time.monotonic(), time.process_time()
    crowd.expect(mark, need, crowd.count)
    crowd.lost = 0

    async def connect(number: int) -> None:
        source = (f"127.0.0.{1 + (crowd.first + number) // PER_ADDRESS}", 0)
        make: Callable[[], Watcher] = lambda: Watcher(crowd, number)  # noqa: E731
        async with gate:
            opened = await loop.create_connection(make, HOST, crowd.port, local_addr=source, ssl=context)
            crowd.watchers.append(opened[1])

    await asyncio.gather(*(connect(number) for number in range(crowd.count)))
    await _report(crowd, begin, cpu)


async def _report(crowd: Crowd, begin: float, cpu: float) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await crowd.done.wait()
    except TimeoutError:
        print("The watchers had no news for long.", file=sys.stderr)
    arrived = crowd.arrived or [0.0]
    places = (min(len(arrived) - 1, int(share * len(arrived))) for share in (0, 0.5, 0.99, 1))
    first, half, p99, last = (arrived[place] for place in places)
    _say({
        "told": len(crowd.arrived), "wanted": crowd.wanted, "other": 0, "refused": 0,
        "lost": crowd.lost, "lost_deaf": 0, "begin": begin, "first": first, "half": half, "p99": p99,
        "last": last, "cpu": time.process_time() - cpu, "bytes": crowd.received,
    })  # fmt: skip


def _load(crowd: Crowd, path: str) -> None:
    data, place = Path(path).read_bytes(), 0
    while place < len(data):
        request, frames = struct.unpack_from("=II", data, place)
        place += 8
        middle, end = place + request, place + request + frames
        crowd.records.append((data[place:middle], data[middle:end]))
        place = end


async def _do(crowd: Crowd, words: list[str]) -> None:
    match words:
        case ["load", path]:
            crowd.records.clear()
            _load(crowd, path)
            _say({})
        case ["open", mark, need, "-", flight]:
            await _open(crowd, mark, need, flight)
        case ["expect", mark, need, "-", tell, "0"]:
            crowd.expect(mark, need, int(tell))
            _say({})
            await _report(crowd, time.monotonic(), time.process_time())
        case _:
            raise SystemExit(f"Not here: {words}")


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


async def _run(crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await _do(crowd, line.split())


if __name__ == "__main__":
    given_port, kind, given_count, _, first_number, security = sys.argv[1:]
    allow_files()
    numbers = int(given_count), int(first_number)
    uvloop.run(_run(Crowd(int(given_port), kind == "socket", *numbers, security == "tls")))
