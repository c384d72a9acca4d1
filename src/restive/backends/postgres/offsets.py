"""Stream offsets of PostgreSQL: epoch, position, and the mark of the item before it.

A server that has lost acknowledged items (a failover, a restored snapshot) fills their positions with
others. Those have other marks, so an offset behind a lost item is refused and nothing is skipped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..port import Trimmed

__all__ = ["ANYWHERE", "Head", "check", "encode", "expected", "head", "position"]

ANYWHERE = "*"
"""The end that ``append_1`` expects where none is."""

_NOWHERE = "?"
_FORM = re.compile(r"([0-9a-f]{16})_([0-9]{16})([0-9a-f]{8})", re.ASCII)


class Head(NamedTuple):
    """A stream as a page was read from ``start``: the row of the table, and the mark before ``start``."""

    epoch: str
    first: int
    first_mark: int
    length: int
    mark: int
    closed: bool
    start_mark: int | None


def head(text: str) -> Head:
    """The stream as ``read_1`` writes it."""
    epoch, first, first_mark, length, mark, closed, *start_mark = text.split(" ")
    before = int(start_mark[0]) if start_mark else None
    return Head(epoch, int(first), int(first_mark), int(length), int(mark), closed == "1", before)


def encode(epoch: str, position: int, mark: int) -> str:
    """The offset behind the item with ``mark``, the ``position``-th; as ``offset_1`` on the server."""
    return f"{epoch}_{position:016d}{mark & 0xFFFFFFFF:08x}"


def expected(after: str | None) -> str:
    """What ``append_1`` compares the end with; text that is no offset fits no end."""
    if after is None:
        return ANYWHERE
    return after if not after or _FORM.fullmatch(after) else _NOWHERE


def position(offset: str) -> int:
    """Where to read from; 0 for what ``check`` will refuse."""
    match = _FORM.fullmatch(offset)
    return int(match[2]) if match else 0


def check(offset: str, stream: Head) -> int:
    """How many items lie before ``offset``, in the stream as it is now; after "" come the oldest kept.

    Raises Trimmed, and ValueError for an offset that is not this stream's.
    """
    if not offset:
        return stream.first
    match = _FORM.fullmatch(offset)
    if match is None:
        raise ValueError("This is no offset of a stream.")
    if match[1] != stream.epoch:
        raise ValueError("This offset belongs to a stream that was deleted or wiped.")
    start = int(match[2])
    if start > stream.length:
        raise ValueError("This offset lies behind the end of the stream.")
    if start < stream.first:
        raise Trimmed("Items behind this offset were dropped.")
    marks = {stream.first: stream.first_mark, stream.length: stream.mark}
    if encode(stream.epoch, start, marks.get(start, stream.start_mark or 0)) != offset:
        raise ValueError("This offset belongs to items that the server has lost.")
    return start
