"""The functions that ``benchmarks.operations`` has run: by Restive, by Celery, by bare executors."""

from __future__ import annotations

import time
from typing import Any

from restive import Operation

NAME = "benchmark"
"""The app's name in the backend."""

PIECE = 0.02
"""Seconds of CPU that ``busy`` takes."""


def short(number: int) -> int:
    """Next to nothing."""
    return number + 1


def busy(number: int) -> int:
    """Work of the CPU, in Python."""
    end = time.thread_time() + PIECE
    while time.thread_time() < end:
        number += 1
    return number


def reports(number: int, op: Operation) -> int:
    """Report as fast as it goes, for ``number`` milliseconds. How often it did."""
    count, end = 0, time.monotonic() + number / 1000
    while time.monotonic() < end:
        count += 1
        op.report(completed=count)
    return count


def hold(number: int, op: Operation) -> None:
    """Work until it is stopped, or for ``number`` seconds."""
    end = time.monotonic() + number
    while time.monotonic() < end:
        op.check()
        time.sleep(0.05)


FUNCTIONS: dict[str, Any] = {each.__name__: each for each in (short, busy, reports, hold)}
