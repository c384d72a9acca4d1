"""Real servers: uvicorn in a thread of the test process, or any server in a process of its own.

A server is ready when its port accepts a connection. A stopped one can be started again on the same port.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn

TESTS = Path(__file__).parents[1]
READY_WITHIN = 30.0
FAST: dict[str, Any] = {"settle": 0.1, "recheck": 0.5, "min_interval": 0.01, "backend": "memory:"}
"""Settings with which nothing has to be waited for."""

CALM: dict[str, Any] = {**FAST, "recheck": 60.0}
"""No look but those of joining and of announcements."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline and alive():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"No server on port {port}.")


class Server:
    """What both kinds have: where they listen."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def ws(self) -> str:
        return f"ws://{self.host}"


class ThreadServer(Server):
    """``uvicorn.Server`` in a thread with a loop of its own; the test may look into ``app``."""

    def __init__(self, app: Any, *, port: int = 0, **config: Any) -> None:
        self.app = app
        self.port = port
        self._config = {"log_level": "error", "timeout_graceful_shutdown": 1, **config}
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, **self._config)
        self._socket = config.bind_socket()
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("The server did not start.")
            time.sleep(0.005)

    def stop(self) -> None:
        """End the server and every connection it still has, and wait until it is gone."""
        self.stopping()
        self._thread.join(timeout=10)
        self._socket.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def stopping(self) -> None:
        """Begin to end it; ``stop`` waits for it."""
        self._server.should_exit = True


def uvicorn_command(app: str, port: int) -> list[str]:
    return ["uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--log-level", "info"]


FAST_PATH = {"http": "restive.transports.uvicorn:Http", "ws": "restive.transports.uvicorn:WebSocket"}
"""What uvicorn is told so that connections can be taken over from it."""


def fast_command(app: str, port: int) -> list[str]:
    """uvicorn, from which connections can be taken over."""
    options = [part for name, value in FAST_PATH.items() for part in (f"--{name}", value)]
    return [*uvicorn_command(app, port), *options]


def hypercorn_command(app: str, port: int) -> list[str]:
    return ["hypercorn", app, "--bind", f"127.0.0.1:{port}"]


def granian_command(app: str, port: int) -> list[str]:
    return ["granian", app, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)]


def restive_command(app: str, port: int) -> list[str]:
    return ["restive.cli", "serve", app, "--port", str(port)]


COMMANDS = {
    "restive": restive_command,
    "uvicorn": uvicorn_command,
    "fast": fast_command,
    "hypercorn": hypercorn_command,
    "granian": granian_command,
}


class ProcessServer(Server):
    """A server started from the command line; ``env`` configures the app."""

    def __init__(
        self,
        app: str,
        folder: Path,
        *,
        runner: str = "uvicorn",
        env: Mapping[str, str] | None = None,
        port: int = 0,
        cwd: Path = TESTS,
    ) -> None:
        self.cwd = cwd
        self.port = port or free_port()
        self._command = [sys.executable, "-m", *COMMANDS[runner](app, self.port)]
        self.env = {
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "RESTIVE_HOME": str(folder / "home"),
            **(env or {}),
        }
        self.folder = folder
        self._log = folder / f"server-{self.port}.log"
        self.start()

    def start(self, env: Mapping[str, str] | None = None) -> None:
        self.env.update(env or {})
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self.env, stdout=log, stderr=log, cwd=self.cwd, start_new_session=True
            )
        try:
            _await_port(self.port, lambda: self.process.poll() is None)
        except RuntimeError as error:
            self.kill()
            raise RuntimeError(f"{error}\n{self.log}") from None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        """The exit status."""
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it and whatever it has started: uvicorn's workers outlive a killed supervisor."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


Serve = Callable[..., ThreadServer]
Spawn = Callable[..., ProcessServer]
