"""Follows parts that are being written: one look at a growing file serves all who read it on an event loop.

A reader takes what is there without asking, and waits for news only at the end of it. The file's folder is
renamed when the part is finished and removed when it is dropped, so one ``stat`` tells all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

from anyio.lowlevel import RunVar

from ..errors import CutOff
from .content import PIECE, Content
from .parts import Found

__all__ = ["followed"]

logger = logging.getLogger("restive.operations")

SOONEST, LATEST = 0.01, 0.1
"""Seconds between two looks at a file."""

ALIVE_EVERY = 1.0
"""Seconds without growth after which the operation is asked whether it still runs."""

Running = Callable[[], Awaitable[bool]]


class _Tail:
    """The end of one growing file."""

    def __init__(self, found: Found, path: Path, running: Running) -> None:
        self._found, self._path, self._running = found, path, running
        self.followers = 0
        self.size = 0
        self.end: Literal["", "finished", "dropped"] = ""
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._look())

    async def news(self, offset: int, left: asyncio.Future[None]) -> None:
        """Return once there is more than ``offset`` bytes, or an end, or the reader has left."""
        if self.size <= offset and not self.end:
            await asyncio.wait([self._news, left], return_when=asyncio.FIRST_COMPLETED)

    def close(self) -> None:
        """Nobody follows any more."""
        self._task.cancel()

    async def _look(self) -> None:
        delay, grew_at = SOONEST, time.monotonic()
        while not self._is_over():
            await asyncio.sleep(delay)
            delay = min(LATEST, delay * 1.5)
            if self._stat():
                delay, grew_at = SOONEST, time.monotonic()
                self._tell()
            elif time.monotonic() - grew_at >= ALIVE_EVERY:
                grew_at = time.monotonic()
                if not await self._runs() and not self._is_over():
                    self.end = "dropped"
        self._tell()

    def _stat(self) -> bool:
        """Whether there is more than before."""
        try:
            size = os.stat(self._path).st_size
        except OSError:
            return False
        grown, self.size = size > self.size, size
        return grown

    def _is_over(self) -> bool:
        if not self.end and not self._path.exists():
            self.end = "finished" if self._found.stands() else "dropped"
        return bool(self.end)

    def _tell(self) -> None:
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    async def _runs(self) -> bool:
        try:
            return await self._running()
        except Exception as error:  # noqa: BLE001 - a backend that is away for now ends nobody's reading
            logger.warning("A part's operation cannot be looked at now: %s", error)
            return True


_tails: RunVar[dict[Path, _Tail]] = RunVar("restive-part-tails")


@contextlib.contextmanager
def _tail(found: Found, running: Running) -> Iterator[_Tail]:
    tails = _tails.get(None)
    if tails is None:
        tails = {}
        _tails.set(tails)
    assert found.path is not None
    tail = tails.get(found.path)
    if tail is None:
        tail = tails[found.path] = _Tail(found, found.path, running)
    tail.followers += 1
    try:
        yield tail
    finally:
        tail.followers -= 1
        if not tail.followers:
            del tails[found.path]
            tail.close()


async def followed(
    found: Found, content: Content, running: Running, left: asyncio.Future[None]
) -> AsyncGenerator[bytes]:
    """The bytes of an open part as they come; ends with them, or once the reader has ``left``.

    Raises ``CutOff`` where the part will not be finished.
    """
    offset = 0
    with _tail(found, running) as tail:
        while not left.done():
            end = tail.end  # asked before the read, so that this read is the last
            piece = await content.read(offset, offset + PIECE)
            if piece:
                offset += len(piece)
                yield piece
            elif end == "finished":
                return
            elif end == "dropped":
                raise CutOff("The part was dropped while it was written.")
            else:
                await tail.news(offset, left)
