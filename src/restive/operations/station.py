"""Runs operations in a process that is no server: a Celery worker, a worker of Dask or of another executor.

It opens the backend by itself, claims the lease and renews it, and stores what is reported and how it ends;
the servers' watchers hear of it through the backend. Whoever is told to run what somebody else runs already,
or what is over, does nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..backends.port import Backend
from ..errors import BackendError, Problem
from ..settings import Settings
from .attempts import Attempts, Find
from .calling import Outcome, call
from .depot import check_parts
from .engines.port import Caller, Task
from .files import Files, FilesPlace, Part
from .handle import Operation
from .holders import Holders
from .keeper import Keeper
from .mapping import Crew, Work
from .record import OperationRecord
from .run import Run
from .store import Store
from .upload import StoredUpload

__all__ = ["Alone", "Place", "Station"]

logger = logging.getLogger("restive.operations")

LOOK_EVERY = 1.0
"""Seconds between two looks for a cancel."""

OUT_OF_REACH = (
    "This worker has another state folder than the server: set parts= to a place that both reach, or give "
    "them one RESTIVE_HOME."
)


class Place(Protocol):
    """What a station needs of the ``Restive`` that was made in this process."""

    @property
    def settings(self) -> Settings: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def home(self) -> Path: ...
    def changed(self, *targets: str, below: bool = False) -> None: ...


class Alone:
    """The crew of an ``op.map`` that nobody helps."""

    workers = 1

    def share(self, shared: Work, pieces: int) -> None:
        """Nobody comes."""

    def unshare(self, shared: Work) -> None:
        """Nobody has come."""


class _Remote(Files):
    """The files of an operation whose server has another state folder."""

    def open_part(self, identity: str, number: int, part: Part) -> int:
        """As ``Files``, where the part can be had by others when it is finished."""
        if self.place.parts is None:
            logger.error("Operation %s: the part %r is refused. %s", identity, part.name, OUT_OF_REACH)
            raise Problem(500, "The part cannot be kept", "The worker has no place for parts.")
        return super().open_part(identity, number, part)

    def fetched(self, identity: str, upload: StoredUpload) -> StoredUpload:
        """As ``Files``; what is not in the depot is not to be had."""
        if not upload.key:
            raise FileNotFoundError(errno.ENOENT, OUT_OF_REACH, upload.filename)
        return super().fetched(identity, upload)

    @property
    def reachable(self) -> bool:
        """Whether servers can read what is kept here."""
        if self.place.parts is None:
            logger.error(OUT_OF_REACH)
        return self.place.parts is not None

    def write_result(self, identity: str, data: bytes, number: int = 0) -> None:
        """As ``Files``, in the depot alone. Raises ``OSError``."""
        depot = self.depot()
        assert depot is not None
        depot.write(f"{identity}/result.{number}.json", data)


class Station:
    """The operations that this process runs. ``find`` knows their declarations."""

    def __init__(self, place: Place, find: Find) -> None:
        settings, self._host, self._find = place.settings, place, find
        parts = check_parts(settings.parts)
        where = FilesPlace(place.home, parts, place.backend.shared)
        self.process = os.getpid()
        self.files, self._remote = Files(lambda: where), _Remote(lambda: where)
        self.store = Store(lambda: place.backend)
        self.attempts = Attempts(
            settings,
            self.store,
            self.files,
            Holders(lambda: place.home),
            find,
            self,
            lambda: place.backend.shared,
            LOOK_EVERY,
        )
        self.attempts.keeper = Keeper(self._tend, self.attempts.due, [])
        self._lock = threading.Lock()
        self._cleared = False

    def run(
        self, identity: str, attempt: int, crew: Crew | None = None, caller: Caller | None = None
    ) -> bool:
        """Run this attempt of an operation to its end; false where there was nothing to do.

        Raises ``BackendError`` where the backend cannot be reached: the operation stays as it is stored.
        """
        self._clear()
        run = self.attempts.claim(identity, attempt)
        if run is None:
            logger.info("Operation %s: attempt %d is another's, or over.", identity, attempt)
            return False
        try:
            self.attempts.complete(run, caller or _Here(crew or Alone()))
        finally:
            if run.files is self._remote:
                self.files.forget(identity)
        return True

    # What attempts ask for

    def again(self, operation: OperationRecord) -> None:
        """A server sends it when its time has come."""

    @property
    def announce(self) -> Callable[[OperationRecord], None]:
        """Tells the watchers of all servers."""
        return lambda operation: self._host.changed(*operation.targets)

    def files_of(self, operation: OperationRecord) -> Files:
        """The common folder, or this machine's own."""
        return self._remote if self._is_remote(operation) else self.files

    def _is_remote(self, operation: OperationRecord) -> bool:
        return bool(operation.home) and operation.home != self.files.identity()

    # This process

    def _tend(self, run: Run) -> None:
        self.attempts.tend(run)
        if run.given_up and _is_one_of_a_pool():
            logger.warning("Operation %s: the process that it holds is ended.", run.id)
            os.kill(os.getpid(), signal.SIGKILL)

    def _clear(self) -> None:
        """Once: remove what killed processes of this machine have left in a folder that is its own."""
        with self._lock:
            if self._cleared:
                return
            self._cleared = True
        try:
            for identity in self.files.left_behind():
                if self._is_left_behind(identity):
                    self.files.forget(identity)
        except BackendError as error:
            logger.warning("What others have left here cannot be looked at now: %s", error)

    def _is_left_behind(self, identity: str) -> bool:
        entry = self.store.load(identity)
        if isinstance(entry, OperationRecord):
            return self._is_remote(entry) and entry.status != "running"
        return entry is None and self.store.is_orphan(identity)


class _Here:
    """Calls functions on the thread that the worker has given."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def call(self, task: Task, run: Run) -> Outcome:
        """Call the function here."""
        return call(task.function, task.signature, task.stored, Operation(run, self._crew), run)

    def give_up(self, run: Run) -> bool:  # noqa: ARG002
        """Whether this process ends by it: one of a pool does, which makes another."""
        return _is_one_of_a_pool()


def _is_one_of_a_pool() -> bool:
    """Whether this is a process of Celery's prefork pool, which runs nothing else."""
    billiard = sys.modules.get("billiard.process")
    return billiard is not None and billiard.current_process()._parent_pid is not None  # noqa: SLF001
