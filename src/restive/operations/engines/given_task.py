"""A task of Celery that was there before, as an operation: sent as it is, seen by its result backend.

It runs in whichever worker has it, with its own options, and knows nothing of the operation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from ...errors import SettingError
from ..arguments import Signature
from ..declaration import Declaration
from .port import Elsewhere, Errand, NotSent
from .task_states import TaskSeen
from .threads import Threads

__all__ = ["GivenTask", "check_task", "function_of"]

logger = logging.getLogger("restive.operations")

SENDERS = 2
"""Threads of a server that send."""

AS_THEY_ARE = (str, int, float, bool, type(None), datetime, date, time, Decimal, UUID)
"""Values that Celery's JSON carries and gives back."""


def function_of(task: Any) -> Callable[..., Any]:
    """The task's function, without ``self`` where it is bound."""
    function: Callable[..., Any] = task.run
    return function


def check_task(task: Any, declaration: Declaration) -> None:
    """Refuse a task of which nothing could be seen, or that could not be sent. Raises ``SettingError``."""
    where, conf = task.name, task.app.conf
    backend = str(task.app.conf.result_backend or "disabled")
    if backend.startswith(("disabled", "rpc")) or task.ignore_result:
        raise SettingError(
            f"What becomes of the task {where} could not be seen: give its Celery app a result_backend= that "
            "all processes can read, such as Redis or a database (not rpc://), and the task no ignore_result."
        )
    if declaration.retries:
        raise SettingError(
            f"The task {where} is retried by Celery: declare max_retries= or autoretry_for= there."
        )
    if any(parameter.upload for parameter in declaration.signature.parameters.values()):
        raise SettingError(f"The task {where} cannot get an upload: let it take a path or a URL.")
    if declaration.signature.handle is not None:
        raise SettingError(
            f"The task {where} gets no Operation: declare its function with engine= the Celery app instead."
        )
    if conf.task_always_eager and not conf.task_store_eager_result:
        logger.warning("The task %s runs in the server: task_always_eager is set.", where)


class GivenTask(Elsewhere):
    """Sends one task. Its id is the operation's."""

    repeatable = False

    def __init__(self, task: Any) -> None:
        self.threads = Threads(SENDERS)
        self._task, self._app = task, task.app
        self._eager: dict[str, Any] = {}

    def send(self, errand: Errand, declaration: Declaration, stored: bytes = b"{}") -> None:
        """Send the task with the stored arguments. Raises ``NotSent``."""
        try:
            result = self._task.apply_async(kwargs=_given(declaration.signature, stored), task_id=errand.id)
        except Exception as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        if hasattr(result, "_state"):  # task_always_eager: it is over, and perhaps nowhere stored
            self._eager[errand.id] = TaskSeen(str(result.state), result.result)

    def look(self, identity: str) -> TaskSeen:
        """What Celery has of the task now. Raises what its result backend raises."""
        if identity in self._eager:
            seen: TaskSeen = self._eager[identity]
            return seen
        meta = self._task.backend.get_task_meta(identity, cache=False)
        retries = meta.get("retries")
        return TaskSeen(
            str(meta.get("status")), meta.get("result"), retries if isinstance(retries, int) else None
        )

    def withdraw(self, identity: str, attempt: int) -> None:  # noqa: ARG002 - one id for all attempts
        """Have all workers drop the task, where they have not begun it."""
        try:
            self._app.control.revoke(identity)
        except Exception as error:  # noqa: BLE001 - whatever a foreign library raises
            logger.warning("Operation %s: its task cannot be revoked now: %s", identity, error)

    def forget(self, identity: str) -> None:
        """Nobody looks at it any more."""
        self._eager.pop(identity, None)

    def close(self) -> None:
        """Nothing is held but what Celery holds."""


def _given(signature: Signature, stored: bytes) -> dict[str, Any]:
    """The arguments of the task, as its message can carry them."""
    values = signature.restore(stored)
    return {
        name: value
        if isinstance(value, AS_THEY_ARE)
        else signature.parameters[name].adapter.dump_python(value, mode="json")
        for name, value in values.items()
    }
