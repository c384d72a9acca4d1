"""The engine of Celery: one task, ``restive.run``, which servers send and workers do.

A message says which attempt of which operation is to be run and nothing else; all that it needs is in the
backend. So it may come late, twice or never: whoever gets it claims the operation first, and a server sends
another one where nobody does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ...errors import SettingError
from ..declaration import Declaration
from .port import Elsewhere, Errand, NotSent
from .threads import Threads

if TYPE_CHECKING:
    from ..registry import Operations

__all__ = ["TASK", "CeleryEngine", "enlist"]

logger = logging.getLogger("restive.operations")

TASK = "restive.run"

SENDERS = 4
"""Threads of a server that send."""


class _Desk:
    """What the workers of one Celery app can run, by the name of the ``Restive`` and the declared path."""

    def __init__(self, app: Any) -> None:
        self.declared: WeakValueDictionary[tuple[str, str], Operations] = WeakValueDictionary()
        self.task = app.task(name=TASK, ignore_result=True, shared=False, serializer="json")(
            _task(self.declared)
        )


def _task(declared: Mapping[tuple[str, str], Operations]) -> Callable[..., bool]:
    def run(app: str, path: str, id: str, attempt: int) -> bool:  # noqa: A002 - the message's words
        """Run an attempt of an operation; whether there was something to do."""
        operations = declared.get((app, path))
        if operations is None:
            raise SettingError(
                f"Operation {id} of {path} is not known here: let this worker import the module that "
                f"declares it, with the name {app!r}."
            )
        return operations.station().run(id, attempt)

    return run


_desks: WeakKeyDictionary[Any, _Desk] = WeakKeyDictionary()


def enlist(app: Any, name: str, path: str, operations: Operations) -> None:
    """Have the workers of ``app`` run what is declared at ``path`` of the ``Restive`` called ``name``.

    Raises ``SettingError`` where another one is declared there.
    """
    desk = _desk(app)
    if desk.declared.get((name, path), operations) is not operations:
        raise SettingError(
            f"Two Restive instances called {name!r} have an operation at {path} on one Celery app: give each "
            "a name= of its own."
        )
    desk.declared[name, path] = operations


def _desk(app: Any) -> _Desk:
    desk = _desks.get(app)
    if desk is None:
        desk = _desks[app] = _Desk(app)
    return desk


class CeleryEngine(Elsewhere):
    """Sends to the workers of a Celery app."""

    def __init__(self, app: Any) -> None:
        self.threads = Threads(SENDERS)
        self._app, self._task = app, _desk(app).task

    def send(self, errand: Errand, declaration: Declaration, stored: bytes = b"") -> None:  # noqa: ARG002
        """Send the task. Raises ``NotSent`` where the broker does not take it."""
        said = {"app": errand.app, "path": errand.path, "id": errand.id, "attempt": errand.attempt}
        try:
            self._task.apply_async(kwargs=said, task_id=_name(errand.id, errand.attempt), retry=False)
        except Exception as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error

    def withdraw(self, identity: str, attempt: int) -> None:
        """Have all workers drop the task; one that does not hear of it claims nothing."""
        try:
            self._app.control.revoke(_name(identity, attempt))
        except Exception as error:  # noqa: BLE001 - not all brokers can tell all workers
            logger.info("Operation %s: its task is not revoked: %s", identity, error)

    def close(self) -> None:
        """Nothing is held but what Celery holds."""


def _name(identity: str, attempt: int) -> str:
    """The task's own id."""
    return f"{identity}-{attempt}"
