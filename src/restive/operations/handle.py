"""``op``: what a running operation may say and ask."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, overload

from ..errors import Problem
from .arguments import adapter, dump
from .files import check_part_name
from .mapping import Crew, Mapping
from .partfile import PartFile
from .running import Running

__all__ = ["Operation"]

T = TypeVar("T")
R = TypeVar("R")

MEDIA_TYPE = re.compile(
    r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;\s*[\w-]+=(\"[^\"\\\x00-\x1f]*\"|[\w!#$&^.+-]+))*", re.ASCII
)


class Operation:
    """The running operation: a parameter of this type gets it.

    Every method may be called from any thread of the function, and all but ``check`` also raise what
    ``check`` raises.
    """

    def __init__(self, run: Running, crew: Crew) -> None:
        self._run, self._crew = run, crew

    @property
    def id(self) -> str:
        """The last segment of its URL."""
        return self._run.id

    @property
    def attempt(self) -> int:
        """1 for the first run."""
        return self._run.attempt

    @property
    def folder(self) -> Path:
        """Scratch space of its own, removed with the operation."""
        return self._run.files.scratch(self.id)

    def report(
        self,
        completed: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far it is; any of them. Cheap: call it as often as you like.

        ``completed`` never goes back while ``unit`` is the same. Raises ``ValueError`` for what is no count.
        """
        self._run.report(completed, total, unit, message)

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        *,
        unit: str | None = None,
        concurrency: int | None = None,
    ) -> Mapping[T, R]:
        """The results of ``function`` over ``items`` as they come, with the help of idle workers.

        Each item advances the progress by one ``unit``; the total is known where ``items`` has a length.
        What ``function`` raises is raised here, and no further item is begun. At most ``concurrency`` items
        (default: twice the workers) are drawn and not yet yielded; of a coroutine function so many run.
        """
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency= is at least 1, not {concurrency!r}.")
        return Mapping(function, items, unit, self._run, self._crew, concurrency)

    @overload
    def part(self, name: str, data: object, media_type: str | None = None) -> str: ...
    @overload
    def part(self, name: str, *, media_type: str | None = None) -> PartFile: ...

    def part(self, name: str, data: object = None, media_type: str | None = None) -> str | PartFile:
        """Publish a part: its URL works when this returns, and is returned.

        ``data`` is bytes, text or anything that JSON can hold. Without data this is a binary file to write
        to, whose readers follow it; it is finished when it is closed, or when the function returns.

        A part of that name that an earlier attempt published stays: the same bytes are accepted again.

        Raises ``Problem`` (422) for a name that no URL segment can have, (409) for one that is taken,
        (507, 503) where the part cannot be kept.
        """
        name = check_part_name(name)
        content, default = (None, None) if data is None else _content(data)
        kind = media_type or mimetypes.guess_type(name)[0] or default or "application/octet-stream"
        if isinstance(data, str) and kind.startswith("text/") and "charset" not in kind:
            kind += "; charset=utf-8"
        if not MEDIA_TYPE.fullmatch(kind):
            raise Problem(422, "This is no media type", f"{kind!r} has not the form type/subtype.")
        self._run.fence()
        file = PartFile(self._run, name, kind)
        if content is None:
            return file
        with file:
            file.write(content)
        return self._run.part_location(name)

    def published(self, name: str) -> str | None:
        """The URL of the finished part of that name, None where there is none.

        An attempt after the first can so skip what an earlier one has done. Raises ``Problem`` (422) for a
        name that no part can have.
        """
        name = check_part_name(name)
        self._run.check()
        found = self._run.files.part(self.id, name)
        if found is None:
            return None
        if found.number != self._run.number:  # it may have been lost before it was listed
            self._run.publish(found.part)
        return self._run.part_location(name)

    def check(self) -> None:
        """Raises ``Canceled`` once cancel was asked for, ``Interrupted`` once the lease is over."""
        self._run.check()


def _content(data: object) -> tuple[bytes, str]:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), "application/octet-stream"
    if isinstance(data, str):
        return data.encode(), "text/plain; charset=utf-8"
    return dump(adapter(Any), data), "application/json"
