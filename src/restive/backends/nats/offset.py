"""Offsets of a NATS backend: a stream's epoch, a position, and the number of the message before it.

The message's number says where to read on, and whether the server still has what came before. An ``m``
at the end means the middle of that message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Offset", "parse"]

_FORM = re.compile(r"([0-9a-f]{16})_([0-9]{16})_([0-9a-f]{1,16})(m?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Offset:
    """Behind ``position`` items, the last of which lies in the message ``number``."""

    epoch: str
    position: int
    number: int
    inside: bool = False

    def __str__(self) -> str:
        return f"{self.epoch}_{self.position:016d}_{self.number:x}{'m' if self.inside else ''}"


def parse(text: str) -> Offset:
    """The offset that ``text`` is. Raises ``ValueError``."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("This is no offset of a stream.")
    return Offset(found[1], int(found[2]), int(found[3], 16), bool(found[4]))
