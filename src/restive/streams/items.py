"""What is stored of one item: its bytes behind an envelope, in which a fold finds what it needs.

The first byte says what follows it. Nothing to say: that byte is all. Integers are LEB128, texts a length
and UTF-8. A byte that this version does not know is refused, never guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_PAYLOAD", "Item", "Producer", "pack", "unpack"]

MAX_PAYLOAD = 1_048_576 - 1024
"""Bytes of one item: what a backend stores as one, less the largest envelope."""

FIRST, CONTROL, PRODUCER, SEQUENCE, CLOSES = 1, 2, 4, 8, 16
_KNOWN = FIRST | CONTROL | PRODUCER | SEQUENCE | CLOSES
_PLAIN = b"\0"


@dataclass(frozen=True, slots=True)
class Producer:
    """Which batch of which producer: the fields of protocol section 5.2.1."""

    id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Item:
    """One stored item. ``payload`` is None where it has no data and only says what a writer did."""

    payload: bytes | None
    first: bool = False
    """The first that the stream ever had: where it is not there, items were dropped."""
    producer: Producer | None = None
    sequence: str | None = None
    closes: bool = False


def pack(
    payload: bytes | None,
    *,
    first: bool = False,
    producer: Producer | None = None,
    sequence: str | None = None,
    closes: bool = False,
) -> bytes:
    """The stored form of an item; ``unpack`` is its opposite."""
    flags = first * FIRST | (payload is None) * CONTROL | closes * CLOSES
    said = b""
    if producer is not None:
        flags |= PRODUCER
        said += _text(producer.id) + _number(producer.epoch) + _number(producer.seq)
    if sequence is not None:
        flags |= SEQUENCE
        said += _text(sequence)
    return bytes((flags,)) + said + (payload or b"")


def unpack(stored: bytes) -> Item:
    """What is stored. Raises ``ValueError`` for what this version has not written."""
    if stored[:1] == _PLAIN:
        return Item(stored[1:])
    if not stored or stored[0] & ~_KNOWN:
        raise ValueError("An item of this stream was not written by this version of Restive.")
    flags, at = stored[0], 1
    producer, sequence = None, None
    try:
        if flags & PRODUCER:
            name, at = _read_text(stored, at)
            epoch, at = _read_number(stored, at)
            seq, at = _read_number(stored, at)
            producer = Producer(name, epoch, seq)
        if flags & SEQUENCE:
            sequence, at = _read_text(stored, at)
    except IndexError:
        raise ValueError("An item of this stream is cut off.") from None
    payload = None if flags & CONTROL else stored[at:]
    return Item(payload, bool(flags & FIRST), producer, sequence, bool(flags & CLOSES))


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_number(stored: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = stored[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _number(len(encoded)) + encoded


def _read_text(stored: bytes, at: int) -> tuple[str, int]:
    length, at = _read_number(stored, at)
    if at + length > len(stored):
        raise IndexError
    return stored[at : at + length].decode(), at + length
