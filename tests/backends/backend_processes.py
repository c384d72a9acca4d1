"""Second processes for the backend tests, and waiting for what they do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 15.0

PRELUDE = """
import os, signal, sqlite3, sys, threading
from pathlib import Path
from restive.backends.port import Append, Save
from restive.backends.sqlite import SqliteBackend
from restive.errors import BackendUnavailable
path = Path(sys.argv[1])
def say(*words):
    print(*words, flush=True)
"""


def start(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run ``script`` in a new interpreter; it finds ``path`` and ``say``."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def run(script: str, path: Path, *arguments: str) -> list[str]:
    """Run ``script`` to its good end; the lines it said."""
    process = start(script, path, *arguments)
    try:
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, out
    return out.splitlines()


def eventually(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what should have happened has not"
        time.sleep(0.005)
