"""The iterator of one watch, and how its target and headers are put."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from types import TracebackType
from typing import Self

from .attempt import FRAME_HEADERS, Want
from .origin import Inbox, Origin
from .policy import Transport
from .state import State

__all__ = ["Watch", "normal_target", "socket_rungs"]

_UNRESERVED = string.ascii_letters + string.digits + "-._~"
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def normal_target(raw: str) -> str:
    """Path and query in RFC 3986 normal form (6.2.2), the only one that a socket takes.

    Dot segments are gone already: URLs are resolved before they come here.
    """

    def normal(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(normal, raw)


def socket_rungs(
    rungs: tuple[Transport, ...], origin: Origin, target: str, headers: tuple[tuple[str, str], ...]
) -> tuple[Transport, ...]:
    """Without the WebSocket where the watch cannot use it. Raises ``ValueError`` where it is the only one."""
    fits = {name for name, _ in headers} <= FRAME_HEADERS
    if fits and origin.shares_socket(target, headers):
        return rungs
    left = tuple(rung for rung in rungs if rung != "websocket")
    if not left:
        raise ValueError(
            f"A WebSocket takes {', '.join(sorted(FRAME_HEADERS))} for each watch, and one watch of each "
            "target: give other headers to the client, or use another transport."
        )
    return left


class Watch:
    """The states of one resource, by ``async for``.

    It begins with the first ``anext`` and ends with the last state, with ``aclose()``, with its
    ``async with`` block, with its client, or when it is no longer referenced. A slow reader skips states and
    always gets the last one. After a final state the iteration stops; ``WatchEnded`` is raised for any other
    end, and ``Unreachable`` where nothing was ever delivered.
    """

    def __init__(self, begin: Callable[[], tuple[Origin, Want]], etag: str | None) -> None:
        self.etag = etag
        """Entity tag of the last state that was read: resume from it with ``watch(url, etag=…)``."""
        self._begin = begin
        self._origin: Origin | None = None
        self._key = 0
        self._inbox: Inbox | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> State:
        state = await self.next()
        if state is None:
            raise StopAsyncIteration
        return state

    async def next(self) -> State | None:
        """The next state, or None after the last one. Raises as the iteration does."""
        if self._inbox is None:
            self._origin, want = self._begin()
            self._key, self._inbox = self._origin.watch(want)
        state = await self._inbox.get()
        if state is not None:
            self.etag = state.etag
        return state

    async def aclose(self) -> None:
        """End the watch. What was not read yet is given up."""
        if self._inbox is None:
            self._inbox = Inbox()
        elif self._origin is not None:
            self._origin.unwatch(self._key)
        self._inbox.drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._origin is not None:
            self._origin.unwatch_soon(self._key)
