"""A few connections to read with, so that threads of one process read at once. Opened as they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .connection import PatientConnection, Server
from .line import Line

__all__ = ["MOST", "Readers"]

MOST = 4
"""Connections that read, per process."""

T = TypeVar("T")


class Readers:
    """The reading connections to ``server``."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lines = [Line(server) for _ in range(MOST)]
        self.forget()

    def call(self, function: Callable[[PatientConnection], T]) -> T:
        """What ``function`` reads; it may be called twice. Raises BackendUnavailable."""
        if not self._free.acquire(timeout=self._server.patience):
            raise self._server.outage.busy(self._server.patience)
        try:
            line = self._idle.pop()  # the one that was used last: what is not needed is never opened
            try:
                return line.call(function, again=True)
            finally:
                self._idle.append(line)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the connections once the calls that use them have ended."""
        for line in self._lines:
            line.close()

    def hold(self) -> None:
        """Before a fork: no call is under way."""
        for line in self._lines:
            line.hold()

    def resume(self) -> None:
        """After a fork: go on."""
        for line in self._lines:
            line.resume()

    def forget(self) -> None:
        """In a forked child: the connections, and who waits for them, are the parent's."""
        self._free = threading.Semaphore(MOST)
        self._idle = list(self._lines)
        for line in self._lines:
            line.forget()
