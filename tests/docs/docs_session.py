"""Does what a page says, as its reader would: in a folder of its own, on a terminal, with real servers.

Commands are started one after the other. What streams or waits stays open, so that the page can show
what it prints when something else has happened.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from pathlib import Path

SHOWN = "127.0.0.1:8000"
SERVERS = ("uvicorn ", "restive serve ", "restive demo")
PATIENCE = 20.0

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\].*?(?:\x07|\x1b\\)|\r")
_ID = re.compile(r"\b[0-9a-z]{36}\b")
_VOLATILE = (
    (re.compile(r"^date: .*$", re.MULTILINE | re.IGNORECASE), "date: DATE"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "TIME"),
    (_ID, "ID"),
    (re.compile(r'("(?:rate|eta)": ?)(?:[\d.e+-]+|null)'), r"\1NUMBER"),
    (re.compile(r"(?<=stream-next-offset: )\w+"), "OFFSET"),
    (re.compile(r"\b(?:just now|\d+ (?:s|min|h|d) ago) *"), "AGE "),
    (re.compile(r"(?<=starts in )[\d:]+|(?<=^took {6}).+$", re.MULTILINE), "DURATION"),
)
_OF_VOLATILE = (
    (re.compile(r"r-[A-Za-z0-9_-]{22}"), "TAG"),
    (re.compile(r"^content-length: .*$", re.MULTILINE), "content-length: LENGTH"),
    (re.compile(r"^age: \d+$", re.MULTILINE), "age: SECONDS"),
    (re.compile(r"(?<=; ttl=)\d+"), "SECONDS"),
)


def normal(output: str) -> str:
    """``output`` without what differs from run to run; header fields sorted: their order says nothing."""
    text = "\n".join(line.rstrip() for line in _ANSI.sub("", output).strip("\n").split("\n"))
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    if "TIME" in text or "ID" in text:
        for pattern, name in _OF_VOLATILE:
            text = pattern.sub(name, text)
    if not text.startswith("HTTP/1.1 "):
        return _by_resource(text)
    head, blank, body = text.partition("\n\n")
    status, *fields = head.split("\n")
    return "\n".join([status, *sorted(fields)]) + blank + body


def _by_resource(text: str) -> str:
    """NDJSON of several resources, sorted by them: only the order of each one's events says something."""
    lines = text.split("\n")
    if all(line.startswith('{"on":') for line in lines):
        lines.sort(key=lambda line: line.split('"')[3])
    return "\n".join(lines)


class Running:
    """A command on a terminal of its own."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        flags = termios.tcgetattr(theirs)
        flags[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, flags)
        self.process = subprocess.Popen(
            ["sh", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.command = command
        self._data = b""
        self._seen = 0
        self._news = threading.Condition()
        self._over = False
        threading.Thread(target=self._read, args=(ours,), daemon=True).start()

    def _read(self, terminal: int) -> None:
        while True:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                data = b""
            with self._news:
                self._data += data
                self._over = not data
                self._news.notify_all()
            if not data:
                os.close(terminal)
                return

    @property
    def output(self) -> str:
        """What was printed so far."""
        with self._news:
            return self._data.decode(errors="replace")

    def to_the_end(self) -> str:
        """What it printed since the last look, once it has ended."""
        with self._news:
            assert self._news.wait_for(lambda: self._over, PATIENCE), f"{self.command} does not end"
            return self._take()

    def until(self, shown: str) -> str:
        """What it printed since the last look, as soon as that is ``shown`` or it is certain not to be."""
        with self._news:
            self._news.wait_for(lambda: self._over or normal(self._fresh()) == normal(shown), PATIENCE)
            return self._take()

    def _fresh(self) -> str:
        return self._data[self._seen :].decode(errors="replace")

    def _take(self) -> str:
        text, self._seen = self._fresh(), len(self._data)
        return text

    def stop(self) -> None:
        """End it and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Session:
    """One page's commands, files and servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: Running | None = None
        """The last command that was left running."""
        self._all: list[Running] = []
        self._authority = SHOWN
        self._ids: dict[str, str] = {}
        bin_folder = Path(sys.prefix) / "bin"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RESTIVE_")},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "TERM": "dumb",
            "COLUMNS": "200",
            "LINES": "50",
            "PYTHONUNBUFFERED": "1",
        }

    def actual(self, text: str) -> str:
        """``text`` of the page with the address and the ids that there really are."""
        for shown, real in self._ids.items():
            text = text.replace(shown, real)
        return text.replace(SHOWN, self._authority)

    def learn(self, shown: str, output: str) -> None:
        """The ids that the page shows stand for those that were really given."""
        self._ids.update(zip(_ID.findall(shown), _ID.findall(output), strict=False))

    def start(self, command: str) -> Running:
        """Start a command."""
        running = Running(self.actual(command), self.folder, self._environment)
        self._all.append(running)
        return running

    def serve(self, command: str) -> None:
        """Start a server and wait until it serves."""
        self.stop()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._authority = f"127.0.0.1:{port}"
        server = self.start(f"exec {command} --port {port}")
        deadline = time.monotonic() + 3 * PATIENCE
        while not self._is_ready():
            assert server.process.poll() is None, f"{command}:\n{server.output}"
            assert time.monotonic() < deadline, f"{command} does not begin to serve:\n{server.output}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._authority}/-/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def python(self, text: str) -> str:
        """What a Python program prints; it must end well."""
        path = self.folder / "run_this.py"
        path.write_text(self.actual(text), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, path], cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=3 * PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(self, output: str) -> str:
        """``output`` with the address that the page shows."""
        return output.replace(self._authority, SHOWN)

    def stop(self) -> None:
        """End all that runs, the servers last."""
        while self._all:
            self._all.pop().stop()
        self.waiting = None


def is_server(command: str) -> bool:
    """Whether the command serves until it is ended."""
    return command.startswith(SERVERS)


def streams(command: str) -> bool:
    """Whether the command goes on printing."""
    words = shlex.split(command)
    if words[:2] == ["restive", "watch"]:
        return True
    return "curl" in words and any(re.fullmatch(r"-[a-zA-Z]*N[a-zA-Z]*", word) for word in words)
