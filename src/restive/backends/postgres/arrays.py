"""Arrays as PostgreSQL's binary format has them, with a type that never depends on what is in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

__all__ = ["Array", "blobs", "numbers", "register", "texts"]

BYTEA, INT8, TEXT = 17, 20, 25
_ARRAY_OF = {BYTEA: 1001, INT8: 1016, TEXT: 1009}
_HEAD = struct.Struct("!IIIII")
_SIZE = struct.Struct("!I")


class Array:
    """An array parameter, encoded."""

    __slots__ = ("data",)
    element = 0

    def __init__(self, data: bytes) -> None:
        self.data = data


class Blobs(Array):
    """bytea[]"""

    element = BYTEA


class Numbers(Array):
    """bigint[]"""

    element = INT8


class Texts(Array):
    """text[]"""

    element = TEXT


def _encode(element: int, values: Sequence[bytes]) -> bytes:
    if not values:
        return struct.pack("!III", 0, 0, element)
    parts = [_HEAD.pack(1, 0, element, len(values), 1)]
    for value in values:
        parts += (_SIZE.pack(len(value)), value)
    return b"".join(parts)


def blobs(values: Sequence[bytes]) -> Blobs:
    """A bytea[]."""
    return Blobs(_encode(BYTEA, values))


def texts(values: Sequence[str]) -> Texts:
    """A text[]; no value holds NUL."""
    return Texts(_encode(TEXT, [value.encode() for value in values]))


def numbers(values: Sequence[int]) -> Numbers:
    """A bigint[]."""
    return Numbers(_encode(INT8, [value.to_bytes(8, "big", signed=True) for value in values]))


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.data


def _dumper(kind: type[Array]) -> type[Dumper]:
    return type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": _ARRAY_OF[kind.element]})


_DUMPERS = {kind: _dumper(kind) for kind in (Blobs, Numbers, Texts)}


def register(connection: psycopg.Connection[Any]) -> None:
    """Let the connection take arrays as parameters."""
    for kind, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(kind, dumper)
