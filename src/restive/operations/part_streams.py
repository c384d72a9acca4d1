"""The parts of operations as streams: followed on every transport, read from any offset (design 3, 4.4).

Whether they may be read is said by a GET of the same URI, which finds the operation and its owner. Their log
is the operation's own; what is sent is each part's description with its URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..backends.port import Page
from ..hub.hub import Hub
from ..settings import Settings
from ..streams.answers import Caching, Poll, poll_answer
from ..streams.loops import LoopTails
from ..streams.offsets import START, checked
from ..streams.place import Place, Slice
from ..streams.requests import Reading
from ..streams.tail import Follower, Tails
from .parts import Part
from .record import OperationRecord

__all__ = ["PAGE", "PART", "PartStreams", "described"]

JSON = "application/json"
PAGE = 1000
"""Parts in one answer."""

PART = msgspec.json.Decoder(Part)

Find = Callable[[str], Awaitable[OperationRecord | None]]
Read = Callable[[str, str, int], Awaitable[Page]]


def described(operation: OperationRecord, part: Part) -> dict[str, Any]:
    """What clients are told of a finished part."""
    url = operation.part_location(part.name)
    return {"name": part.name, "url": url, "type": part.type, "size": part.size, "digest": part.digest}


class PartStreams:
    """The tails of each event loop, by the operation's identity, whichever root path it is under."""

    def __init__(
        self, settings: Callable[[], Settings], find: Find, read: Callable[[str, str, int], Any]
    ) -> None:
        """``find`` gives an operation by its identity, ``read`` a page of its parts."""
        self._settings, self.find, self.read = settings, find, read
        self._tails = LoopTails(lambda: Tails(self._source, self._settings().recheck, PAGE))

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Follow the parts at ``path`` on the running loop. Raises ``Problem`` for what is no offset."""
        return self._tails.here().follow(_identity(path), checked(offset), wake)

    def grew(self, paths: Iterable[str] | None) -> None:
        """There may be more parts, or an end, at these paths; None: anywhere. From any thread."""
        if self._tails:
            self._tails.grew(
                None if paths is None else [_identity(path) for path in paths if path.endswith("/parts")]
            )

    def _source(self, identity: str) -> PartSource:
        return PartSource(self, identity)

    async def poll(self, request: Request, asked: Reading, hub: Hub) -> Response:
        """The answer to a long poll. Raises ``Problem``."""
        settings, poll = self._settings(), Poll(hub)
        reader = asyncio.ensure_future(poll.until_gone(request.receive))
        follower = self.follow(str(request.scope["path"]), asked.offset, poll.event.set)
        try:
            wait = settings.wait if asked.wait is None else asked.wait
            found = await poll.outcome(follower, min(wait, settings.max_wait))
        finally:
            follower.close()
            reader.cancel()
            poll.close()
        return poll_answer(found, asked.cursor, Caching(public=False), settings.stall)


def _identity(path: str) -> str:
    return path.rpartition("/parts")[0].rpartition("/")[2]


class PartSource:
    """The parts of one operation, as a tail reads them."""

    lasting = False
    nowhere = Place(JSON)

    def __init__(self, streams: PartStreams, identity: str) -> None:
        self._streams, self._identity = streams, identity

    async def look(self) -> Place | None:
        """Where they end now; None where there is no such operation."""
        operation = await self._streams.find(self._identity)
        if operation is None:
            return None
        after, page = "", None
        while page is None or not page.up_to_date:
            page = await self._page(after)
            after = page.next
        return Place(JSON, after or START, page.closed, operation)

    async def read(self, place: Place, offset: str, limit: int) -> Slice:
        """Those behind an offset. Raises ``KeyError`` where the operation is gone, and ``ValueError``."""
        page = await self._page("" if offset == START else offset, limit)
        if not page.next and await self._streams.find(self._identity) is None:
            raise KeyError(self._identity)
        items = tuple(msgspec.json.encode(described(place.handle, PART.decode(item))) for item in page.items)
        return Slice(items, page.next or START, page.closed, page.up_to_date)

    async def _page(self, after: str, limit: int = PAGE) -> Page:
        page: Page = await self._streams.read(self._identity, after, limit)
        return page
