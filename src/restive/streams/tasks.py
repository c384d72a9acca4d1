"""What is asked of one stream's line, each with the future of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from .lives import Found, Life
from .producers import Outcome, Write

__all__ = ["Creation", "Deletion", "Look", "Sight", "Task", "Writing"]


@dataclass(frozen=True, slots=True)
class Sight:
    """A stream as it is: its life and its end."""

    found: Found
    offset: str
    closed: bool
    created: bool = False
    """By the request that this answers."""

    @property
    def life(self) -> Life:
        """What it was created as."""
        return self.found.life


def _promise() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # who waits may go; what is asked is done all the same
    return future


@dataclass(eq=False, slots=True)
class Look:
    """Asks for a ``Sight``; None where there is no stream."""

    future: Future[Sight | None] = field(default_factory=_promise)


@dataclass(eq=False, slots=True)
class Writing:
    """Asks for a write; answered by its ``Outcome``. ``life`` is begun where there is no stream."""

    write: Write
    life: Life | None = None
    future: Future[Outcome] = field(default_factory=_promise)


@dataclass(eq=False, slots=True)
class Creation:
    """Asks for a stream with its first items; answered by the ``Sight`` of it, or of the one there was."""

    life: Life
    items: Sequence[bytes] = ()
    close: bool = False
    future: Future[Sight] = field(default_factory=_promise)


@dataclass(eq=False, slots=True)
class Deletion:
    """Asks for the end of a stream; answered by whether there was one."""

    future: Future[bool] = field(default_factory=_promise)


Task = Look | Writing | Creation | Deletion
