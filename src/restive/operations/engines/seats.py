"""What a pool of worker processes is to the engine: it has a seat for each call."""

from __future__ import annotations

from typing import Protocol

from .attending import Call
from .jobs import Job
from .messages import Address

__all__ = ["Pool", "Seat"]


class Seat(Protocol):
    """Where one job at a time is done."""

    def perform(self, job: Job, call: Call) -> bytes:
        """What becomes of the job. Raises ``BrokenExecutor`` where its process is lost."""
        ...

    def prepare(self, call: Call) -> None:
        """Return once its process can do a job at once. Raises ``BrokenExecutor``."""
        ...

    def kill(self, call: Call) -> None:
        """End the process that is at ``call`` at once; nothing where that would harm others."""
        ...


class Pool(Protocol):
    """Gives each call a seat."""

    own: bool
    """Whether each seat has a process to itself, which may be killed without harm to others."""

    def address(self) -> Address | None:
        """Where its workers are to connect, if they are not started with a line."""
        ...

    def take(self) -> Seat: ...
    def give(self, seat: Seat) -> None: ...
    def close(self) -> None: ...
