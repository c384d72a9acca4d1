"""What the messages in JetStream say: one header of ours, values in pieces, items in packs. No I/O.

- ``record 1 1``: a value; what is too large for one message is in several, that follow each other.
- ``gone``: a record or a stream was here; the server removes this message by itself.
- ``items <epoch> <position> <count> <open|closed> 1 1``: items of a stream from that position on. One is
  its bytes; several have their length in four bytes before each.
- ``announcement 1 1``, ``lives``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from restive.errors import BackendUnavailable

__all__ = [
    "EXPECTED",
    "HEADER",
    "Foreign",
    "Items",
    "Message",
    "Outgoing",
    "Part",
    "gone",
    "items_of",
    "pack",
    "parts_of",
    "split",
    "unpack",
]

HEADER = "Restive"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
ROLLUP = {"Nats-Rollup": "sub"}
GONE_FOR = 60
"""Seconds that the trace of what was deleted is kept: longer than any call lasts."""

TOGETHER = 512
"""Items in one message, at most: a stream is shortened by whole messages."""

_LENGTH = struct.Struct(">I")
_RECORD = re.compile(r"record (\d+) (\d+)")
_ANNOUNCEMENT = re.compile(r"announcement (\d+) (\d+)")
_ITEMS = re.compile(r"items ([0-9a-f]{16}) (\d+) (\d+) (open|closed) (\d+) (\d+)")


class Foreign(BackendUnavailable):
    """There is a message that Restive did not write."""

    def __init__(self, message: Message) -> None:
        super().__init__(
            f"NATS: the message {message.sequence} on the subject {message.subject} was not written by "
            "Restive, or is damaged. Remove it (nats stream rmm), and let nobody else publish there."
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it lies in a JetStream stream."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def said(self) -> str:
        """Our header."""
        return self.headers.get(HEADER, "")


@dataclass(slots=True)
class Outgoing:
    """A message to be published."""

    subject: str
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """Which piece of how many a message is, the first being 1."""

    piece: int
    of: int

    @property
    def last(self) -> bool:
        """Whether the value is whole with it."""
        return self.piece == self.of


@dataclass(frozen=True, slots=True)
class Items:
    """What a message of a stream holds: ``count`` items from ``position`` on."""

    epoch: str
    position: int
    count: int
    closed: bool
    part: Part

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.position + self.count


def gone(message: Message) -> bool:
    """Whether it says that nothing is here any more."""
    return message.said == "gone"


def parts_of(message: Message, kind: str) -> Part:
    """Which piece of a record or of an announcement it is. Raises ``Foreign``."""
    form = _RECORD if kind == "record" else _ANNOUNCEMENT
    found = form.fullmatch(message.said)
    if found is None:
        raise Foreign(message)
    return _part(found[1], found[2], message)


def items_of(message: Message) -> Items:
    """What a message of a stream holds. Raises ``Foreign``."""
    found = _ITEMS.fullmatch(message.said)
    if found is None:
        raise Foreign(message)
    part = _part(found[5], found[6], message)
    return Items(found[1], int(found[2]), int(found[3]), found[4] == "closed", part)


def _part(piece: str, of: str, message: Message) -> Part:
    part = Part(int(piece), int(of))
    if not 1 <= part.piece <= part.of:
        raise Foreign(message)
    return part


def split(subject: str, value: bytes, kind: str, room: int) -> list[Outgoing]:
    """The messages that hold a value, ``room`` bytes in each at most."""
    pieces = [value[start : start + room] for start in range(0, len(value), room)] or [b""]
    return [
        Outgoing(subject, piece, {HEADER: f"{kind} {number} {len(pieces)}"})
        for number, piece in enumerate(pieces, 1)
    ]


def pack(
    subject: str, items: Sequence[bytes], epoch: str, position: int, closed: bool, room: int
) -> list[Outgoing]:
    """The messages that hold ``items`` of a stream from ``position`` on; one at least."""
    packs = list(_packs(items, room))
    messages: list[Outgoing] = []
    for number, held in enumerate(packs, 1):
        ends = "closed" if closed and number == len(packs) else "open"
        data = held[0] if len(held) == 1 else b"".join(_framed(held))
        messages += split(subject, data, f"items {epoch} {position} {len(held)} {ends}", room)
        position += len(held)
    return messages


def _packs(items: Sequence[bytes], room: int) -> Iterator[list[bytes]]:
    held: list[bytes] = []
    size = 0
    for item in items:
        size += len(item) + _LENGTH.size
        if held and (size > room or len(held) == TOGETHER):
            yield held
            held, size = [], len(item) + _LENGTH.size
        held.append(item)
    yield held


def _framed(items: Sequence[bytes]) -> Iterator[bytes]:
    for item in items:
        yield _LENGTH.pack(len(item))
        yield item


def unpack(message: Message, data: bytes, count: int) -> list[bytes]:
    """The items in ``data``, which is that of ``message`` and of the pieces before it. Raises ``Foreign``."""
    if count == 1:
        return [data]
    items: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        items.append(data[at - size : at])
    if at != len(data) or len(items) != count:
        raise Foreign(message)
    return items
