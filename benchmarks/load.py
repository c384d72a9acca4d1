"""``python -m benchmarks.load PORT SECONDS CONNECTIONS``: repeats the request on stdin, as fast as it can.

Prints JSON: requests per second, and the share of one CPU that the generator took. It compares the
length of each response with the last one's, and reads the head only where it differs (an Age has
grown a digit), which is all that it can afford to look at.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from . import wire
from .server import HOST


def generate(port: int, request: bytes, seconds: float, connections: int) -> dict[str, float]:
    """Run the generator in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(seconds), str(connections)]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Generator:
    """All connections, and what they have counted."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answered = 0
        self.running = True
        self.length = 0

    def learn(self, data: bytes) -> int:
        """The length of a response; 0 before its head is whole."""
        parts = wire.head_of(data)
        if parts is None:
            return 0
        head, _ = parts
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")):
            raise SystemExit(head.decode("latin-1"))
        self.length = len(head) + 4 + int(wire.field(head, b"content-length") or 0)
        return self.length


class Caller(asyncio.Protocol):
    """One connection: a request, its response, the next request."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._transport: Any = None
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        """Count a response once it is whole."""
        generator = self._generator
        self._data += data
        if len(self._data) != generator.length:
            length = generator.learn(self._data)
            if not length or len(self._data) < length:
                return
            if len(self._data) > length:
                raise SystemExit("There is something behind a response.")
        self._data = b""
        generator.answered += 1
        if generator.running:
            self._transport.write(generator.request)
        else:
            self._transport.close()


async def _run(port: int, seconds: float, connections: int, request: bytes) -> dict[str, float]:
    loop, generator = asyncio.get_running_loop(), Generator(request)
    for _ in range(connections):
        await loop.create_connection(lambda: Caller(generator), HOST, port)
    before, cpu, begin = generator.answered, time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    lasted = time.perf_counter() - begin
    generator.running = False
    return {
        "rate": (generator.answered - before) / lasted,
        "cpu": (time.process_time() - cpu) / lasted,
    }


if __name__ == "__main__":
    import uvloop

    port, seconds, connections = sys.argv[1:]
    print(json.dumps(uvloop.run(_run(int(port), float(seconds), int(connections), sys.stdin.buffer.read()))))
