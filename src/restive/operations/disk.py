"""Files and folders that are there as a whole or not at all, and that a power loss leaves there if asked."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["made", "removed", "replace", "sync", "sync_folder", "whole"]

TRIES = 3


def made(folder: Path) -> Path:
    """The folder, made if need be; none but this user reads it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Give the file ``path`` this content, at once."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to be written in the place of ``path``, which it takes at the end, or never."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once the file's bytes are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk, where the system can promise that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def removed(folder: Path) -> None:
    """Remove a folder with all that is in it; no error where there is nothing."""
    for _ in range(TRIES):  # a function that still runs may write into it meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    with contextlib.suppress(OSError):
        folder.unlink()
