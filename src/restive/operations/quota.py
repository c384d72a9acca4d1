"""How many bytes one owner may fill with uploads, parts and results."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Problem

__all__ = ["Quota"]

RETRY_AFTER = "60"


class Quota:
    """``owned`` says what an owner's stored operations fill, ``most`` what they may; 0: no limit.

    Submissions that are being stored in this process count as well, so that many at once do not pass
    where one by one they would not.
    """

    def __init__(self, owned: Callable[[str], int], most: int) -> None:
        self._owned, self._most = owned, most
        self._lock = threading.Lock()
        self._coming: Counter[str] = Counter()

    @contextmanager
    def held(self, owner: str | None, size: int) -> Iterator[None]:
        """Room for ``size`` bytes while they are being stored. Blocks; raises ``Problem`` (429)."""
        if owner is None or not self._most:
            yield
            return
        with self._lock:
            used = self._owned(owner) + self._coming[owner]
            if used + size > self._most:
                raise self._full(used, size)
            self._coming[owner] += size
        try:
            yield
        finally:
            with self._lock:
                self._coming[owner] -= size
                if not self._coming[owner]:
                    del self._coming[owner]

    def _full(self, used: int, size: int) -> Problem:
        detail = (
            f"Uploads, parts and results of this owner fill {used} of {self._most} bytes, and this takes "
            f"{size} more: delete operations that are no longer needed."
        )
        return Problem(429, "The owner's storage is full", detail, headers={"Retry-After": RETRY_AFTER})
