"""What every adapter refuses before it asks its engine, so that all refuse the same.

Raises ``ValueError`` only. Names are measured in UTF-8 bytes, values in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from .port import Announce, Append, Delete, Drop, Save, Step

__all__ = [
    "MAX_NAME",
    "MAX_VALUE",
    "PAGE_BYTES",
    "check_limit",
    "check_name",
    "check_prefix",
    "check_steps",
    "check_value",
    "kept_from",
    "successor",
    "take",
]

MAX_NAME = 512
"""UTF-8 bytes of the name of a stream or a record."""

MAX_VALUE = 1_048_576
"""Bytes of a record's value, of one item and of one announcement."""

PAGE_BYTES = 4 * MAX_VALUE
"""Bytes after which a page takes no further item."""


def check_name(name: str) -> None:
    """Refuse a name that is empty, too long or no Unicode text."""
    if not name:
        raise ValueError("A name must not be empty.")
    check_prefix(name)


def check_prefix(prefix: str) -> None:
    """Refuse what no name can start with."""
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"A name must be Unicode text without lone surrogates, not {prefix!r}.") from error
    if size > MAX_NAME:
        raise ValueError(f"A name has at most {MAX_NAME} UTF-8 bytes; {prefix[:40]!r}… has {size}.")


def check_value(*values: bytes) -> None:
    """Refuse values of more than 1 MiB each."""
    for value in values:
        if len(value) > MAX_VALUE:
            raise ValueError(f"A backend stores at most {MAX_VALUE} bytes as one value, not {len(value)}.")


def check_steps(steps: Sequence[Step]) -> None:
    """Refuse a batch of which any step would be refused by itself."""
    for step in steps:
        match step:
            case Append():
                check_name(step.stream)
                check_value(*step.items)
                _check_keep(step.keep)
            case Drop():
                check_name(step.stream)
            case Save():
                check_name(step.name)
                check_value(step.value)
            case Delete():
                check_name(step.name)
            case Announce():
                check_value(step.payload)


def _check_keep(keep: int) -> None:
    if keep < 0:
        raise ValueError(f"keep= is a number of items, or 0 for all of them, not {keep}.")


def check_limit(limit: int) -> None:
    """Refuse a limit that lets nothing through: a reader would wait on it for ever."""
    if limit < 1:
        raise ValueError(f"limit= is at least 1, not {limit}.")


def take(items: Sequence[bytes], room: int = PAGE_BYTES) -> int:
    """How many of ``items`` one page takes: the first always, then those that fit into ``room`` bytes."""
    for count, item in enumerate(items):
        room -= len(item)
        if room < 0 and count:
            return count
    return len(items)


SPARE = 256
"""Items beyond those to keep that a stream may hold, at most, before the oldest are dropped together."""


def kept_from(start: int, end: int, keep: int) -> int:
    """From which position on a stream is kept that now goes from ``start`` to ``end``.

    Dropping item by item costs more than the append; so a few more stay until they go together.
    """
    if not keep or end - start <= keep + min(keep // 8, SPARE):
        return start
    return end - keep


def successor(prefix: str) -> str | None:
    """The least text above all that starts with ``prefix``; None where there is no such bound."""
    bare = prefix.rstrip("\U0010ffff")
    if not bare:
        return None
    last = ord(bare[-1]) + 1
    return bare[:-1] + ("\ue000" if last == 0xD800 else chr(last))
