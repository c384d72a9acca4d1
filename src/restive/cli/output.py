"""JSON on stdout: a compact line for programs, laid out on a terminal for people."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec

from .exits import printable

__all__ = ["write_json", "write_text"]


def write_json(value: Any) -> None:
    """One value; what reads a pipe gets one line of UTF-8 for each."""
    if sys.stdout.isatty():
        _write_laid_out(value)
    else:
        sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
        sys.stdout.buffer.flush()


def _write_laid_out(value: Any) -> None:
    from rich.console import Console
    from rich.highlighter import JSONHighlighter

    text = json.dumps(value, ensure_ascii=False, indent=2)
    # Controls of C1 and marks of direction are valid in JSON, and must not reach the terminal all the same.
    safe = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    Console(soft_wrap=True).print(JSONHighlighter()(safe))


def write_text(text: str) -> None:
    """Text that is no JSON, on a terminal."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
