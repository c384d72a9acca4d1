"""A page of a stream, made of the messages that the server sends, one after the other. No I/O.

Every message says at which position its items begin, so that nothing is skipped in silence: a page ends
before a hole, and the next one, which begins there, is refused.
"""

from __future__ import annotations

from ..limits import PAGE_BYTES
from ..port import Trimmed
from .messages import Items, Message, items_of, unpack
from .offset import Offset

__all__ = ["Reading"]

FOREIGN = "This offset belongs to a stream that was deleted or wiped."


class Reading:
    """At most ``limit`` items behind ``after``; None is the start."""

    def __init__(self, after: Offset | None, limit: int) -> None:
        self._after = after
        self._limit = limit
        self._room = PAGE_BYTES
        self._pieces: list[bytes] = []
        self.items: list[bytes] = []
        self.last: tuple[Items, int] | None = None
        """The last message that was taken, and its sequence."""
        self.behind: int | None = None
        """The sequence of the last one with items, else of the first: a close moves no offset."""
        self.position = after.position if after else 0
        self.inside = False
        """The page ends in the middle of that message."""
        self.full = False
        self.taken = 0
        """Messages of which items were taken."""

    def feed(self, message: Message) -> bool:
        """Take the next message; whether the page can take more. Raises ``Trimmed``, ``ValueError``."""
        held = items_of(message)
        if not self._follows(held):
            self.full = True
            return False
        self._pieces = [*self._pieces, message.data] if held.part.piece > 1 else [message.data]
        if not held.part.last:
            return True
        items = unpack(message, b"".join(self._pieces), held.count)
        self._pieces = []
        return self._take(items[self.position - held.position :], held, message.sequence)

    def _follows(self, held: Items) -> bool:
        """Whether the message goes on where the page is; the first one may say that the offset is wrong."""
        if held.part.piece > 1:
            return bool(self._pieces) or self._refuse(held)
        if self.last is None and self._after is None:
            self.position = held.position
            return True
        if self.last is None and self._after is not None:
            return self._begins(held, self._after)
        assert self.last is not None
        return held.epoch == self.last[0].epoch and held.position == self.position

    def _begins(self, held: Items, after: Offset) -> bool:
        if held.epoch != after.epoch:
            raise ValueError(FOREIGN)
        if held.position > after.position:
            return self._refuse(held)
        if held.position < after.position and not (after.inside and after.position < held.end):
            raise ValueError("This is no offset of this stream.")
        return True

    def _refuse(self, held: Items) -> bool:
        if self.items:
            return False
        raise Trimmed(f"The items before {held.position} of this stream were dropped.")

    def _take(self, items: list[bytes], held: Items, sequence: int) -> bool:
        taken = 0
        for item in items:
            self._room -= len(item)
            if self.items and (self._room < 0 or len(self.items) >= self._limit):
                self.full = True
                break
            self.items.append(item)
            taken += 1
        if taken or not items:
            self.position += taken
            self.last = held, sequence
            if taken or (self.behind is None and self._after is None):
                self.behind = sequence
            self.taken += 1
            self.inside = taken < len(items)
        return not self.full

    def bytes_left(self) -> int:
        """Room for further items."""
        return max(0, self._room)
