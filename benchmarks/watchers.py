"""Thousands of watchers in a process of their own, each no more than a socket and a mark to look for.

``Watchers`` starts the process and talks to it in lines of JSON: it opens all connections, and then
for each request on its stdin sends that request and says when the last watcher had the new state.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from typing import Any

from . import wire
from .server import HOST

PER_ADDRESS = 9_000
"""Connections from one address of loopback: below Restive's ``max_connections``, and its free ports."""

AT_ONCE = 100
"""Connections that are being opened."""


class Watchers:
    """``count`` watchers of ``target``. ``kind`` is websocket, stream, or socket: one that needs no frame.

    With ``credentials`` each sends an Authorization of its own.
    """

    def __init__(self, port: int, kind: str, target: str, count: int, *, credentials: bool = False) -> None:
        options = {"port": port, "kind": kind, "target": target, "count": count, "credentials": credentials}
        command = [sys.executable, "-m", "benchmarks.watchers", json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._said()
        """Seconds until each had its first state."""

    def change(self, version: int, request: bytes) -> list[float]:
        """Send ``request``; seconds from before it until each watcher had the state of ``version``."""
        assert self._process.stdin is not None
        said = {"version": version, "request": request.decode()}
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        found: list[float] = self._said()
        return found

    def _said(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("The watchers did not get there.")
        return json.loads(line)

    def close(self) -> None:
        """End the process, and with it every watcher."""
        self._process.kill()
        self._process.communicate()


class Crowd:
    """What the watchers of one process wait for."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.version, self.mark = 0, b'"version":0}'
        self.left: int = options["count"]
        self.arrived: list[float] = []
        self.done = asyncio.Event()

    def expect(self, version: int) -> None:
        """Wait for everybody to have ``version``."""
        self.version, self.mark = version, b'"version":%d}' % version
        self.left = self.options["count"]
        self.arrived = []
        self.done.clear()

    def told(self) -> None:
        """One more has it."""
        self.arrived.append(time.perf_counter())
        self.left -= 1
        if not self.left:
            self.done.set()

    def hello(self, number: int) -> bytes:
        """The request of watcher ``number``."""
        headers = {"authorization": f"Bearer {number}"} if self.options["credentials"] else {}
        if self.options["kind"] == "stream":
            return wire.request("GET", self.options["target"], headers)
        target = "/-/live" if self.options["kind"] == "websocket" else self.options["target"]
        return wire.handshake(target, headers)


class Watcher(asyncio.Protocol):
    """One watcher: it looks for the mark in what comes."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self._transport: Any = None
        self._seen = -1
        self._rest = b""
        self._open = crowd.options["kind"] == "stream"

    def connection_made(self, transport: Any) -> None:
        """Ask."""
        self._transport = transport
        transport.write(self._crowd.hello(self._number))

    def data_received(self, data: bytes) -> None:
        """Look for the mark, which may come in pieces."""
        data = self._rest + data
        if not self._open:
            parts = wire.head_of(data)
            if parts is None:
                self._rest = data
                return
            self._opened(parts[0])
            data = parts[1]
        crowd = self._crowd
        if self._seen != crowd.version and crowd.mark in data:
            self._seen = crowd.version
            crowd.told()
        self._rest = data[-32:] if crowd.options["kind"] == "stream" else self._answer_pings(data)

    def _opened(self, head: bytes) -> None:
        if b" 101 " not in head:
            raise SystemExit(head.decode("latin-1"))
        self._open = True
        if self._crowd.options["kind"] == "websocket":
            self._transport.write(wire.watch(self._crowd.options["target"]))

    def _answer_pings(self, data: bytes) -> bytes:
        found, rest = wire.frames(data)
        for opcode, payload in found:
            if opcode == wire.PING:
                self._transport.write(wire.frame(wire.PONG, payload))
        return rest

    def connection_lost(self, _error: Exception | None) -> None:
        """No watcher may go before the end."""
        print(f"watcher {self._number} was cut off", file=sys.stderr)
        self._crowd.done.set()


async def _open_all(crowd: Crowd) -> None:
    loop, gate, port = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE), crowd.options["port"]

    async def connect(number: int) -> None:
        source = (f"127.0.0.{1 + number // PER_ADDRESS}", 0)
        async with gate:
            await loop.create_connection(lambda: Watcher(crowd, number), HOST, port, local_addr=source)

    await asyncio.gather(*(connect(number) for number in range(crowd.options["count"])))


async def _run(options: dict[str, Any]) -> None:
    loop, crowd = asyncio.get_running_loop(), Crowd(options)
    begin = time.perf_counter()
    await _open_all(crowd)
    await crowd.done.wait()
    _say(time.perf_counter() - begin, crowd)
    _, writer = await asyncio.open_connection(HOST, options["port"])
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wanted = json.loads(line)
        crowd.expect(wanted["version"])
        begin = time.perf_counter()
        writer.write(wanted["request"].encode())
        await crowd.done.wait()
        _say([arrived - begin for arrived in crowd.arrived], crowd)


def _say(found: Any, crowd: Crowd) -> None:
    if crowd.left:
        raise SystemExit(f"{crowd.left} watchers had not got version {crowd.version}")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    import uvloop

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_run(json.loads(sys.argv[1])))
