"""What is read of a stream: where it ends, and slices of its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .content import kind_of
from .offsets import START

__all__ = ["Place", "Slice"]


@dataclass(frozen=True, slots=True)
class Place:
    """A stream and its end."""

    content_type: str
    offset: str = START
    closed: bool = False
    handle: Any = None
    """What its source reads it by."""
    lasting: bool = True
    """Whether nothing of it ever expires."""
    due: float | None = None
    """Seconds until it wants to be used, or looked at, lest it expires unnoticed."""

    @property
    def kind(self) -> Literal["json", "text", "bytes"]:
        """How its items are written where the transport is text."""
        return kind_of(self.content_type)


@dataclass(frozen=True, slots=True)
class Slice:
    """Items of a stream, and the offset behind them."""

    items: tuple[bytes, ...]
    next: str
    closed: bool
    """The stream is closed and ``next`` is its end."""
    up_to_date: bool
    """Nothing was behind ``next`` when it was read."""
