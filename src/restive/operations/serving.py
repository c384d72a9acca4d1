"""The responses with the bytes of a part: finished ones whole or by ranges, others followed to their end.

Whoever reads a part that is removed is cut: the response breaks off, so that no client takes a piece of it
for the whole.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import CutOff, Problem
from ..http.cutting import cut_off
from ..http.fields import media_type
from .answers import IMMUTABLE
from .content import Content, DepotContent, FileContent, pieces
from .depot import Depot
from .following import followed
from .parts import Found, Part
from .ranges import Answer, answer

__all__ = ["part_response"]

logger = logging.getLogger("restive.operations")

SHOWN = ("image/", "audio/", "video/")


def disposition(part: Part) -> str:
    """Content-Disposition: a browser shows only what cannot run in the app's origin."""
    kind = media_type(part.type)
    shown = kind.startswith(SHOWN) and kind != "image/svg+xml"
    shown = shown or kind in {"text/plain", "application/json"}
    return f"{'inline' if shown else 'attachment'}; filename*=utf-8''{quote(part.name, safe='')}"


async def part_response(
    request: Request, found: Found, depot: Depot | None, running: Callable[[], Awaitable[bool]]
) -> Response:
    """The answer to a GET or HEAD of a part. ``running`` says whether its run goes on.

    Raises ``Problem`` (412, 416; 503 where the place of its bytes does not answer), and
    ``FileNotFoundError`` where it was removed in this moment.
    """
    if not found.finished:
        content = await anyio.to_thread.run_sync(_opened, found, None)
        return _Followed(found, content, running)
    if found.path is None and depot is None:
        logger.error("A part is kept elsewhere, but there is no parts= any more.")
        raise _unreachable()
    asked = {name.lower(): value for name, value in request.headers.items()}
    part = found.part
    reply = answer(request.method, asked, part.tag, part.size, part.type, secrets.token_hex(16))
    if reply.status == 304 or request.method == "HEAD":
        return _Headed(reply, part)
    return await _body(reply, found, depot)


async def _body(reply: Answer, found: Found, depot: Depot | None) -> Response:
    content = await anyio.to_thread.run_sync(_opened, found, depot)
    body = _chunks(reply, content)
    try:
        # The first bytes are there before a status is promised.
        first = await anext(body, b"")
    except FileNotFoundError:
        content.close()
        raise
    except OSError as error:
        content.close()
        logger.warning("A part cannot be read now: %s", error)
        raise _unreachable() from error
    except BaseException:
        content.close()
        raise
    return _Finished(reply, found.part, content, first, body)


def _opened(found: Found, depot: Depot | None) -> Content:
    if found.path is None:
        assert depot is not None
        return DepotContent(depot, found.key, found.stands)
    return FileContent(found.path, found.stands)


def _unreachable() -> Problem:
    detail = "The place where this part is kept does not answer."
    return Problem(503, "The part cannot be read now", detail, headers={"Retry-After": "5"})


async def _chunks(reply: Answer, content: Content) -> AsyncGenerator[bytes]:
    for span in reply.spans:
        if span.head:
            yield span.head
        async with aclosing(pieces(content, span.start, span.end)) as found:
            async for piece in found:
                yield piece
    if reply.tail:
        yield reply.tail


class _Headed(Response):
    """Status and fields of a finished part, without a body."""

    def __init__(self, reply: Answer, part: Part) -> None:
        fields = {"Cache-Control": IMMUTABLE, "ETag": part.tag, "X-Content-Type-Options": "nosniff"}
        if reply.status != 304:
            fields |= {
                **reply.fields,
                "Accept-Ranges": "bytes",
                "Content-Disposition": disposition(part),
                "Repr-Digest": part.digest,
            }
        super().__init__(status_code=reply.status, headers=fields)


class _Finished(_Headed):
    def __init__(
        self, reply: Answer, part: Part, content: Content, first: bytes, rest: AsyncGenerator[bytes]
    ) -> None:
        super().__init__(reply, part)
        self._content, self._first, self._rest = content, first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await _stream(lambda _: _joined(self._first, self._rest), receive, send)
        finally:
            self._content.close()


class _Followed(Response):
    """The bytes of a part that is being written, as they come, to its end."""

    def __init__(self, found: Found, content: Content, running: Callable[[], Awaitable[bool]]) -> None:
        fields = {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            "Content-Type": found.part.type,
            "Content-Disposition": disposition(found.part),
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(headers=fields)
        del self.headers["content-length"]
        self._found, self._content, self._running = found, content, running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await _stream(self._body, receive, send)
        except CutOff:
            cut_off(scope)
            raise
        finally:
            self._content.close()

    def _body(self, left: asyncio.Future[None]) -> AsyncGenerator[bytes]:
        return followed(self._found, self._content, self._running, left)


async def _joined(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _stream(
    body: Callable[[asyncio.Future[None]], AsyncGenerator[bytes]], receive: Receive, send: Send
) -> None:
    """Send all of ``body``, which gets a future of the client's leaving; or stop there."""
    left = asyncio.ensure_future(_disconnected(receive))
    try:
        async with aclosing(body(left)) as found:
            async for piece in found:
                if left.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not left.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
