"""A SQLite file as an engine: it has no server, so its faults are those of the processes that use it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

WRITES = """
import sys
from pathlib import Path
from restive.backends.port import Append
from restive.backends.sqlite import SqliteBackend
backend = SqliteBackend(Path(sys.argv[1]), name="killed")
while True:
    backend.apply([Append("s", [bytes(1000)] * 500, keep=1000)])
    print("written", flush=True)
"""

HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


class SqliteFile:
    """The file ``restive.db`` in a folder below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "store"
        self._holder: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"sqlite:///{self._folder / 'restive.db'}"

    def start(self) -> None:
        """Make the folder."""
        self._folder.mkdir(exist_ok=True)

    def kill(self) -> None:
        """SIGKILL for a process that is writing."""
        writer = self._run(WRITES)
        writer.kill()
        self._end(writer)

    def restart(self, *, wipe: bool = False) -> None:
        """Kill who writes; with ``wipe`` an empty folder takes the place of this one at once."""
        self.resume()
        self.kill()
        if wipe:
            gone = self._folder.with_name("gone")
            shutil.rmtree(gone, ignore_errors=True)
            self._folder.rename(gone)
            self._folder.mkdir()

    def pause(self) -> None:
        """Let another process lock the file."""
        self._holder = self._run(HOLDS)

    def resume(self) -> None:
        """Let it end."""
        if self._holder is not None:
            self._end(self._holder)
            self._holder = None

    stop = resume

    def _run(self, script: str) -> subprocess.Popen[str]:
        """A process that has said something."""
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(self._folder / "restive.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline(), "the other process ended"
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()
