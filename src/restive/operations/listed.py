"""What operations have published, by name: a process keeps what it has read of their streams of parts.

An operation's stream only grows and its items never change, so only what is new is read.
"""

from __future__ import annotations

import threading
import unicodedata
from collections import OrderedDict

import msgspec

from .parts import Part
from .store import Store

__all__ = ["Listed"]

MOST = 50_000
"""Parts that are remembered, of all operations together."""

PAGE = 1000
PART = msgspec.json.Decoder(Part)


class _Known:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.offset = ""
        self.parts: dict[str, Part] = {}


class Listed:
    """The published parts of operations. Its methods block; any thread may call them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def find(self, identity: str, name: str) -> Part | None:
        """The part of that name, None where none is published."""
        name = unicodedata.normalize("NFC", name)
        with self._lock:
            known = self._known.setdefault(identity, _Known())
            self._known.move_to_end(identity)
        with known.lock:
            if name not in known.parts:
                self._read(identity, known)
            found = known.parts.get(name)
        self._trim()
        return found

    def all(self, identity: str) -> list[Part]:
        """Every part that is published now."""
        known = _Known()
        self._read(identity, known)
        return list(known.parts.values())

    def _read(self, identity: str, known: _Known) -> None:
        while True:
            try:
                page = self._store.parts(identity, known.offset, PAGE)
            except ValueError:  # a store that was wiped
                known.offset = ""
                known.parts.clear()
                continue
            for part in map(PART.decode, page.items):
                known.parts.setdefault(part.name, part)
            known.offset = page.next
            if page.up_to_date or not page.items:
                return

    def _trim(self) -> None:
        with self._lock:
            while len(self._known) > 1 and sum(len(each.parts) for each in self._known.values()) > MOST:
                self._known.popitem(last=False)
            while len(self._known) > MOST // 100:
                self._known.popitem(last=False)
