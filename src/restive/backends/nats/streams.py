"""Reading a stream: the messages behind an offset, until the page is full or the end is reached."""

from __future__ import annotations

import asyncio

from ..port import Page
from .messages import Items, Message, gone, items_of
from .offset import Offset, parse
from .reading import FOREIGN, Reading
from .store import Store

__all__ = ["read"]

FIRST, MOST = 64, 512
"""Messages of the first request of a page, and of any."""

LAG = 0.005
"""Seconds after which a replica that lags is asked again."""


async def read(store: Store, stream: str, text: str, limit: int) -> Page:
    """A page behind the offset ``text``. Raises KeyError, ``Trimmed`` and ValueError."""
    subject = store.subjects.stream(stream)
    try:
        after = parse(text) if text else None
        sequence = _begin(store, after)
    except ValueError:
        await _tail(store, subject, stream)
        raise
    while True:
        reading = Reading(after, limit)
        more = await _fill(store, subject, sequence, reading, limit)
        if reading.last is not None:
            if more or reading.full or reading.inside:
                return _page(store, reading, after, end=False)
            if not store.replicated:
                return _page(store, reading, after, end=True)
        tail, held = await _tail(store, subject, stream)
        if reading.last is not None:
            end = tail.sequence <= reading.last[1]
            if end or reading.items:
                return _page(store, reading, after, end=end)
        elif after is not None and _at_end(store, after, held, tail):
            return Page((), str(after), closed=held.closed, up_to_date=True)
        await asyncio.sleep(LAG)


async def _tail(store: Store, subject: str, stream: str) -> tuple[Message, Items]:
    """The last message of a stream. Raises KeyError."""
    tail = await store.last(subject)
    if tail is None or gone(tail):
        await store.check()
        raise KeyError(stream)
    return tail, items_of(tail)


def _begin(store: Store, after: Offset | None) -> int:
    """The sequence to read from."""
    if after is None:
        return 1
    sequence = store.lives.sequence(after.number)
    if sequence is None:
        raise ValueError("This offset belongs to items that the server has lost.")
    return sequence if after.inside else sequence + 1


async def _fill(store: Store, subject: str, sequence: int, reading: Reading, limit: int) -> bool:
    """Feed a page; whether messages follow that were not fetched."""
    count, more = min(FIRST, limit), True
    while more and len(reading.items) < limit and not reading.full and reading.bytes_left():
        messages, more = await store.following(subject, sequence, count, reading.bytes_left())
        for message in messages:
            if not gone(message) and not reading.feed(message):
                return True
        if not messages:
            return False
        sequence = messages[-1].sequence + 1
        each = max(1, len(reading.items) // max(1, reading.taken))
        count = max(1, min(MOST, (limit - len(reading.items)) // each + 1))
    return more


def _at_end(store: Store, after: Offset, held: Items, tail: Message) -> bool:
    """Whether the stream ends at ``after``; False where it has grown meanwhile. Raises ValueError."""
    if held.epoch != after.epoch:
        raise ValueError(FOREIGN)
    number = store.lives.number(tail.sequence)
    if after.position > held.end or after.number > number or after.inside:
        raise ValueError("This offset lies behind the end of the stream.")
    if after.number == number and after.position != held.end:
        raise ValueError("This is no offset of this stream.")
    return after.number == number


def _page(store: Store, reading: Reading, after: Offset | None, *, end: bool) -> Page:
    assert reading.last is not None
    held, _ = reading.last
    if reading.behind is None:
        assert after is not None
        number = after.number
    else:
        number = store.lives.number(reading.behind)
    offset = Offset(held.epoch, reading.position, number, reading.inside)
    return Page(tuple(reading.items), str(offset), closed=end and held.closed, up_to_date=end)
