"""Unsafe requests that have begun and not ended: until then nobody knows what they touch (design 2.5).

One for all loops of an app, called from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable

from ..http.invalidation import Change
from ..http.targets import ancestors

__all__ = ["UnderWay"]


class UnderWay:
    """What the unsafe requests under way may have changed already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: Counter[Change] = Counter()

    def __len__(self) -> int:
        return self._changes.total()

    def begin(self, changes: Iterable[Change]) -> None:
        """A request that may change these is under way; ``end`` is the opposite."""
        with self._lock:
            self._changes.update(changes)

    def end(self, changes: Iterable[Change]) -> None:
        """It is over, and what it has changed was announced."""
        with self._lock:
            for change in changes:
                self._changes[change] -= 1
                if self._changes[change] <= 0:
                    del self._changes[change]

    def touches(self, path: str, groups: Collection[str]) -> bool:
        """Whether one of them may change the resource at ``path``, which is in these cache groups."""
        changes = self._changes
        if not changes:
            return False
        if Change(path) in changes or any(Change(group=group) in changes for group in groups):
            return True
        above = ("/", path, path.rstrip("/") or "/", *ancestors(path))
        return any(Change(name, below=True) in changes for name in above)
