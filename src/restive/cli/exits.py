"""The exit statuses of all commands, and the one way to end with an error."""

from __future__ import annotations

import sys
from typing import IO, Any

import click

from ..errors import Problem

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_START_UP",
    "EXIT_UNREACHABLE",
    "Failure",
    "printable",
    "sentence",
    "told",
]

EXIT_FAILED = 1
"""The operation failed, the watch was ended with a problem, or the server refused the request."""

EXIT_START_UP = 3
"""The server, the app or the backend could not be started; uvicorn's own status for that."""

EXIT_UNREACHABLE = 4
"""Nothing answers at the URL."""

EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells have it."""


class Failure(click.ClickException):
    """Ends the command with one line on stderr."""

    def __init__(self, message: str, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc] # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"restive: {printable(self.format_message())}", file=file or sys.stderr)


def sentence(error: BaseException) -> str:
    """What an exception says, as one line, or its name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def told(problem: Problem) -> str:
    """What a problem says: its title, and its detail where that says more."""
    more = problem.detail and problem.detail != problem.title
    return f"{problem.title}: {problem.detail}" if more else problem.title


def printable(text: str) -> str:
    """``text`` without control characters: what a server sends must not steer the terminal."""
    return "".join(c if c in "\n\t" or (c.isprintable() or c == " ") else f"\\x{ord(c):02x}" for c in text)
