"""The limit of open files, of which each client takes one: raised at the start, never used up by clients.

A reserve is kept for the app: who would eat into it is turned away, with one log line now and then. Where
nothing is left even so, asyncio's own loop would try thousands of times, and log each (uvloop does not).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any, cast

from .refusals import count

__all__ = ["FEW", "Admission", "Admitting", "Overflow", "limit", "raise_limit", "reserve"]

FEW = 10_000
"""Files below which a server of many clients should be given more."""

SILENCE = 10.0
"""Seconds between two log lines that say the same."""

log = logging.getLogger("restive")


def raise_limit() -> int | None:
    """Let this process, and those it starts, open as many files as it may.

    Returns how many; None where there is no limit.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):  # macOS refuses what it calls unlimited
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int | None:
    """How many files this process may open; None where there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def reserve(files: int) -> int:
    """How many of ``files`` clients may not take."""
    return min(512, max(32, files // 10))


class Admission:
    """Whether one more client may come in, given the number of its file: the system gives the lowest."""

    def __init__(self, files: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._first_refused = None if files is None else files - reserve(files)
        self._clock = clock
        self._silent_until = float("-inf")
        self._refused = 0

    def admits(self, file: int) -> bool:
        """Whether its client may stay; where not, it is counted, and told of now and then."""
        if self._first_refused is None or file < self._first_refused:
            return True
        self.refused()
        return False

    def refused(self, clients: int = 1) -> None:
        """So many were turned away."""
        count("files", clients)
        self._refused += clients
        now = self._clock()
        if now >= self._silent_until:
            log.warning(
                "The %s files that this process may open do not suffice: new connections are closed, "
                "%d since this was last said. Raise the limit (LimitNOFILE= in systemd, ulimit -n), or "
                "serve with more --workers.",
                self._files,
                self._refused,
            )
            self._silent_until, self._refused = now + SILENCE, 0


@functools.cache
def admission() -> Admission:
    """That of this process."""
    return Admission(limit())


class Admitting(asyncio.Protocol):
    """Part of a protocol: lets go of a client that there is no file for, before anything is made for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        accepted = transport.get_extra_info("socket")
        if accepted is None or admission().admits(accepted.fileno()):
            super().connection_made(transport)
        else:
            refused = cast("asyncio.Transport", transport)
            refused.set_protocol(asyncio.Protocol())  # this one was never told of a beginning
            refused.abort()


class Overflow:
    """An exception handler for asyncio's own loop, which cannot accept when no file is left.

    It takes who waits there and lets go of them, as libuv does, so that the loop finds nobody.
    """

    def __init__(self) -> None:
        self._spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the loop calls."""
        if context.get("message") == "socket.accept() out of system resource":
            self._turn_away(context["socket"].fileno())
        else:
            loop.default_exception_handler(context)

    def _turn_away(self, listening: int) -> None:
        while self._spare:
            os.close(self._spare.pop())
        count = 0
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(listening)) as waiting:
            while True:  # until nobody waits, or another thread has taken the file
                waiting.accept()[0].close()
                count += 1
        with contextlib.suppress(OSError):
            self._spare += [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
        admission().refused(count)
