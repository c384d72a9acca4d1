"""``Stream``: what the app's own code appends to and reads, on an event loop or in a thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from ..backends.port import Trimmed
from ..errors import Problem
from .content import ANY, OCTETS, encoded, kind_of
from .declaration import Declaration
from .offsets import BEGINNING, NOW, START, checked, refused, trimmed
from .producers import Outcome, Write
from .service import Service
from .tasks import Deletion, Look, Sight, Writing

__all__ = ["BlockingStream", "Stream", "StreamInfo", "StreamPage"]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream is.

    ``path`` is in the app, ``offset`` its end, ``closed`` tells that nothing more will come; ``created`` and
    ``expires`` are Unix times in seconds, ``ttl`` is in seconds.
    """

    path: str
    content_type: str
    offset: str
    closed: bool
    created: float
    ttl: float | None
    expires: float | None


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Items of a stream: JSON values, else pieces of bytes.

    ``offset`` lies behind the last of them; ``closed`` and ``up_to_date`` tell that nothing comes behind it,
    for ever or for now.
    """

    items: list[Any]
    offset: str
    closed: bool
    up_to_date: bool


class Stream:
    """A declared stream. Made by ``Restive.stream``.

    All methods take the parameters of its path by name: ``await messages.append(item, room=5)``. They raise
    ``TypeError`` and ``ValueError`` for parameters and items that cannot be, ``Problem`` for what cannot be
    done (409: it is closed), ``BackendUnavailable`` where the store does not answer: then nobody knows
    whether it was done.
    """

    def __init__(self, service: Service, declaration: Declaration) -> None:
        self._service, self._declaration = service, declaration

    def __repr__(self) -> str:
        return f"<Stream {self._declaration.path}>"

    @property
    def blocking(self) -> BlockingStream:
        """The same for code in threads: its methods wait instead of being awaited."""
        return BlockingStream(self._service, self._declaration)

    def path(self, **parameters: Any) -> str:
        """The path in the app, in normal form, of the stream with these parameters."""
        return self._declaration.path_of(parameters)

    async def append(self, item: Any, /, **parameters: Any) -> str:
        """Append one item; where there is no stream yet it begins.

        JSON values as FastAPI would write them (models and dates too); for other types bytes or text, which
        may be stored in pieces. Returns the offset of the stream's end, at or behind the item.
        """
        return await self.append_many([item], **parameters)

    async def append_many(self, items: Iterable[Any], /, **parameters: Any) -> str:
        """Append several items at once: all of them are there or none. Returns as ``append``."""
        path = self._declaration.path_of(parameters)
        given = list(items)
        sight = await self._service.look(path) if self._declaration.content_type == ANY else None
        write = _writing(self._declaration, path, given, sight)
        return _appended(await self._service.write(self._declaration, path, write))

    async def close(self, **parameters: Any) -> str:
        """Nothing more will come; a stream that was not there is there then, empty. Returns its end."""
        path = self._declaration.path_of(parameters)
        write = Writing(Write(close=True), self._declaration.life(path))
        return _appended(await self._service.write(self._declaration, path, write))

    async def delete(self, **parameters: Any) -> bool:
        """Delete it. Returns whether there was one. What is appended then begins another stream."""
        return await self._service.delete(self._declaration.path_of(parameters))

    async def info(self, **parameters: Any) -> StreamInfo | None:
        """What it is; None where there is none."""
        return _info(await self._service.look(self._declaration.path_of(parameters)))

    async def read(self, offset: str = "-1", limit: int = 1000, **parameters: Any) -> StreamPage:
        """At most ``limit`` items behind an offset, fewer of large ones; none where there is no stream.

        Raises ``Problem``: 410 where items behind the offset were dropped, 400 for one that is not its own.
        """
        path = self._declaration.path_of(parameters)
        return await self._service.offload(_read, self._service, path, offset, limit)


class BlockingStream:
    """``Stream`` for code in threads; each method as that of the same name there."""

    def __init__(self, service: Service, declaration: Declaration) -> None:
        self._service, self._declaration = service, declaration

    def append(self, item: Any, /, **parameters: Any) -> str:
        """Append one item. Returns the offset of the stream's end, at or behind the item."""
        return self.append_many([item], **parameters)

    def append_many(self, items: Iterable[Any], /, **parameters: Any) -> str:
        """Append several items at once: all of them are there or none."""
        declaration, path = self._declaration, self._declaration.path_of(parameters)
        given = list(items)
        sight = self._service.log.do(path, Look()) if declaration.content_type == ANY else None
        write = _writing(declaration, path, given, sight)
        return self._done(path, write)

    def close(self, **parameters: Any) -> str:
        """Nothing more will come. Returns its end."""
        path = self._declaration.path_of(parameters)
        return self._done(path, Writing(Write(close=True), self._declaration.life(path)))

    def _done(self, path: str, writing: Writing) -> str:
        self._service.log.sweep_now_and_then()
        outcome: Outcome = self._service.log.do(path, writing)
        self._service.count(self._declaration, writing.write, outcome)
        return _appended(outcome)

    def delete(self, **parameters: Any) -> bool:
        """Delete it. Returns whether there was one."""
        return bool(self._service.log.do(self._declaration.path_of(parameters), Deletion()))

    def info(self, **parameters: Any) -> StreamInfo | None:
        """What it is; None where there is none."""
        return _info(self._service.log.do(self._declaration.path_of(parameters), Look()))

    def read(self, offset: str = "-1", limit: int = 1000, **parameters: Any) -> StreamPage:
        """At most ``limit`` items behind an offset."""
        return _read(self._service, self._declaration.path_of(parameters), offset, limit)


def _writing(declaration: Declaration, path: str, items: list[Any], sight: Sight | None) -> Writing:
    content_type = declaration.content_type
    if sight is not None:
        content_type = sight.life.content_type
    elif content_type == ANY:
        octets = bool(items) and isinstance(items[0], bytes | bytearray | memoryview)
        content_type = OCTETS if octets else "application/json"
    if not items:
        raise ValueError("An append has at least one item.")
    stored = tuple(piece for item in items for piece in encoded(item, content_type))
    if not stored:
        raise ValueError("An item of no bytes cannot be appended.")
    return Writing(Write(stored), declaration.life(path, content_type))


def _appended(outcome: Outcome) -> str:
    if outcome.verdict == "closed":
        raise Problem(409, "The stream is closed", "Nothing can be appended to it any more.")
    return outcome.offset


def _info(sight: Sight | None) -> StreamInfo | None:
    if sight is None:
        return None
    life = sight.life
    return StreamInfo(
        life.path, life.content_type, sight.offset, sight.closed, life.created, life.ttl, life.expires
    )


def _read(service: Service, path: str, offset: str, limit: int) -> StreamPage:
    if limit < 1:
        raise ValueError(f"limit= is at least 1, not {limit}.")
    if offset == NOW:
        sight: Sight | None = service.log.do(path, Look())
        return StreamPage([], START, closed=False, up_to_date=True) if sight is None else _end(sight)
    try:
        read = service.log.read(path, checked(offset), limit)
    except Trimmed:
        raise trimmed() from None
    except ValueError as error:
        raise refused(str(error)) from None
    if read is None:
        if offset not in {BEGINNING, START}:
            raise refused("There is no stream that it could belong to.")
        return StreamPage([], START, closed=False, up_to_date=True)
    found, page = read
    items: list[Any] = list(page.items)
    if kind_of(found.life.content_type) == "json":
        items = [msgspec.json.decode(item) for item in items]
    return StreamPage(items, page.next, page.closed, page.up_to_date)


def _end(sight: Sight) -> StreamPage:
    return StreamPage([], sight.offset, sight.closed, up_to_date=True)
