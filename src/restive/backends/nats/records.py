"""Reading records: one by its name, or those below a prefix."""

from __future__ import annotations

import asyncio

from ..port import Record
from .messages import Message, gone, parts_of
from .names import below
from .store import Store

__all__ = ["load", "scan"]

AT_ONCE = 256
"""Records that are asked for before the answers are awaited."""

TRIES = 5


async def load(store: Store, name: str) -> Record | None:
    """The record of that name. Raises ``Absent`` where the store is no longer the one that was opened."""
    found = await _load(store, name)
    if found is None:
        await store.check()
    return found


async def _load(store: Store, name: str) -> Record | None:
    for _ in range(TRIES):
        message = await store.last(store.subjects.record(name))
        if message is None or gone(message):
            return None
        value = await _whole(store, message)
        if value is not None:
            return Record(name, value, store.lives.number(message.sequence))
    return None


async def _whole(store: Store, message: Message) -> bytes | None:
    """The value of which ``message`` is the last piece; None where it was saved anew meanwhile."""
    part = parts_of(message, "record")
    first = message.sequence - part.of + 1
    before = await asyncio.gather(*map(store.at, range(first, message.sequence)))
    pieces: list[bytes] = []
    for piece, found in enumerate([*before, message], 1):
        if found is None or found.subject != message.subject or parts_of(found, "record").piece != piece:
            return None
        pieces.append(found.data)
    return b"".join(pieces)


async def scan(store: Store, prefix: str, before: str | None, limit: int) -> list[Record]:
    """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
    names = [name for name in await store.names(below(prefix)) if name.startswith(prefix)]
    if before is not None:
        names = [name for name in names if name < before]
    names.sort(reverse=True)
    found: list[Record] = []
    for start in range(0, len(names), AT_ONCE):
        page = await asyncio.gather(*(_load(store, name) for name in names[start : start + AT_ONCE]))
        found += [record for record in page if record is not None]
        if len(found) >= limit:
            break
    if not names:
        await store.check()
    return found[:limit]
