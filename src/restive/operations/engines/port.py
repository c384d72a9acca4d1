"""What an engine is: a number of workers, and a way to call a function on one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..arguments import Signature
from ..calling import Outcome
from ..run import Run
from .threads import Threads

__all__ = ["Engine", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """One call of a declared function with its stored arguments."""

    function: Callable[..., Any]
    signature: Signature
    stored: bytes


class Engine(Protocol):
    """Runs functions. Constructing starts nothing; all methods may be called from any thread.

    ``threads`` has one attendant for each worker: it takes an operation from the queue, claims it, has it
    called, and stores its end. In the thread engine the attendant calls the function itself.
    """

    threads: Threads

    def call(self, task: Task, run: Run) -> Outcome:
        """Call the function to its end, on the attendant's thread or for it. Nothing is raised.

        Where the worker is lost the outcome is ``calling.lost(…)``.
        """
        ...

    def give_up(self, run: Run) -> bool:
        """The function of ``run`` was to end and did not: end it by force where that harms no other.

        Returns whether it is certain to have ended. Where it is not, its worker counts as lost, and another
        one takes its place.
        """
        ...

    def close(self) -> None:
        """Release threads and processes once nothing runs; the next call starts anew."""
        ...
