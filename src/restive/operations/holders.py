"""Who holds leases, and whether it is certainly gone: each holder keeps a lock on a file while it lives.

The kernel lets go of the lock when the process ends, however it ends; a stopped process keeps it. So a
killed holder's operations need not wait for their leases to run out, and nobody else's are touched. Where
there is no such lock (another machine, another system) the lease alone decides.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Holders"]


class Holders:
    """The holders that share a state folder; ``name`` is the own one."""

    def __init__(self, home: Callable[[], Path]) -> None:
        self._home = home
        self._token = uuid.uuid4().hex
        self._lock: int | None = None
        self._taking = threading.Lock()
        self.name = f"{socket.gethostname()}:{os.getpid()}:{self._token}"

    def live(self) -> None:
        """Take the own lock; it is held until ``close`` or the end of the process."""
        with self._taking:  # the first operations may be claimed by several threads at once
            if self._lock is None and fcntl is not None:
                self._lock = self._taken()

    def _taken(self) -> int:
        path = self._path(self.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.rename(path)  # nobody finds it before it is locked
        return lock

    def close(self) -> None:
        """Let go of the own lock."""
        if self._lock is not None:
            self._path(self.name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def dead(self, name: str) -> bool:
        """Whether that holder's process is certainly gone."""
        return name != self.name and bool(name) and self._is_free(self._path(name))

    def alive(self, name: str) -> bool:
        """Whether that holder's process is certainly there, running or stopped."""
        path = self._path(name)
        return fcntl is not None and path.exists() and not self._is_free(path)

    def _is_free(self, path: Path) -> bool:
        """Whether there is such a file and nobody holds its lock."""
        if fcntl is None:
            return False
        try:
            found = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(found)

    def forget(self, needed: Collection[str]) -> None:
        """Remove the files of dead holders but those whose names are still ``needed``."""
        kept = {self._path(name).name for name in (*needed, self.name)}
        with contextlib.suppress(OSError):
            for path in self._folder().iterdir():
                if path.name not in kept and self._is_free(path):
                    path.unlink(missing_ok=True)

    def _folder(self) -> Path:
        return self._home() / "holders"

    def _path(self, name: str) -> Path:
        token = name.rpartition(":")[2]
        return self._folder() / (token if token.isalnum() else "none")
