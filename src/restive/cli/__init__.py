"""The command line, ``restive``. One file per group of commands; each is imported only when it is called.

What a command prints for programs goes to stdout, what it says to people to stderr. An error is one
line that says what to do, and an exit status; never a traceback.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point of the ``restive`` command."""
    try:
        from .root import restive
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(f'restive: the command line needs {error.name}: pip install "restive[cli]"')
    restive(prog_name="restive")
