"""What one read of a stream says, by the Durable Streams protocol 1.0: pages, and events. No I/O."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..wire.sse import SSEEvent

__all__ = ["Assembler", "Batch", "assembler", "media_type", "of_page"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some items of a stream, in order.

    ``items`` are decoded JSON values where the stream is JSON, else one piece of text or bytes. ``offset`` is
    behind the last of them: ``follow(url, offset=…)`` goes on there. ``closed``: there are no more, ever.
    """

    items: tuple[Any, ...]
    offset: str
    closed: bool = False
    up_to_date: bool = False
    cursor: str | None = None


def of_page(headers: Mapping[str, str], body: bytes) -> Batch:
    """The answer to a catch-up read or a long poll. Raises ``ValueError`` for what is none."""
    offset = headers.get("stream-next-offset")
    if not offset:
        raise ValueError("The answer is not a stream's: it has no Stream-Next-Offset.")
    closed = headers.get("stream-closed", "").lower() == "true"
    up_to_date = closed or headers.get("stream-up-to-date", "").lower() == "true"
    kind = headers.get("content-type", "")
    items: tuple[Any, ...] = ()
    if body and media_type(kind) == "application/json":
        items = tuple(_array(body))
    elif body:
        items = (body.decode() if media_type(kind).startswith("text/") else body,)
    return Batch(items, offset, closed, up_to_date, headers.get("stream-cursor"))


class Assembler:
    """Puts the events of a live read together: items, and behind them where to go on."""

    def __init__(self, *, base64: bool) -> None:
        self._base64 = base64
        self._items: list[Any] = []

    def feed(self, event: SSEEvent) -> Batch | None:
        """The batch that the event completes. Raises ``ValueError`` for what is no stream's."""
        if event.name == "data":
            self._items += self._decoded(event.data)
        if event.name != "control":
            return None
        said = _control(event.data)
        items, self._items = tuple(self._items), []
        closed = said.streamClosed
        return Batch(items, said.streamNextOffset, closed, closed or said.upToDate, said.streamCursor)

    def _decoded(self, data: str) -> list[Any]:
        if self._base64:
            return [b64decode(data.replace("\n", ""), validate=True)]
        return [data]


class _JSONAssembler(Assembler):
    """Of a stream of JSON values."""

    def _decoded(self, data: str) -> list[Any]:
        return _array(data)


def assembler(content_type: str, *, base64: bool) -> Assembler:
    """The one for a stream of that type."""
    json = media_type(content_type) == "application/json"
    return _JSONAssembler(base64=base64) if json else Assembler(base64=base64)


def media_type(content_type: str) -> str:
    """Without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _array(text: str | bytes) -> list[Any]:
    try:
        return msgspec.json.decode(text, type=list)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"A read of a JSON stream is no array: {error}") from None


class _Control(msgspec.Struct):
    streamNextOffset: str  # noqa: N815 - the protocol's names
    streamCursor: str | None = None  # noqa: N815
    streamClosed: bool = False  # noqa: N815
    upToDate: bool = False  # noqa: N815


def _control(text: str) -> _Control:
    try:
        return msgspec.json.decode(text, type=_Control)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"A control event was not understood: {error}") from None
