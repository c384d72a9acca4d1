"""The words of the Durable Streams protocol 1.0 that live reads need: its events and its cursor.

https://github.com/durable-streams/durable-streams/blob/main/PROTOCOL.md, sections 5.8 and 10.1. Beyond it, a
control event has an ``id``, so that an ``EventSource`` resumes by itself.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

__all__ = ["Kind", "control", "cursor_after", "data", "interval"]

Kind = Literal["json", "text", "bytes"]

EPOCH = 1_728_432_000
"""9 October 2024, from which intervals are counted (Unix time)."""

INTERVAL = 20
"""Seconds of one interval."""

JITTER = 180
"""Intervals by which a cursor runs ahead at most: 3,600 seconds."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_CURSOR = re.compile(r"[0-9]{1,12}", re.ASCII)


def interval(now: float) -> int:
    """The interval of ``now`` (Unix time)."""
    return int((now - EPOCH) // INTERVAL)


def cursor_after(given: str | None, now: float, jitter: float) -> int:
    """The cursor to answer with: the interval of now, or what lies behind ``given`` where that is not past.

    ``jitter`` is a random number from 0 up to 1.
    """
    current = interval(now)
    if given is None or _CURSOR.fullmatch(given) is None or int(given) < current:
        return current
    return int(given) + 1 + int(jitter * JITTER)


def data(kind: Kind, items: Sequence[bytes]) -> bytes:
    """The event of some items; nothing where there are none."""
    if not items:
        return b""
    if kind == "json":
        return _event(b"data", b"[%b]" % b",".join(items))
    joined = b"".join(items)
    return _event(b"data", joined if kind == "text" else b64encode(joined))


def control(offset: str, cursor: int, *, up_to_date: bool, closed: bool) -> bytes:
    """The event behind the items: where to go on."""
    said: dict[str, Any] = {"streamNextOffset": offset}
    if closed:
        said["streamClosed"] = True
    else:
        said["streamCursor"] = str(cursor)
    if up_to_date or closed:
        said["upToDate"] = True
    return b"id: %b\n" % offset.encode() + _event(b"control", msgspec.json.encode(said))


def _event(name: bytes, data: bytes) -> bytes:
    """An event without the space behind the colon, as all servers of the protocol write it."""
    lines = [b" " + line if line[:1] == b" " else line for line in _LINE_END.split(data)]
    return b"event: %b\n%b\n" % (name, b"".join([b"data:%b\n" % line for line in lines]))
