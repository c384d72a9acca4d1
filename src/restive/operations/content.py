"""The bytes of a part as they are read for a response, in pieces: from a file, or from a depot.

A piece that the kernel has in memory is read at once; only what has to come from a disk or over a network is
read on a thread. A part that was removed raises ``CutOff`` at the next piece, so that no client takes what
it has for the whole.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from ..errors import CutOff
from .depot import Depot

__all__ = ["Content", "DepotContent", "FileContent", "pieces"]

PIECE = 256 * 1024
REMOTE_PIECE = 4 * 1024 * 1024
REMOTE_READERS = 16
"""Reads from depots at once on one event loop."""

PATIENCE = 30.0
"""Seconds after which a depot that has sent no piece counts as unreachable."""

NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class _Pieces(threading.local):
    """What is read into before it is copied: memory that was used before costs no page faults."""

    def __init__(self) -> None:
        self.buffer = bytearray(PIECE)


_pieces = _Pieces()
_readers: RunVar[anyio.CapacityLimiter] = RunVar("restive-depot-readers")


class Content(Protocol):
    """The bytes of one part. Opened already; to be closed."""

    async def read(self, start: int, end: int) -> bytes:
        """Some bytes from ``start`` on, none from ``end`` on. Raises ``OSError``."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class FileContent:
    """A file of this machine; ``stands`` is asked once the open file has lost its name."""

    def __init__(self, path: Path, stands: Callable[[], bool] = lambda: False) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_BINARY", 0))
        self._stands = stands

    async def read(self, start: int, end: int) -> bytes:
        """As the protocol says; empty at the end of what is written."""
        if os.fstat(self.descriptor).st_nlink == 0 and not self._stands():
            raise CutOff("The part was removed while it was read.")
        length = min(PIECE, end - start)
        piece = _in_memory(self.descriptor, length, start) if NOWAIT else None
        if piece is None:
            piece = await anyio.to_thread.run_sync(os.pread, self.descriptor, length, start)
        return piece

    def close(self) -> None:
        """Release it."""
        os.close(self.descriptor)


def _in_memory(descriptor: int, length: int, start: int) -> bytes | None:
    """What of the file is in memory; None where it has to be waited for."""
    piece = _pieces.buffer
    try:
        count = os.preadv(descriptor, [memoryview(piece)[:length]], start, NOWAIT)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            return None
        raise
    return bytes(memoryview(piece)[:count])


class DepotContent:
    """What a depot has under a key; ``stands`` says whether it was not removed meanwhile."""

    def __init__(self, depot: Depot, key: str, stands: Callable[[], bool]) -> None:
        self._depot, self._key, self._stands = depot, key, stands

    async def read(self, start: int, end: int) -> bytes:
        """As the protocol says."""
        if not self._stands():
            raise CutOff("The part was removed while it was read.")
        stop = min(end, start + REMOTE_PIECE)
        try:
            with anyio.fail_after(PATIENCE):
                return await anyio.to_thread.run_sync(
                    self._depot.read, self._key, start, stop, abandon_on_cancel=True, limiter=_limiter()
                )
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, "the place for parts does not answer") from error

    def close(self) -> None:
        """Nothing is held."""


def _limiter() -> anyio.CapacityLimiter:
    limiter = _readers.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(REMOTE_READERS)
        _readers.set(limiter)
    return limiter


async def pieces(content: Content, start: int, end: int) -> AsyncGenerator[bytes]:
    """All bytes from ``start`` to before ``end``; the next piece of a depot is fetched meanwhile."""
    reading = _direct if isinstance(content, FileContent) else _ahead
    async with aclosing(reading(content, start, end)) as found:
        async for piece in found:
            yield piece


async def _direct(content: Content, start: int, end: int) -> AsyncGenerator[bytes]:
    while start < end:
        piece = _some(await content.read(start, end))
        start += len(piece)
        yield piece


async def _ahead(content: Content, start: int, end: int) -> AsyncGenerator[bytes]:
    coming = asyncio.ensure_future(content.read(start, end)) if start < end else None
    try:
        while coming is not None:
            piece = _some(await coming)
            start += len(piece)
            coming = asyncio.ensure_future(content.read(start, end)) if start < end else None
            yield piece
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _some(piece: bytes) -> bytes:
    if not piece:
        raise CutOff("The part is shorter than it was.")
    return piece
