"""The answers to reads of a stream and of what is like one: a page now, or as soon as there is one.

What HTTP says of them (protocol sections 5.6, 5.7 and 10) is decided here for any source of slices, so that
an operation's parts can be read as a stream is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import Problem
from ..http.validators import none_match
from ..hub.following import Gone
from ..hub.hub import Hub
from ..telemetry.metrics import LONG_POLL
from ..wire.durable import cursor_after
from .content import joined
from .offsets import BEGINNING, NOW, START
from .place import Place, Slice
from .tail import Batch, Follower

__all__ = ["Caching", "Poll", "next_offset", "page_answer", "poll_answer"]

PIECE = 65_536
"""Bytes that are handed to the server at once: no more waits for a client that takes nothing."""

SHARED = "public, max-age=60, stale-while-revalidate=300"
FOREVER = "public, max-age=31536000, immutable"
PRIVATE, NEVER = "private, no-cache", "no-store"


@dataclass(frozen=True, slots=True)
class Caching:
    """What caches may do with reads of one stream."""

    public: bool
    lasting: bool = True
    """Whether nothing of it ever expires."""

    def of_page(self, asked: str, found: Slice) -> str:
        """The Cache-Control of a catch-up read from the offset that the client asked for.

        What lies between two offsets never changes, if something else is known to follow it.
        """
        if asked == NOW:
            return NEVER
        if not self.public:
            return PRIVATE
        settled = self.lasting and not found.up_to_date and asked not in {BEGINNING, START}
        return FOREVER if settled else SHARED

    def of_poll(self) -> str:
        """The Cache-Control of items that a long poll has waited for; its cursor is in its URL."""
        return SHARED if self.public else NEVER


class Pieces(Response):
    """A body that is handed over bit by bit, as the client takes it, each within ``stall`` seconds."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str], stall: float) -> None:
        super().__init__(body, status, dict(headers))
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A client that takes nothing is cut off, which the length shows."""
        if len(self.body) <= PIECE or scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        with contextlib.suppress(TimeoutError):  # the server then closes the connection
            for at in range(0, len(body), PIECE):
                piece, more = bytes(body[at : at + PIECE]), at + PIECE < len(body)
                async with asyncio.timeout(self._stall):
                    await send({"type": "http.response.body", "body": piece, "more_body": more})


def next_offset(offset: str, *, closed: bool, up_to_date: bool) -> dict[str, str]:
    """The fields that say where to go on."""
    fields = {"Stream-Next-Offset": offset}
    if up_to_date:
        fields["Stream-Up-To-Date"] = "true"
    if closed:
        fields["Stream-Closed"] = "true"
    return fields


def page_answer(
    request: Request, place: Place, found: Slice, asked: str, caching: Caching, stall: float
) -> Response:
    """The answer to a catch-up read (section 5.6)."""
    tag = f'"{asked}:{found.next}{":c" if found.closed else ""}"'
    fields = {
        "Content-Type": place.content_type,
        "Cache-Control": caching.of_page(asked, found),
        **next_offset(found.next, closed=found.closed, up_to_date=found.up_to_date),
    }
    if asked == NOW:
        return Pieces(joined((), place.content_type), 200, fields, stall)
    fields["ETag"] = tag
    known = request.headers.get("if-none-match")
    if known is not None and none_match(known, tag):
        del fields["Content-Type"]
        return Response(status_code=304, headers=fields)
    return Pieces(joined(found.items, place.content_type), 200, fields, stall)


class Poll:
    """A long poll as the hub sees it: a connection that ends when the server stops."""

    keeps = True
    traffic = LONG_POLL

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.event = asyncio.Event()
        self.over = hub.draining
        """The server stops or the client is gone."""
        LONG_POLL.connections.value += 1
        hub.connections.add(self)
        hub.polled(+1)

    def drain(self) -> None:
        """The server stops."""
        self.over = True
        self.event.set()

    def close(self) -> None:
        """It is answered."""
        self._hub.polled(-1)
        self._hub.disconnected(self)

    async def outcome(self, follower: Follower, wait: float) -> Batch | None:
        """The first items, or the end of the stream; else the place where it waited, or None for none at all.

        Raises ``Problem`` where the stream cannot be read from there.
        """
        where: Batch | None = None
        try:
            async with asyncio.timeout(wait):
                while not self.over:
                    self.event.clear()
                    found = follower.take()
                    if isinstance(found, Gone):
                        raise Problem.from_document(found.document)
                    where = found or where
                    if found is not None and (found.items or found.closed):
                        break
                    if found is None:
                        await self.event.wait()
        except TimeoutError:
            pass
        return where

    async def until_gone(self, receive: Receive) -> None:
        """Notice that the client has gone."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.drain()


def poll_answer(found: Batch | None, cursor: str | None, caching: Caching, stall: float) -> Response:
    """The answer to a long poll (section 5.7)."""
    if found is None:
        raise Problem(503, "No answer yet", "Ask again.", headers={"Retry-After": "1"})
    fields = next_offset(found.offset, closed=found.closed, up_to_date=found.up_to_date)
    if not found.closed:
        fields["Stream-Cursor"] = str(cursor_after(cursor, time.time(), random.random()))  # noqa: S311
    if not found.items:
        return Response(status_code=204, headers={**fields, "Cache-Control": NEVER})
    body = found.forms.get("body")
    if body is None:
        body = found.forms["body"] = joined(found.items, found.content_type)
    fields |= {"Content-Type": found.content_type, "Cache-Control": caching.of_poll()}
    return Pieces(body, 200, fields, stall)
