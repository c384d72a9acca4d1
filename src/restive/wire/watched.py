"""The targets that one socket watches, and what its shell holds for each.

Nearly all sockets watch one, and there are tens of thousands of them: so the first costs no table.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Watched"]


class Watched:
    """Part of a session."""

    __slots__ = ("_first", "_held", "_others")

    def __init__(self) -> None:
        self._first: str | None = None
        self._held: Any = None
        self._others: dict[str, Any] | None = None

    def __len__(self) -> int:
        return (self._first is not None) + len(self._others or ())

    def __contains__(self, target: str) -> bool:
        return target == self._first or (self._others is not None and target in self._others)

    def __bool__(self) -> bool:
        return True

    def targets(self) -> list[str]:
        """All of them."""
        return [*(() if self._first is None else (self._first,)), *(self._others or ())]

    def held(self, target: str) -> Any:
        """What the shell has put there; None where there is nothing."""
        if target == self._first:
            return self._held
        return None if self._others is None else self._others.get(target)

    def hold(self, target: str, watch: Any) -> Any:
        """Keep the shell's ``watch`` of ``target``, where there is one. Returns what was kept before."""
        before = self.held(target)
        if target == self._first or (self._first is None and target not in self):
            self._first, self._held = target, watch
        else:
            self._others = {} if self._others is None else self._others
            self._others[target] = watch
        return before

    def forget(self, target: str) -> None:
        """It is watched no longer."""
        if target == self._first:
            self._first = self._held = None
        elif self._others is not None:
            self._others.pop(target, None)

    def clear(self) -> list[Any]:
        """All of them are watched no longer. Returns what was held."""
        held = [self.held(target) for target in self.targets()]
        self._first = self._held = self._others = None
        return held
