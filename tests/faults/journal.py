"""What the functions themselves write down: one line for each step, appended to one file by all processes.

Each line is one write, so that no kill tears it. Times are those of ``time.monotonic``, which all processes
of one machine share.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "FAULTS_JOURNAL"
"""The environment variable that names the file."""

SLOW = 0.25
"""Seconds by which who keeps watch may be late before it says so."""


@dataclass(frozen=True, slots=True)
class Note:
    """``what`` is begin, step, published, ended, returned, or late: a process or a store was not served."""

    what: str
    at: float
    op: str = ""
    attempt: int = 0
    pid: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


def note(what: str, op: str = "", attempt: int = 0, **detail: Any) -> None:
    line = json.dumps([what, time.monotonic(), op, attempt, os.getpid(), detail])
    descriptor = os.open(os.environ[PATH], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Note]:
    """All notes so far, oldest first."""
    if not path.exists():
        return []
    notes = [Note(*json.loads(line)) for line in path.read_text().splitlines()]
    return sorted(notes, key=lambda it: it.at)
