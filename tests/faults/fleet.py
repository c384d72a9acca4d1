"""The servers of one run: uvicorn processes with one state folder, started, harmed and watched to their end.

Each is the leader of a session of its own, and marks whatever it starts by its environment, so that none of
its processes is lost sight of.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from scenarios.servers import TESTS, free_port

READY_WITHIN = 40.0
ENDS_WITHIN = 5.0
"""Seconds after which everything that a dead server had started has to be gone."""

MARK = "FAULTS_SERVER"
UVICORN = ("uvicorn", "faults.fault_app:app")


class Member:
    """One server process, ready when its port answers."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], port: int = 0, command: Sequence[str] = UVICORN
    ) -> None:
        self.port = port or free_port()
        self.mark = uuid.uuid4().hex
        self._log = folder / f"server-{self.mark[:8]}.log"
        paths = filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(self.port)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **env, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=TESTS,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def ready(self) -> Member:
        """Wait until it answers."""

        def answers() -> bool:
            if not self.alive:
                raise RuntimeError(f"The server ended with {self.process.returncode}.\n{self.log}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            return False

        await eventually(answers, READY_WITHIN)
        return self

    def processes(self) -> list[int]:
        """Every living process that carries its mark, itself included."""
        return list(marked(self.mark))

    def helpers(self) -> list[int]:
        """Every process that it started."""
        return [pid for pid in self.processes() if pid != self.pid]

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Signal it and all that it started, at once."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def ended(self, within: float) -> int | None:
        """The exit status; None where it goes on."""
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: not self.alive, within)
        return self.process.poll()

    async def gone(self, within: float = ENDS_WITHIN) -> list[str]:
        """What is left of a server that has ended, after some patience: processes, and its port."""
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: not self.processes(), within)
        left = [f"process {pid} ({_command(pid)})" for pid in self.processes()]
        return left if is_free(self.port) else [*left, f"port {self.port}"]

    def end(self) -> None:
        """Leave nothing of it."""
        self.signal_all(signal.SIGKILL)
        self.process.wait(10)


class Fleet:
    """All servers that a test starts; ``stop`` leaves none."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.env = {"RESTIVE_HOME": str(folder / "home"), "FAULTS_JOURNAL": str(self.journal), **env}
        self.members: list[Member] = []

    def launch(self, port: int = 0) -> Member:
        """Start a server and do not wait for it."""
        self.members.append(Member(self.folder, self.env, port))
        return self.members[-1]

    async def start(self, port: int = 0) -> Member:
        """Start a server that is ready."""
        return await self.launch(port).ready()

    def stop(self) -> None:
        for member in self.members:
            member.end()


def marked(mark: str) -> Iterable[int]:
    """The living processes whose environment says so; a zombie has none."""
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    yield int(entry)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return "gone"


def is_free(port: int) -> bool:
    """Whether a new server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


async def eventually(condition: Callable[[], object], within: float) -> None:
    """Wait for a condition. Raises ``TimeoutError``."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.02)
