"""A real PostgreSQL on a free port of 127.0.0.1, from the binaries of the package ``pgserver``.

PostgreSQL refuses to run as root: then it runs as ``nobody``, and its data lie in a folder of that user.
The server is killed, paused and resumed with all its processes. It ends by itself after ``LIFETIME`` s.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

PATIENCE = 20.0
LIFETIME = 5400
NOBODY = 65534

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 16MB
max_wal_size = 256MB
logging_collector = off
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``."""
    import pgserver

    return Path(pgserver.__file__).parent / "pginstall" / "bin"


def _lives(process: psutil.Process) -> bool:
    """Orphans that have ended may wait long for their new parent."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class PostgresServer:
    """One server; ``start`` it, and ``stop`` it whatever happens. ``folder`` gets its data (not for root).

    ``options`` are settings of PostgreSQL, such as ``{"fsync": "off"}``.
    """

    def __init__(self, folder: Path | None = None, **options: str) -> None:
        self._root = os.name == "posix" and os.geteuid() == 0
        self._own = folder is None or self._root
        self.folder = Path(tempfile.mkdtemp(prefix="restive-postgres-")) if self._own else folder or Path()
        self.data = self.folder / "data"
        self.options = options
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped: list[psutil.Process] = []

    @property
    def url(self) -> str:
        """For a backend; the user may do everything."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Make the data where there are none, and return once it answers."""
        if not self.data.exists():
            self._initialize()
        log = (self.folder / "log").open("ab")
        command = [str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        if timeout := shutil.which("timeout"):
            command = [timeout, "--signal=KILL", str(LIFETIME), *command]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user()
        )
        log.close()
        self._until_it_answers()

    def _initialize(self) -> None:
        self.folder.mkdir(exist_ok=True)
        passwords = self.folder / "password"
        passwords.write_text(self.password)
        if self._root:
            for path in (self.folder, passwords):
                os.chown(path, NOBODY, NOBODY)
        initdb = [binaries() / "initdb", "-D", self.data, "-U", "postgres", f"--pwfile={passwords}"]
        safe = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [*map(str, initdb), *safe],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            **self._as_user(),
        )
        lines = [f"{name} = '{value}'\n" for name, value in self.options.items()]
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines([CONFIGURATION, *lines])

    def _as_user(self) -> dict[str, Any]:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self._root else {}
        return {"cwd": self.folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **user}

    def _until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (error := self._refusal()) is not None:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                said = (self.folder / "log").read_text()[-2000:]
                raise AssertionError(f"PostgreSQL did not start: {error}\n{said}")
            time.sleep(0.02)

    def _refusal(self) -> psycopg.OperationalError | None:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            return error
        return None

    def _processes(self) -> list[psutil.Process]:
        """The server and its children, who are in sessions of their own."""
        if self._process is None:
            return []
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _send(self, number: int) -> list[psutil.Process]:
        processes = self._processes()
        for process in processes:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                pass
        return processes

    def kill(self) -> None:
        """SIGKILL for all of its processes; nothing is tidied up."""
        processes = self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(PATIENCE)
            self._process = None
        deadline = time.monotonic() + PATIENCE
        while any(map(_lives, processes)) and time.monotonic() < deadline:
            time.sleep(0.005)
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # an orphan that has ended still has its id

    def pause(self) -> None:
        """SIGSTOP: it answers no more, and its connections stay open."""
        self._stopped = self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        for process in self._stopped:
            try:
                process.send_signal(signal.SIGCONT)
            except psutil.NoSuchProcess:
                pass
        self._stopped = []

    def wipe(self) -> None:
        """Forget all data, and of which cluster they were; the server is not running."""
        shutil.rmtree(self.data, ignore_errors=True)

    def restart(self, *, wipe: bool = False) -> None:
        """Kill it and start it again on the same port, with its data or without."""
        self.kill()
        if wipe:
            self.wipe()
        self.start()

    def stop(self) -> None:
        """End it and remove what it has made."""
        self.kill()
        self.wipe()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)
