"""Stream offsets: the stream's epoch and a position, as text that sorts like the items.

The epoch is drawn when a stream is created, so an offset of a deleted, wiped or restored stream
is refused and never mistaken for one of its successor. Only adapters read offsets.
"""

from __future__ import annotations

import re
import secrets

from .port import Trimmed

__all__ = ["encode", "new_epoch", "position"]

_DIGITS = 16
_FORM = re.compile(rf"([0-9a-f]{{16}})_([0-9]{{{_DIGITS}}})", re.ASCII)


def new_epoch() -> str:
    """A name for one life of a stream that no other life of any stream has."""
    return secrets.token_hex(8)


def encode(epoch: str, position: int) -> str:
    """The offset behind the first ``position`` items."""
    return f"{epoch}_{position:0{_DIGITS}d}"


def position(offset: str, *, epoch: str, length: int, start: int = 0) -> int:
    """How many items were ever before ``offset``, of which the first ``start`` are kept no more.

    "" is the oldest that is kept. Raises Trimmed for an offset before it, ValueError for another stream's.
    """
    if not offset:
        return start
    match = _FORM.fullmatch(offset)
    if match is None:
        raise ValueError("This is no offset of a stream.")
    if match[1] != epoch:
        raise ValueError("This offset belongs to a stream that was deleted or wiped.")
    if int(match[2]) > length:
        raise ValueError("This offset lies behind the end of the stream.")
    if int(match[2]) < start:
        raise Trimmed("Items behind this offset are kept no more.")
    return int(match[2])
