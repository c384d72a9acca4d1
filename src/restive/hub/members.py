"""The members of a variant, by request: most variants of private resources have one, and thousands of those
are held, so that one costs no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ..http.key import RequestKey
from .watch import Watch

__all__ = ["Members"]


class Members:
    """Watches, those of equal requests together; both in the order in which they last came."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: Watch | dict[RequestKey, dict[Watch, None]] | None = None

    def __len__(self) -> int:
        """How many requests."""
        held = self._held
        return len(held) if isinstance(held, dict) else held is not None

    def __contains__(self, key: RequestKey) -> bool:
        held = self._held
        if isinstance(held, dict):
            return key in held
        return held is not None and (held.key is key or held.key == key)

    def __iter__(self) -> Iterator[Watch]:
        """Each watch."""
        held = self._held
        if isinstance(held, dict):
            return chain.from_iterable(held.values())
        return iter(() if held is None else (held,))

    def count(self) -> int:
        """How many watches; may be asked on any thread."""
        held = self._held
        if isinstance(held, dict):
            return sum(map(len, list(held.values())))
        return held is not None

    def requests(self) -> list[RequestKey]:
        """Each request."""
        held = self._held
        if isinstance(held, dict):
            return list(held)
        return [] if held is None else [held.key]

    def latest(self) -> Watch:
        """The last watch that came."""
        held = self._held
        assert held is not None
        return next(reversed(held[next(reversed(held))])) if isinstance(held, dict) else held

    def latest_of(self, key: RequestKey) -> Watch:
        """The last that came with this request."""
        held = self._held
        assert held is not None
        return next(reversed(held[key])) if isinstance(held, dict) else held

    def add(self, watch: Watch) -> None:
        """One more, the latest from now on."""
        held = self._held
        if held is None or held is watch:
            self._held = watch
            return
        if not isinstance(held, dict):
            held = self._held = {held.key: {held: None}}
        watches = held.pop(watch.key, None) or {}
        watches[watch] = None
        held[watch.key] = watches

    def discard(self, watch: Watch) -> None:
        """One less, if it is there."""
        held = self._held
        if held is watch:
            self._held = None
        elif isinstance(held, dict) and watch.key in held:
            held[watch.key].pop(watch, None)
            if not held[watch.key]:
                del held[watch.key]

    def pop(self, key: RequestKey) -> list[Watch]:
        """Take out those of this request."""
        held = self._held
        if isinstance(held, dict):
            return list(held.pop(key, ()))
        if key not in self:
            return []
        self._held = None
        return [] if held is None else [held]

    def clear(self) -> None:
        """Take out all."""
        self._held = None
