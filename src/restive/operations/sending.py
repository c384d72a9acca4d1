"""Sends operations to the engines on other machines: once, if all goes well, and sooner or later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable

from ..errors import BackendError
from ..settings import Settings
from .attempts import Find
from .declaration import Declaration
from .engines.choosing import Engines
from .engines.port import Elsewhere, Errand, NotSent
from .posting import Posting
from .queue import Waiting
from .record import OperationRecord
from .store import Store

__all__ = ["Sending"]

logger = logging.getLogger("restive.operations")


class Sending:
    """What a server does for the engines that it cannot reach by itself. Its methods may block."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        posting: Posting,
        engines: Engines,
        find: Find,
        follow: Callable[[OperationRecord], None],
    ) -> None:
        """``follow`` gets each operation that was sent and that knows nothing of the backend."""
        self._follow = follow
        self._app = settings.name or "restive"
        self._store, self._posting, self._engines, self._find = store, posting, engines, find

    def may(self, key: Hashable) -> bool:
        """Whether that engine is to be tried now."""
        return self._posting.may_send(key, time.monotonic())

    def due(self, operation: OperationRecord) -> OperationRecord | None:
        """The operation where it is this process's to send it (again), now or at its time."""
        now, when = self._store.clock(), operation.send_at()
        if operation.sends and when > now:
            self._posting.note(operation.id, when)
            return None

        def again(it: OperationRecord) -> OperationRecord | None:
            due = it.status == "queued" and it.sends == operation.sends
            return it.sent_again(max(now, it.not_before or 0.0)) if due else None

        try:
            return self._store.update(operation.id, again)
        except BackendError as error:
            logger.warning("Operation %s cannot be sent now: %s", operation.id, error)
            return None

    def send(self, entry: Waiting, engine: Elsewhere) -> bool:
        """Send it; false where the engine takes nothing now."""
        declaration = self._find(entry.declaration)
        assert declaration is not None
        errand = Errand(self._app, entry.declaration, entry.id, entry.attempt, entry.sends)
        try:
            if engine.repeatable:
                engine.send(errand, declaration, b"")
            else:
                self._send_once(errand, engine, declaration)
        except Exception as error:
            if self._posting.refused(entry.engine, time.monotonic()):
                trace = None if isinstance(error, NotSent) else error
                say = "Operations of %s are stored and not sent: its engine takes none now: %s"
                logger.error(say, declaration.path, error, exc_info=trace)
            return False
        if self._posting.took(entry.engine):
            logger.warning("Operations of %s are sent again.", declaration.path)
        sent = OperationRecord(entry.id, "", "", "", 0.0, 0.0, sent=self._store.clock(), sends=entry.sends)
        self._posting.note(entry.id, sent.send_at())
        return True

    def _send_once(self, errand: Errand, engine: Elsewhere, declaration: Declaration) -> None:
        """Send what must not come twice: the record says before that it may be sent, and then that it was."""
        now, identity = self._store.clock(), errand.id

        def first(it: OperationRecord) -> OperationRecord | None:
            return it.sent_again(now) if it.status == "queued" and not it.sends else None

        operation = self._store.update(identity, first)
        if operation is None:  # it is over, or another server was first
            return
        try:
            engine.send(errand, declaration, self._store.arguments(identity))
        except NotSent:
            self._store.update(identity, OperationRecord.unsent)
            raise
        self._follow(operation)
        self._store.update(identity, lambda it: it.sent_again(now) if it.sends == 1 else None)

    def withdraw(self, operation: OperationRecord) -> None:
        """It need not be begun any more."""
        self._posting.discard(operation.id)
        declaration = self._find(operation.declaration)
        engine = None if declaration is None else self._engines.find(self._engines.key(declaration))
        if isinstance(engine, Elsewhere):
            once = _Once(lambda: engine.withdraw(operation.id, operation.attempt))
            engine.threads.share(once, 1)


class _Once:
    """A piece of work for an idle thread."""

    def __init__(self, step: Callable[[], None]) -> None:
        self._step: Callable[[], None] | None = step

    def help(self) -> bool:
        """Do it; false where it is done."""
        step, self._step = self._step, None
        if step is None:
            return False
        step()
        return True
