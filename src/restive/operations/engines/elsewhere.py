"""The engine of an ``Executor`` whose workers are, or may be, on other machines: Dask's, for one.

A call carries the function and how to open the backend; the worker does the rest by itself. So it makes no
difference what becomes of the call's future.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from ..calling import Outcome
from ..declaration import Declaration, declare
from ..run import Run
from ..station import Station
from .jobs import dump_function, load_function
from .port import Elsewhere, Errand, NotSent, Task
from .spreading import crew_of
from .threads import Threads
from .worker import unloadable

__all__ = ["Call", "ExecutorElsewhere", "work"]

logger = logging.getLogger("restive.operations")

SENDERS = 2
"""Threads of a server that send."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a worker is given."""

    errand: Errand
    twin: Callable[[], Any]
    """Makes a host of the same backend."""
    function: bytes
    name: str
    """The function's."""
    timeout: float | None


class ExecutorElsewhere(Elsewhere):
    """Gives calls to ``executor``, which is shut down with the engine where it is ``owned``."""

    def __init__(self, executor: Executor, twin: Callable[[], Any], *, owned: bool) -> None:
        self.threads = Threads(SENDERS)
        self._executor, self._twin, self._owned = executor, twin, owned
        self._by_value = importlib.util.find_spec("cloudpickle") is not None
        self._lock = threading.Lock()
        self._futures: dict[str, Future[bool]] = {}
        """Held while they run: an executor may drop what nobody holds."""

    def send(self, errand: Errand, declaration: Declaration, stored: bytes = b"") -> None:  # noqa: ARG002
        """Submit the call. Raises ``NotSent`` where the executor takes none."""
        function = self._pickled(errand, declaration)
        made = Call(errand, self._twin(), function, declaration.name, declaration.timeout)
        try:
            future = self._executor.submit(work, made)
        except Exception as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        with self._lock:
            self._futures[errand.id] = future
        future.add_done_callback(functools.partial(self._done, errand.id))

    def _pickled(self, errand: Errand, declaration: Declaration) -> bytes:
        """The function; nothing where it cannot be sent, which the worker then says of the operation."""
        try:
            return dump_function(declaration.function, self._by_value)
        except Exception:
            logger.exception("Operation %s: %s() cannot be sent.", errand.id, declaration.name)
            return b""

    def _done(self, identity: str, future: Future[bool]) -> None:
        with self._lock:
            if self._futures.get(identity) is future:
                del self._futures[identity]
        error = None if future.cancelled() else future.exception()
        if error is not None:
            say = "Operation %s: its executor could not run it, or lost its worker: %s: %s"
            logger.error(say, identity, type(error).__name__, error)

    def withdraw(self, identity: str, attempt: int) -> None:  # noqa: ARG002 - there is one call at a time
        """Cancel the call, where it has not begun."""
        future = self._futures.get(identity)
        if future is not None and not future.running():
            future.cancel()

    def close(self) -> None:
        """Shut the executor down, if it is ours: what it runs ends by itself."""
        if self._owned:
            self._executor.shutdown(wait=False)


# In a worker


_stations: dict[bytes, tuple[Station, dict[str, Declaration]]] = {}
_lock = threading.Lock()


def work(call: Call) -> bool:
    """Run the attempt; whether there was something to do."""
    station, declared = _station(call)
    try:
        declaration = declare(call.errand.path, load_function(call.function), timeout=call.timeout)
    except BaseException as error:  # noqa: BLE001 - whatever importing the function's module raises
        with _lock:
            declared.setdefault(call.errand.path, declare(call.errand.path, _unknown))
        return station.run(call.errand.id, call.errand.attempt, caller=_Refusing(call.name, error))
    with _lock:
        declared[call.errand.path] = declaration
    return station.run(call.errand.id, call.errand.attempt, crew_of(declaration.function))


def _station(call: Call) -> tuple[Station, dict[str, Declaration]]:
    """One for each app in this process."""
    key = pickle.dumps(call.twin)
    with _lock:
        found = _stations.get(key)
        if found is None or found[0].process != os.getpid():
            declared: dict[str, Declaration] = {}
            found = _stations[key] = Station(call.twin(), declared.get), declared
        return found


def _unknown() -> None:
    """Stands for a function that cannot be loaded here."""


class _Refusing:
    """Ends an operation whose function cannot be loaded here."""

    def __init__(self, name: str, error: BaseException) -> None:
        self._name, self._error = name, error

    def call(self, task: Task, run: Run) -> Outcome:  # noqa: ARG002
        """Failed."""
        return unloadable(run.id, self._name, self._error)

    def give_up(self, run: Run) -> bool:  # noqa: ARG002
        """It has ended."""
        return True
