"""What an engine is: workers and a way to call a function on one of them, or to have them call it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from ..arguments import Signature
from ..calling import Outcome
from ..declaration import Declaration
from ..run import Run
from .threads import Threads

__all__ = ["Caller", "Elsewhere", "Engine", "Errand", "NotSent", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """One call of a declared function with its stored arguments."""

    function: Callable[..., Any]
    signature: Signature
    stored: bytes


class Caller(Protocol):
    """Calls functions. All methods may be called from any thread."""

    def call(self, task: Task, run: Run) -> Outcome:
        """Call the function to its end, on this thread or for it. Nothing is raised.

        Where the worker is lost the outcome is ``calling.lost(…)``.
        """
        ...

    def give_up(self, run: Run) -> bool:
        """The function of ``run`` was to end and did not: end it by force where that harms no other.

        Returns whether it is certain to have ended. Where it is not, its worker counts as lost, and another
        one takes its place.
        """
        ...


class Engine(Caller, Protocol):
    """Runs functions. Constructing starts nothing; all methods may be called from any thread.

    ``threads`` has one attendant for each worker: it takes an operation from the queue, claims it, has it
    called, and stores its end. In the thread engine the attendant calls the function itself.
    """

    threads: Threads

    def close(self) -> None:
        """Release threads and processes once nothing runs; the next call starts anew."""
        ...


class Errand(NamedTuple):
    """What a worker on another machine is asked to do: run this attempt of an operation."""

    app: str
    """The app's name in the backend."""
    path: str
    """Under which the operation is declared."""
    id: str
    attempt: int
    sends: int
    """How often it was sent, this time included."""


class NotSent(Exception):
    """The errand was not taken."""


class Elsewhere(ABC):
    """Has operations run by processes that claim them by themselves, and that this one cannot reach."""

    threads: Threads
    """They send, and wait for nothing else."""

    repeatable: ClassVar[bool] = True
    """Whether sending twice does no harm, since workers claim what they do."""

    @abstractmethod
    def send(self, errand: Errand, declaration: Declaration, stored: bytes) -> None:
        """Have a worker do it, now or later. Blocks. Raises ``NotSent``.

        ``stored`` are its arguments, where the engine is not ``repeatable``: its workers know no backend.
        """

    @abstractmethod
    def withdraw(self, identity: str, attempt: int) -> None:
        """It need not be begun any more. Blocks; what fails is logged."""

    @abstractmethod
    def close(self) -> None:
        """Release what it holds."""
