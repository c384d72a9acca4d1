"""Reads of a stream, or of anything that is like one: a page, or a long poll (protocol sections 5.6, 5.7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from ..backends.port import Trimmed
from ..errors import Problem
from ..hub.hub import Hub
from ..settings import Settings
from . import requests
from .answers import Caching, Poll, page_answer, poll_answer
from .offsets import NOW, START, absent, checked, refused, trimmed
from .place import Place, Slice
from .tail import Follower, Source

__all__ = ["Follow", "Readable", "Reads", "nothing"]

Follow = Callable[[str, Callable[[], None]], Follower]
"""Begins to follow what is read, from an offset as the client gave it. Raises ``Problem``."""


class Readable(Source, Protocol):
    """What is read."""

    async def page(self, offset: str, limit: int) -> tuple[Place, Slice] | None:
        """Items behind an offset, "" for the beginning; None where there is nothing.

        Raises ``Trimmed``, ``ValueError`` and ``BackendError``.
        """
        ...


class Host(Protocol):
    """What reading needs of the ``Restive`` that it belongs to."""

    @property
    def settings(self) -> Settings: ...
    def hub(self) -> Hub: ...


class Reads:
    """Answers GETs. ``polls`` counts the long polls under way by client address."""

    def __init__(self, host: Host, polls: Counter[str], *, public: bool) -> None:
        self._host, self._polls, self._public = host, polls, public

    @property
    def _settings(self) -> Settings:
        return self._host.settings

    async def answer(self, request: Request, source: Readable, follow: Follow) -> Response:
        """The answer to a GET of ``source``. Raises ``Problem``."""
        asked = requests.reading(request.scope.get("query_string") or b"")
        if asked.live:
            return await self._poll(request, follow, asked)
        if asked.offset == NOW:
            place, found = await self._end(source)
        else:
            place, found = await self._page(source, checked(asked.offset))
        caching = Caching(public=self._public, lasting=place.lasting)
        return page_answer(request, place, found, asked.offset, caching, self._settings.stall)

    async def _page(self, source: Readable, offset: str) -> tuple[Place, Slice]:
        try:
            found = await source.page(offset, self._settings.stream_page)
        except Trimmed:
            raise trimmed() from None
        except ValueError as error:
            raise refused(str(error)) from None
        return nothing(source, offset) if found is None else found

    @staticmethod
    async def _end(source: Readable) -> tuple[Place, Slice]:
        place = await source.look()
        if place is None:
            return nothing(source, NOW)
        return place, Slice((), place.offset, place.closed, up_to_date=True)

    async def _poll(self, request: Request, follow: Follow, asked: requests.Reading) -> Response:
        with self._counted(request):
            poll = Poll(self._host.hub())
            gone = asyncio.ensure_future(poll.until_gone(request.receive))
            follower: Follower | None = None
            try:
                follower = follow(asked.offset, poll.event.set)
                found = await poll.outcome(follower, self._wait(asked.wait))
            finally:
                if follower is not None:
                    follower.close()
                gone.cancel()
                poll.close()
        return poll_answer(found, asked.cursor, Caching(public=self._public), self._settings.stall)

    def _wait(self, asked: float | None) -> float:
        return min(self._settings.wait if asked is None else asked, self._settings.max_wait)

    @contextmanager
    def _counted(self, request: Request) -> Iterator[None]:
        peer = request.client.host if request.client else ""
        if self._polls[peer] >= self._settings.max_connections:
            detail = "This address has too many live connections. Follow many streams over one socket."
            raise Problem(429, "Too many connections", detail, headers={"Retry-After": "5"})
        self._polls[peer] += 1
        try:
            yield
        finally:
            self._polls[peer] -= 1
            if not self._polls[peer]:
                del self._polls[peer]


def nothing(source: Source, offset: str) -> tuple[Place, Slice]:
    """What will be written in time reads as empty until it is. Raises ``Problem`` (400, 404)."""
    if not source.lasting:
        raise absent()
    if offset not in {"", START, NOW}:
        raise refused("There is no stream yet that it could belong to.")
    return source.nowhere, Slice((), START, closed=False, up_to_date=True)
