"""A server process under uvicorn on a free port of loopback, and what the kernel says of it.

Memory is PSS (``/proc/PID/smaps_rollup``): resident memory, shared pages in equal parts. CPU is the
process's own clock, so that it counts neither the load generator nor other work on the machine.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_UP = 20.0
"""Seconds within which a server must answer."""


@dataclass(frozen=True)
class Server:
    """One running server."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://{HOST}:{self.port}"

    def cpu(self) -> float:
        """Seconds of CPU that all its threads have taken so far."""
        # The clock of another process: clock_getcpuclockid(3) makes its id this way on Linux.
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self) -> int:
        """Bytes of PSS."""
        return self._kilobytes("smaps_rollup", "Pss:")

    def resident(self) -> int:
        """Bytes of RSS."""
        return self._kilobytes("status", "VmRSS:")

    def peak(self) -> int:
        """Bytes of RSS at its highest so far."""
        return self._kilobytes("status", "VmHWM:")

    def _kilobytes(self, file: str, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/{file}").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise LookupError(name)


@dataclass(frozen=True)
class Group:
    """One server of several processes, such as nginx's master and worker; or several servers."""

    port: int
    servers: tuple[Server, ...]

    @classmethod
    def of(cls, port: int, pids: Sequence[int]) -> Group:
        """The server on ``port`` that is these processes."""
        return cls(port, tuple(Server(pid, port) for pid in pids))

    def cpu(self) -> float:
        """Seconds of CPU of all of them."""
        return sum(server.cpu() for server in self.servers)

    def memory(self) -> int:
        """Bytes of PSS of all of them."""
        return sum(server.memory() for server in self.servers)


@contextmanager
def serving(
    app: str,
    *,
    options: Sequence[str] = (),
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
    tls: bool = False,
) -> Iterator[Server]:
    """uvicorn (uvloop, httptools) with ``app``, ``module:name`` from the repository's root, until the end."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        app,
        "--host",
        HOST,
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    quiet = ("--no-access-log", "--log-level", "warning")
    with running([*command, *quiet, *options], folder, environment, tls) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str],
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
    tls: bool = False,
) -> Iterator[Server]:
    """``command --port PORT``, once it answers HTTP (``tls``: HTTPS); it is stopped at the end.

    ``environment`` is added to this process's; the backend is ``memory:`` where it names none.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # it must not outlive a benchmark that is ended
    port = free_port()
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join((os.environ.get("PYTHONPATH", root), root))
    given = {**os.environ, "RESTIVE_BACKEND": "memory:", "PYTHONPATH": path, **(environment or {})}
    process = subprocess.Popen([*command, "--port", str(port)], env=given, cwd=folder or root)
    try:
        _await_answer(process, port, tls)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def insecure() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _await_answer(process: subprocess.Popen[bytes], port: int, tls: bool) -> None:
    deadline = time.monotonic() + START_UP
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(HOST, port, timeout=START_UP)
        if tls:
            connection = http.client.HTTPSConnection(HOST, port, timeout=START_UP, context=insecure())
        try:
            connection.request("GET", "/ready")
            connection.getresponse().read()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise SystemExit(f"The server did not start: {process.args!r}")
