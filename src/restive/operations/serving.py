"""The bytes of a part: whole or by ranges once it is finished, and followed to its end while it is written.

Whoever reads a part that is removed is cut: the response breaks off, so that no client takes a piece of it
for the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..http.fields import media_type
from ..http.validators import none_match
from .answers import IMMUTABLE
from .files import Part

__all__ = ["FollowedPart", "finished_part"]

CHUNK = 256 * 1024
SHOWN = ("image/", "audio/", "video/")
SOONEST, LATEST = 0.01, 0.25
"""Seconds between two looks at a file that does not grow."""

ALIVE_EVERY = 1.0
"""Seconds after which a follower asks whether the operation still runs."""


def disposition(part: Part) -> str:
    """Content-Disposition: a browser shows only what cannot run in the app's origin."""
    kind = media_type(part.type)
    shown = kind.startswith(SHOWN) and kind != "image/svg+xml"
    shown = shown or kind in {"text/plain", "application/json"}
    return f"{'inline' if shown else 'attachment'}; filename*=utf-8''{quote(part.name, safe='')}"


def _fields(part: Part) -> dict[str, str]:
    return {
        "Content-Type": part.type,
        "Content-Disposition": disposition(part),
        "X-Content-Type-Options": "nosniff",
    }


def finished_part(request: Request, part: Part, path: Path) -> Response:
    """The answer to a GET or HEAD of a finished part, with Range and If-Range."""
    fields = {"Cache-Control": IMMUTABLE, "ETag": part.tag, "X-Content-Type-Options": "nosniff"}
    asked = request.headers.get("if-none-match")
    if asked is not None and none_match(asked, part.tag):
        return Response(status_code=304, headers=fields)
    fields |= {**_fields(part), "Repr-Digest": part.digest}
    return _Finished(path, headers=fields, media_type=part.type)


class _Finished(FileResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def checked(message: Message) -> None:
            # The open file outlives its removal; its readers must not.
            if message["type"] == "http.response.body" and _is_removed(self.path):
                raise ConnectionAbortedError("The part was removed while it was read.")
            await send(message)

        await super().__call__(scope, receive, checked)


class FollowedPart(Response):
    """The bytes of a part that is being written, as they come, to its end."""

    def __init__(self, part: Part, writing: Path, running: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **_fields(part)})
        del self.headers["content-length"]
        self._writing, self._running = writing, running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            descriptor = os.open(self._writing, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # finished or dropped in this moment
            descriptor = os.open(self._writing.with_suffix(""), os.O_RDONLY | os.O_CLOEXEC)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await self._follow(descriptor, receive, send)
            else:
                await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(descriptor)

    async def _follow(self, descriptor: int, receive: Receive, send: Send) -> None:
        left = asyncio.ensure_future(_disconnected(receive))
        try:
            async for chunk in self._chunks(descriptor, left):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not left.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left

    async def _chunks(self, descriptor: int, left: asyncio.Future[None]) -> AsyncIterator[bytes]:
        offset, delay, idle = 0, SOONEST, 0.0
        while not left.done():
            finished = self._finished(descriptor)
            chunk = await anyio.to_thread.run_sync(os.pread, descriptor, CHUNK, offset)
            if chunk:
                offset, delay, idle = offset + len(chunk), SOONEST, 0.0
                yield chunk
                continue
            if finished:
                return
            await asyncio.wait([left], timeout=delay)
            delay, idle = min(LATEST, delay * 1.5), idle + delay
            if idle >= ALIVE_EVERY:
                idle = 0.0
                await self._check_running(descriptor)

    def _finished(self, descriptor: int) -> bool:
        """Whether all of its bytes are there. Asked before the last read, so that this read is the last."""
        state = os.fstat(descriptor)
        if state.st_nlink == 0:
            raise ConnectionAbortedError("The part was dropped while it was written.")
        return not self._writing.exists()

    async def _check_running(self, descriptor: int) -> None:
        if not await self._running() and not self._finished(descriptor):
            raise ConnectionAbortedError("The operation ended before the part was finished.")


def _is_removed(path: str | os.PathLike[str]) -> bool:
    return not os.path.exists(path)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
