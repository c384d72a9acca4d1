"""A process that harms itself: it is killed or stopped just before its n-th change of store or disk.

FAULTS_POINT names what and when: ``kill:7``, ``stop:7``, or ``count:0`` to find out how many there are. Every
call that changes something counts, of the backend and of the file system below the state folder.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.journal import note
from restive.backends.sqlite import SqliteBackend

POINT = "FAULTS_POINT"
BACKEND = ("apply", "append", "save", "delete", "drop")
DISK = ((os, "rename"), (os, "replace"), (os, "mkdir"), (os, "link"), (os, "unlink"), (shutil, "rmtree"))
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def set_up() -> None:
    """Begin to count, where the environment says so."""
    what, _, number = os.environ.get(POINT, "").partition(":")
    if not what:
        return
    home, wanted, numbers = os.environ["RESTIVE_HOME"], int(number), itertools.count(1)

    def reached(name: str) -> None:
        current = next(numbers)
        if what == "count":
            note("point", number=current, name=name)
        elif current == wanted:
            note("point", number=current, name=name)
            os.kill(os.getpid(), SIGNALS[what])

    for name in BACKEND:
        setattr(SqliteBackend, name, _counted(getattr(SqliteBackend, name), name, reached))
    for module, name in DISK:
        setattr(module, name, _below(home, getattr(module, name), name, reached))


def _counted(function: Callable[..., Any], name: str, reached: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def counted(*arguments: Any, **options: Any) -> Any:
        reached(name)
        return function(*arguments, **options)

    return counted


def _below(
    home: str, function: Callable[..., Any], name: str, reached: Callable[[str], None]
) -> Callable[..., Any]:
    counted = _counted(function, name, reached)

    @functools.wraps(function)
    def called(path: Any, *arguments: Any, **options: Any) -> Any:
        of_ours = isinstance(path, str | Path) and str(path).startswith(home)
        return (counted if of_ours else function)(path, *arguments, **options)

    return called
