"""Functions that workers on other machines run, besides those of ``process_functions``."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import process_functions as functions

from restive import Operation, Upload


def owner(x_user: str = "") -> str:
    return x_user or "nobody"


def copied(file: Upload, op: Operation) -> str:
    op.part("copy.bin", file.path.read_bytes())
    return str(op.folder)


def named(file: Upload) -> int:
    return len(file.path.read_bytes())


def halves(path: Path, op: Operation) -> list[str | None]:
    """Publishes a part in its first attempt, and then waits for a file; the second says what it finds."""
    if op.attempt == 1:
        op.part("first.txt", "one")
        functions.until(path, op)
    return [op.published("first.txt"), op.part("second.txt", "two")]


def at_odds(path: Path, op: Operation) -> int:
    """Publishes other bytes under one name in each attempt."""
    op.part("it.txt", f"{op.attempt}")
    functions.until(path, op)
    return op.attempt


def failing(op: Operation) -> int:
    if op.attempt == 1:
        raise LookupError("secret words")
    return op.attempt


def ticking(seconds: float, op: Operation) -> int:
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
        op.report(count, message=f"{os.getpid()}")
        time.sleep(0.01)
    return count


def where(_: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def spread(pieces: int, op: Operation) -> list[int]:
    """The processes that pieces of it ran in."""
    return sorted(set(op.map(where, range(pieces), unit="pieces")))


def slow_where(_: int) -> int:
    time.sleep(0.2)
    return os.getpid()


def spread_slowly(pieces: int, op: Operation) -> list[int]:
    return sorted(set(op.map(slow_where, range(pieces))))


def here_only(op: Operation) -> int:
    """Items that cannot be sent."""
    return sum(op.map(lambda each: each[1], [(threading.Lock(), number) for number in range(20)]))


def parted(to: int, op: Operation) -> int:
    """Publishes a part each 50 ms."""
    for number in range(to):
        op.part(f"{number}.txt", f"{number}")
        op.report(number + 1, to, message=f"{os.getpid()}")
        time.sleep(0.05)
    return to
