"""Offsets of streams in a Redis: the stream's epoch, the item's position and the mark of its append.

They sort like the items. The mark is drawn for each append: where a failover lost items and others took
their positions, the offsets of the lost ones fit none of the new, and are refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Offset"]

_FORM = re.compile(r"([0-9a-f]{16})_([0-9]{16})_([0-9a-f]{8})", re.ASCII)


class Offset(NamedTuple):
    """The place behind the item at ``position`` (from 1 on; 0: the start)."""

    epoch: str
    position: int
    mark: int

    @classmethod
    def parse(cls, text: str) -> Offset:
        """Read what ``str`` has written. Raises ValueError for anything else."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("This is no offset of a stream.")
        return cls(match[1], int(match[2]), int(match[3], 16))

    def __str__(self) -> str:
        return f"{self.epoch}_{self.position:016d}_{self.mark:08x}"
