"""``python -m benchmarks.operations_load PORT CONNECTIONS COUNT RATE``: submits, and times each answer.

With RATE 0 every connection submits again as soon as it was answered. Else a submission is due every 1/RATE
seconds, on a connection that is free, and its time runs from when it was due: a server that stalls makes
those wait that were to come meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from typing import Any

from . import wire
from .server import HOST
from .table import quantile


def submit(
    port: int, target: str, *, count: int, connections: int = 16, rate: float = 0.0
) -> dict[str, float]:
    """Run the generator in a process of its own; all times in its answer are in seconds."""
    given = [str(each) for each in (port, connections, count, rate)]
    command = [sys.executable, "-m", "benchmarks.operations_load", *given]
    request = wire.request("POST", target, {"content-length": "0"})
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Load:
    """What is still to be submitted, and how long each answer took."""

    def __init__(self, request: bytes, count: int) -> None:
        self.request = request
        self.left = count
        self.unanswered = count
        self.taken: list[float] = []
        self.idle: deque[Submitter] = deque()
        self.due: deque[float] = deque()
        self.paced = False
        self.over = asyncio.Event()

    def next(self, submitter: Submitter) -> None:
        """Give a free connection something to do."""
        if self.paced:
            if self.due:
                submitter.send(self.due.popleft())
            else:
                self.idle.append(submitter)
        elif self.left:
            self.left -= 1
            submitter.send(time.perf_counter())

    def answered(self, seconds: float) -> None:
        """One was answered."""
        self.taken.append(seconds)
        self.unanswered -= 1
        if not self.unanswered:
            self.over.set()

    async def pace(self, rate: float) -> None:
        """Submit one every ``1 / rate`` seconds."""
        begin = time.perf_counter()
        for number in range(self.left):
            when = begin + number / rate
            await asyncio.sleep(max(0.0, when - time.perf_counter()))
            if self.idle:
                self.idle.popleft().send(when)
            else:
                self.due.append(when)


class Submitter(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: Any = None
        self._data = b""
        self._begun = 0.0

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self._transport = transport

    def send(self, begun: float) -> None:
        """Submit; the time runs from ``begun``."""
        self._begun = begun
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole."""
        self._data += data
        parts = wire.head_of(self._data)
        if parts is None:
            return
        head, body = parts
        if not head.startswith(b"HTTP/1.1 202"):
            raise SystemExit((head + b"\n" + body).decode("latin-1"))
        if len(body) < int(wire.field(head, b"content-length") or 0):
            return
        self._data = b""
        self._load.answered(time.perf_counter() - self._begun)
        self._load.next(self)


async def _run(port: int, connections: int, count: int, rate: float, request: bytes) -> dict[str, float]:
    loop, load = asyncio.get_running_loop(), Load(request, count)
    load.paced = rate > 0
    made = [await loop.create_connection(lambda: Submitter(load), HOST, port) for _ in range(connections)]
    begun, cpu = time.time(), time.process_time()
    for _, submitter in made:
        load.next(submitter)
    if load.paced:
        await load.pace(rate)
    await load.over.wait()
    ended = time.time()
    for transport, _ in made:
        transport.close()
    return {
        "begun": begun,
        "ended": ended,
        "p50": quantile(load.taken, 0.5),
        "p99": quantile(load.taken, 0.99),
        "most": max(load.taken),
        "cpu": (time.process_time() - cpu) / (ended - begun),
    }


if __name__ == "__main__":
    import uvloop

    port, connections, count, rate = sys.argv[1:]
    found = uvloop.run(_run(int(port), int(connections), int(count), float(rate), sys.stdin.buffer.read()))
    print(json.dumps(found))
