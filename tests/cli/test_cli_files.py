"""The limit of open files: raised at the start, told of, and survived where clients reach it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from clirun import APPS, Served, environment, free_port

from scenarios.waiting import until

LIMIT, CLIENTS = 256, 600
WITHIN = 30.0
STREAM = b"GET /seen?live=sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

LOOPS = {"uvloop": "auto", "asyncio": "asyncio"}
ON_LOOP = """
import sys
from restive.cli import main, running

LOOP = sys.argv.pop(1)

class Config(running.Config):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, loop=LOOP, **options)

running.Config = Config
main()
"""


def limited(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Limited(Served):
    """A server in a process that may open only so many files."""

    def __init__(self, folder: Path, loop: str, soft: int, hard: int) -> None:
        port = free_port()
        self.url, self.port = f"http://127.0.0.1:{port}", port
        self._log = folder / "served.log"
        options = ["serve", "team:app", "--app-dir", str(APPS), "--port", str(port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ON_LOOP, LOOPS[loop], *options],
                cwd=folder,
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=limited(soft, hard),
            )
        self._await_ready()

    def cpu(self) -> float:
        """Seconds of the processor that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Start = Callable[[str, int, int], Limited]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def serve(loop: str, soft: int, hard: int) -> Limited:
            server = Limited(tmp_path, loop, soft, hard)
            stack.callback(server.stop)
            return server

        yield serve


class Crowd:
    """Streams that were opened as fast as it goes, by what has become of them."""

    def __init__(self, port: int, count: int) -> None:
        self.served: list[socket.socket] = []
        self.closed = 0
        self._waiting: list[socket.socket] = []
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            self._waiting.append(client)
        self._asked: set[socket.socket] = set()

    def settled(self) -> bool:
        """Each was answered, or closed."""
        for client in list(self._waiting):
            try:
                if client not in self._asked:
                    client.send(STREAM)
                    self._asked.add(client)
                answered = bool(client.recv(65536))
            except BlockingIOError:
                continue
            except OSError:
                answered = False
            self._waiting.remove(client)
            if answered:
                self.served.append(client)
            else:
                self.closed += 1
                client.close()
        return not self._waiting

    def close(self, count: int) -> None:
        """So many of those that are served go."""
        for _ in range(count):
            self.served.pop().close()


def lines(server: Served) -> list[str]:
    return [line for line in server.log.splitlines() if "do not suffice" in line]


@pytest.mark.parametrize("loop", LOOPS)
async def test_more_clients_than_files(start: Start, loop: str) -> None:
    server = start(loop, LIMIT, LIMIT)
    crowd = Crowd(server.port, CLIENTS)
    await until(crowd.settled, WITHIN)
    assert LIMIT * 0.7 < len(crowd.served) < LIMIT
    assert crowd.closed == CLIENTS - len(crowd.served)
    assert len(lines(server)) == 1
    assert "Traceback" not in server.log

    taken = server.cpu()
    late = Crowd(server.port, 20)
    await until(late.settled, WITHIN)
    assert late.closed == 20
    assert server.cpu() - taken < 1.0, "it spins"

    # Who is connected is served on: the change needs a file of the app's, which is kept for it.
    (Path(server._log.parent) / "seen.txt").write_text("5")
    crowd.close(60)
    async with httpx2.AsyncClient(timeout=WITHIN) as http:
        await until_accepted(http, server)
        (await http.put(f"{server.url}/seen", json=6)).raise_for_status()
    for client in crowd.served:
        await asyncio.to_thread(read_until, client, b"data: 6")
    crowd.close(len(crowd.served))


async def until_accepted(http: httpx2.AsyncClient, server: Served) -> None:
    """Those that have left make room for others."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await http.get(f"{server.url}/seen")
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
            else:
                return


def read_until(client: socket.socket, mark: bytes) -> None:
    client.setblocking(True)
    client.settimeout(WITHIN)
    data = b""
    while mark not in data:
        piece = client.recv(65536)
        assert piece, "a client that was connected was cut off"
        data += piece


def test_the_limit_is_raised_and_said(start: Start) -> None:
    server = start("uvloop", LIMIT, 1000)
    assert "Each process may open 1000 files: room for 900 clients." in server.log
    assert "LimitNOFILE" in server.log
    said = Path(f"/proc/{server.process.pid}/limits").read_text()
    (line,) = (line for line in said.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == ["1000", "1000"]


def test_enough_files_are_no_reason_to_warn(start: Start) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 10_000:
        pytest.skip("this machine allows less")
    server = start("uvloop", LIMIT, 10_000)
    assert "Each process may open 10000 files: room for 9488 clients." in server.log
    assert "LimitNOFILE" not in server.log
