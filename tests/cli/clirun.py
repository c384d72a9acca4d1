"""Runs ``restive`` in processes of its own: to its end, as a server, or on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

APPS = Path(__file__).parent / "cli_apps"
COMMAND = [sys.executable, "-m", "restive.cli"]
WITHIN = 30.0


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RESTIVE_", "WEB_"))}
    return {**kept, "RESTIVE_HOME": str(folder / "state"), "COLUMNS": "200", "TERM": "xterm", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A server that a command started."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.env = environment(folder, **env)
        self._log = folder / f"served-{port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments, "--port", str(port)],
                cwd=folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._await_ready()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx2.get(f"{self.url}/-/health", timeout=5)
            except httpx2.HTTPError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"The server did not start.\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def run(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    env = environment(folder) | options.pop("env", {})
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=WITHIN, **options
    )


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command said."""
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("restive: ")
    return line


@dataclass
class Shown:
    """What a command on a terminal left there."""

    output: str
    status: int


Key = bytes | tuple[str, bytes]
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(*arguments: str, until: str = "", keys: Sequence[Key] = ()) -> Shown:
    """Run a command on a terminal of its own, pressing ``keys`` once it shows ``until``.

    A key may be a pair: what must be shown before it, and the key. Where ``until`` is given without
    keys, Ctrl-C ends the command.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
        preexec_fn=_own_terminal,
    )
    os.close(slave)
    pending = [
        (until, key) if isinstance(key, bytes) else key for key in keys or ([b"\x03"] if until else [])
    ]
    output = ""
    deadline = time.monotonic() + WITHIN
    try:
        while time.monotonic() < deadline:
            if pending and pending[0][0] in output:
                os.write(master, pending.pop(0)[1])
            if not select.select([master], [], [], 0.05)[0]:
                continue
            try:
                output += os.read(master, 65536).decode(errors="replace")
            except OSError:  # the terminal is closed: the command has ended
                break
        return Shown(CONTROLS.sub("", output), process.wait(10))
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
