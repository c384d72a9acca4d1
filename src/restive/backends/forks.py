"""What must not cross a fork: locks in mid-use, connections, threads and their listeners.

Before a fork every registered object is held (its locks taken, its files closed). The parent goes
on where it was; the child forgets what only the parent has and opens anew. A database connection
may not even be closed in a child: SQLite's locks belong to the process that took them.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forkable", "register"]


class Forkable(Protocol):
    """An object with state that a fork would tear."""

    def hold(self) -> None:
        """Come to rest: take the locks, close what must not be inherited."""
        ...

    def resume(self) -> None:
        """Go on, in the parent and in the child."""
        ...

    def forget(self) -> None:
        """In the child, after ``resume``: drop the parent's listeners and threads."""
        ...


_forking = threading.Lock()
_registered: WeakSet[Forkable] = WeakSet()
_held: list[Forkable] = []


def register(forkable: Forkable) -> None:
    """Have ``forkable`` held at every fork from now on, as long as it lives."""
    with _forking:
        _registered.add(forkable)


def _before() -> None:
    _forking.acquire()
    _held.extend(_registered)
    for forkable in _held:
        forkable.hold()


def _in_parent() -> None:
    while _held:
        _held.pop().resume()
    _forking.release()


def _in_child() -> None:
    while _held:
        forkable = _held.pop()
        forkable.resume()
        forkable.forget()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
