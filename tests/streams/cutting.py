"""A backend without transactions: batches are done step by step, and may be cut off after any of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from restive.backends.port import Append, Backend, Step
from restive.errors import BackendUnavailable


class CutBackend:
    """What is not said here is ``inner``'s."""

    blocking = False
    shared = False

    def __init__(self, inner: Backend, chance: random.Random, cut: float) -> None:
        self._inner = inner
        self._chance, self.cut = chance, cut
        self.reads: list[str] = []
        self.appends: list[Append] = []
        self.between: Callable[[], object] = lambda: None
        """Called between two steps: what other processes do meanwhile."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Any:
        self.reads.append(stream)
        return self._inner.read(stream, after, limit)

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        results: list[int | str | None] = []
        for step in steps:
            self._perhaps_cut()
            results += self._inner.apply([step])
            if isinstance(step, Append):
                self.appends.append(step)
            self.between()
        self._perhaps_cut()
        return results

    def _perhaps_cut(self) -> None:
        if self._chance.random() < self.cut:
            raise BackendUnavailable("cut off")
