"""One call in a worker process as the server sees it: what the function says, and what it is told."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import BackendError, Canceled, Interrupted, Problem
from ..run import Run
from . import log_relay
from .messages import Answer, Ask, Done, Log, Look, Piece, Report, Share, Stop, Unshare, stop_name

if TYPE_CHECKING:
    from .line import Worker
    from .pieces import Helping
    from .seats import Seat

__all__ = ["Call"]

logger = logging.getLogger("restive.operations")


class Call:
    """A call of a function of ``run``: of the operation's own, or of one that it maps."""

    def __init__(
        self, number: int, run: Run, help_with: Callable[[Call, int], Helping] | None = None
    ) -> None:
        self.number, self.run = number, run
        self.worker: Worker | None = None
        self.seat: Seat | None = None
        """Where its process is."""
        self.begun = False
        """Whether the function may have done something."""
        self.when_lost: Callable[[], None] | None = None
        """Called when its worker is gone."""
        self._future: Future[bytes] | None = None
        self._help_with = help_with
        self._lock = threading.Lock()
        self._mappings: dict[int, Helping] = {}
        self._over = False

    def began(self) -> None:
        """Its worker has it."""
        self.begun, self._over = True, False
        if self.run.stopped is not None:
            self.stop()

    def await_end(self, future: Future[bytes]) -> bytes:
        """What the call returns. Raises what the executor raises."""
        self._future = future
        if self.run.stopped is not None:
            self.stop()
        return future.result()

    def stop(self) -> None:
        """Tell the function to end; where it has not begun it is told when it does, or never begins."""
        worker, why = self.worker, self.run.stopped
        if self.begun and worker is not None and why is not None:
            stop = Stop(self.number, stop_name(why))
            # A worker that takes nothing holds up this thread, never the one that asks.
            threading.Thread(target=worker.send, args=[stop], name="restive-stop", daemon=True).start()
        elif self._future is not None:
            self._future.cancel()

    def kill(self) -> None:
        """End the process that it is in."""
        if self.seat is not None:
            self.seat.kill(self)

    def handle(self, message: Any) -> None:
        """Do what the function asks for."""
        HANDLERS[type(message)](self, message)

    def report(self, message: Report) -> None:
        """Merge what was reported."""
        with contextlib.suppress(Canceled, Interrupted):  # it is told so itself
            self.run.report(message.completed, message.total, message.unit, message.message)

    def _look(self, _: Look) -> None:
        with contextlib.suppress(Canceled, Interrupted, BackendError):
            self.run.check()

    def _ask(self, message: Ask) -> None:
        answer = Answer(message.number)
        try:
            if message.part is None:
                self.run.fence()
            else:
                self.run.publish(message.part)
        except (Canceled, Interrupted) as stop:
            answer = Answer(message.number, stop=stop_name(type(stop)))
        except Problem as problem:
            answer = Answer(message.number, problem=msgspec.json.encode(problem.document()))
        except Exception as error:  # noqa: BLE001 - it is the function's that asked
            answer = Answer(message.number, error=f"{type(error).__name__}: {error}")
        if self.worker is not None:
            self.worker.send(answer)

    def _log(self, message: Log) -> None:
        log_relay.replay(message, self.run.id)

    # op.map

    def _share(self, message: Share) -> None:
        with self._lock:
            if self._over or self._help_with is None:
                return
            helping = self._mappings.get(message.mapping)
            if helping is None:
                helping = self._mappings[message.mapping] = self._help_with(self, message.mapping)
        helping.share(message.pieces)

    def _unshare(self, message: Unshare) -> None:
        with self._lock:
            helping = self._mappings.pop(message.mapping, None)
        if helping is not None:
            helping.end()

    def _came(self, message: Piece) -> None:
        """A piece that was asked for; where nobody waits for it any more it goes back."""
        helping = self._mappings.get(message.mapping)
        if (helping is None or not helping.came(message)) and message.data is not None and self.worker:
            self.worker.send(Done(self.number, message.mapping, message.ticket))

    def lost(self) -> None:
        """Its worker is gone."""
        self.left()
        if self.when_lost is not None:
            self.when_lost()

    def left(self) -> None:
        """Nobody may help any more."""
        with self._lock:
            self._over = True
            mappings, self._mappings = list(self._mappings.values()), {}
        for helping in mappings:
            helping.end()


HANDLERS: dict[type, Callable[[Call, Any], None]] = {
    Report: Call.report,
    Look: Call._look,  # noqa: SLF001 - its own
    Ask: Call._ask,  # noqa: SLF001
    Log: Call._log,  # noqa: SLF001
    Piece: Call._came,  # noqa: SLF001
    Share: Call._share,  # noqa: SLF001
    Unshare: Call._unshare,  # noqa: SLF001
}
