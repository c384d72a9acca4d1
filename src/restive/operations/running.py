"""What a running function's side may ask of its run, wherever it runs: in this process or in a worker's.

``Run`` is the run itself, in the process that holds the lease; a worker process has a stand-in that
speaks with it. ``calling``, ``handle`` and ``partfile`` know this protocol only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import Canceled, Interrupted
from .files import Files, Part

if TYPE_CHECKING:
    from .handle import Operation

__all__ = ["Running", "current", "mapped"]

current: ContextVar[Operation | None] = ContextVar("restive-operation", default=None)
"""The operation whose function runs here."""

mapped: ContextVar[bool] = ContextVar("restive-mapped", default=False)
"""Whether this is an item of an ``op.map``, which counts its items itself."""


class Running(Protocol):
    """One run of one operation. Every method may be called from any thread of the function."""

    @property
    def id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def number(self) -> int:
        """The lease's, which grows with each run."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that it may run."""
        ...

    @property
    def room(self) -> int | None:
        """Bytes that its parts may still fill, where its owner has a quota."""
        ...

    @property
    def files(self) -> Files: ...
    @property
    def open_files(self) -> dict[str, Any]:
        """The parts that are being written, by name."""
        ...

    @property
    def stopped(self) -> type[Canceled | Interrupted] | None:
        """Why the function should end, if it should."""
        ...

    def part_location(self, name: str) -> str:
        """The path of one of its parts, as clients know it."""
        ...

    def report(
        self,
        completed: float | None = None,
        total: float | None = None,
        unit: str | None = None,
        message: str | None = None,
    ) -> None:
        """Merge a report into the progress."""
        ...

    def advance(self, by: float, total: float = 0, unit: str | None = None) -> None:
        """Count ``by`` more as completed, and know of ``total`` more."""
        ...

    def check(self) -> None:
        """Raise ``Canceled`` or ``Interrupted`` where the function should end."""
        ...

    def fence(self) -> None:
        """As ``check``, by the stored record: nothing of an old lease comes in."""
        ...

    def publish(self, part: Part) -> None:
        """Add a finished part to the operation's stream."""
        ...

    def on_stop(self, callback: Callable[[], None] | None) -> None:
        """Call this, from any thread, when the function should end; at once where it should already."""
        ...
