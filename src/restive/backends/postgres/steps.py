"""Batches of steps as the arguments of ``apply_1``, and what it returned as what the port returns.

Each name belongs to a bucket, which the server locks: all processes must agree on them.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from restive.errors import Conflict

from .. import port
from . import arrays, offsets

__all__ = ["LATER", "Result", "conflict", "encode", "results", "size"]

Result = int | str | None

BUCKETS = 1024
SAVE, DELETE, APPEND, DROP, ANNOUNCE = range(1, 6)
LATER = "later"
"""What a Drop returns that leaves items to ``sweep_1``."""

_ANY = -1
_NONE = -2  # fits no version


@dataclass(slots=True)
class _Columns:
    kinds: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)

    def add(
        self,
        kind: int,
        name: str,
        blobs: Sequence[bytes] = (),
        number: int = 0,
        text: str = "",
        flag: int = 0,
    ) -> None:
        self.kinds.append(kind)
        self.names.append(name.encode())
        self.numbers.append(number)
        self.texts.append(text)
        self.flags.append(flag)
        self.starts.append(len(self.blobs) + 1)
        self.blobs += blobs

    def step(self, step: port.Step) -> None:
        match step:
            case port.Save(name, value, version):
                self.add(SAVE, name, (value,), _version(version))
            case port.Delete(name, version):
                self.add(DELETE, name, (), _version(version))
            case port.Append(stream, items, close, after, keep):
                self.add(APPEND, stream, items, min(keep, 2**62), offsets.expected(after), int(close))
            case port.Drop(stream):
                self.add(DROP, stream)
            case port.Announce(payload):
                self.add(ANNOUNCE, "", (payload,))


def _version(version: int | None) -> int:
    if version is None:
        return _ANY
    return version if 0 <= version < 2**63 else _NONE


def encode(batches: Sequence[Sequence[port.Step]], salt: bytes) -> tuple[Any, ...]:
    """The arguments from ``buckets`` on; ``salt`` is of the app and the schema."""
    columns = _Columns()
    for steps in batches:
        for step in steps:
            columns.step(step)
    named = (name for kind, name in zip(columns.kinds, columns.names, strict=True) if kind != ANNOUNCE)
    buckets = sorted({zlib.crc32(name, zlib.crc32(salt)) % BUCKETS for name in named})
    columns.starts.append(len(columns.blobs) + 1)
    return (
        arrays.numbers(buckets),
        secrets.randbits(32) - 2**31,
        arrays.numbers([len(steps) for steps in batches]),
        arrays.numbers(columns.kinds),
        arrays.blobs(columns.names),
        arrays.numbers(columns.numbers),
        arrays.texts(columns.texts),
        arrays.numbers(columns.flags),
        arrays.numbers(columns.starts),
        arrays.blobs(columns.blobs),
    )


def size(steps: Sequence[port.Step]) -> int:
    """About how many bytes the steps take on their way."""
    total = 0
    for step in steps:
        total += 200
        match step:
            case port.Save(value=value) | port.Announce(payload=value):
                total += len(value)
            case port.Append(items=items):
                total += sum(map(len, items)) + 8 * len(items)
    return total


def results(steps: Sequence[port.Step], texts: Sequence[str | None]) -> list[Result]:
    """What each step returned, of the text that the server gave."""
    return [_result(step, text) for step, text in zip(steps, texts, strict=True)]


def _result(step: port.Step, text: str | None) -> Result:
    if text is None:
        return None
    return int(text) if isinstance(step, port.Save) else text


def conflict(step: port.Step) -> Conflict:
    """What the step raises that found another state than it asks for."""
    match step:
        case port.Append(stream, after=None):
            return Conflict(f"The stream {stream!r} is closed.")
        case port.Append(stream):
            return Conflict(
                f"The stream {stream!r} is closed, or does not end where the append expects it to."
            )
        case port.Save(name, version=version) | port.Delete(name, version=version):
            return Conflict(f"The record {name!r} is no longer at version {version}.")
    raise AssertionError(step)
