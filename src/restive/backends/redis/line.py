"""Commands that several threads give at once share a round trip.

One thread leads: it sends all that waits in one go and reads the replies. Whoever came meanwhile waits, and
the first of them leads next. What was lost with its connection is repeated only where it cannot have been
done, or reads; else its caller is told that nobody knows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ClusterDownError, MovedError, NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as TimedOut

from restive.errors import BackendUnavailable

from .scripts import Script
from .server import FAILURES, Server, Unusable, pause
from .wire import Wire, pack

__all__ = ["Line"]

IDLE = 5.0
"""Seconds after which a connection is asked whether it still works before anything is sent that counts."""

ROUNDS = 6
"""How often a command is sent at most: to where MOVED leads, with its script, after a connection was lost."""

_NOT_DONE = "Nothing was done."
_UNKNOWN = "Whether what was asked for is done is not known."


class _Call:
    """One command, and what became of it."""

    __slots__ = ("arguments", "durable", "error", "leads", "over", "reads", "reply", "script", "woken")

    def __init__(
        self, arguments: Sequence[bytes], script: Script | None, *, reads: bool, durable: bool
    ) -> None:
        self.arguments = arguments
        self.script = script
        self.reads, self.durable = reads, durable
        self.reply: Any = None
        self.error: BackendUnavailable | None = None
        self.over = False
        self.leads = False
        self.woken = threading.Lock()
        """Held until the call is over or its thread is to lead."""
        self.woken.acquire()

    def packed(self, known: bool) -> bytes:
        """The bytes to send; with the script's text where the server does not know it."""
        if self.script is None:
            return pack(self.arguments)
        head = (b"EVALSHA", self.script.digest) if known else (b"EVAL", self.script.text)
        return pack((*head, *self.arguments))

    def end(self, reply: Any = None, error: BackendUnavailable | None = None) -> None:
        self.reply, self.error, self.over = reply, error, True


class Line:
    """The connection of one process to ``server`` for all calls that are answered at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._window = server.url.timeout / 2
        """Seconds for which a call waits for a server that is just away."""
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child threads and connection are the parent's."""
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._led = False
        self._use = threading.Lock()
        """Held while the connection is in use."""
        self._wire: Wire | None = None
        self._used = 0.0
        self._failures = 0
        self._again_at = 0.0
        self._error: BaseException | None = None

    def ask(
        self, *arguments: bytes, script: Script | None = None, reads: bool = False, durable: bool = False
    ) -> Any:
        """The reply to a command, or to a script with its keys and arguments.

        One that only ``reads`` may be sent twice. Raises BackendUnavailable.
        """
        call = _Call(arguments, script, reads=reads, durable=durable)
        with self._lock:
            self._waiting.append(call)
            call.leads, self._led = not self._led, True
        if not call.leads:
            self._wait(call)
        if not call.over:
            self._lead()
        if call.error is not None:
            raise call.error
        return call.reply

    def close(self) -> None:
        """Close the connection; the next call opens one."""
        with self._use:
            self._drop()

    # Waiting

    def _wait(self, call: _Call) -> None:
        """Return once the call is over or to lead. Who leads ends within bounds, and wakes us."""
        try:
            call.woken.acquire()
        except BaseException:  # this thread is interrupted
            with self._lock:
                if call in self._waiting:
                    self._waiting.remove(call)
                    if call.leads:
                        self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the first that waits lead. The caller leads, and holds the lock."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].woken.release()

    # Leading

    def _lead(self) -> None:
        """Do all that waits now, and tell each what became of it."""
        calls: list[_Call] = []
        try:
            with self._use:
                with self._lock:
                    calls, self._waiting = self._waiting, []
                self._exchange(calls)
        except BackendUnavailable as error:
            # Those that came meanwhile would wait for the same, and were not sent.
            with self._lock:
                calls, self._waiting = [*calls, *self._waiting], []
            _end(calls, error)
        finally:
            with self._lock:
                self._pass_on()
            _end(calls, BackendUnavailable(f"A thread that asked {self._server} was interrupted. {_UNKNOWN}"))
            for call in calls:
                if not call.leads:
                    call.woken.release()

    def _exchange(self, calls: list[_Call]) -> None:
        """Send the calls, some of them again, until all are over. Raises BackendUnavailable for the rest."""
        known = True
        for _ in range(ROUNDS):
            wire = self._connected()
            try:
                known = self._round(wire, [call for call in calls if not call.over], known)
            except FAILURES as error:
                self._lost(calls, error)
            except BaseException:
                self._drop()
                raise
            if all(call.over for call in calls):
                return
        raise BackendUnavailable(f"{self._server} sends us from one node to the next. {_NOT_DONE}")

    def _round(self, wire: Wire, calls: list[_Call], known: bool) -> bool:
        """One round trip; what is not over is to be sent again. Returns whether the scripts are known."""
        replicas = self._server.url.replicas if any(call.durable for call in calls) else 0
        data = [call.packed(known) for call in calls]
        if replicas:
            data.append(pack((b"WAIT", b"%d" % replicas, b"%d" % (500 * self._server.url.timeout))))
        wire.send(data[0] if len(data) == 1 else b"".join(data))
        errors = [self._receive(wire, call) for call in calls]
        if replicas:
            self._confirm(calls, replicas, wire)
        self._used = time.monotonic()
        if any(isinstance(error, MovedError | ReadOnlyError | ClusterDownError) for error in errors):
            self._drop()  # another node is the right one, or will be
        return known and not any(isinstance(error, NoScriptError) for error in errors)

    def _receive(self, wire: Wire, call: _Call) -> ResponseError | None:
        """Read the reply to a call. An error as the reply means that nothing was done."""
        try:
            call.end(wire.receive())
        except NoScriptError as error:
            return error
        except MovedError as error:
            self._server.moved(error.host, error.port)
            return error
        except ResponseError as error:
            call.end(error=self._server.refused(error))
            return error
        return None

    def _confirm(self, calls: list[_Call], replicas: int, wire: Wire) -> None:
        """Take back the acknowledgement of what too few replicas have."""
        try:
            reached = wire.receive()
        except ResponseError:
            reached = 0
        if reached >= replicas:
            return
        for call in calls:
            if call.durable and call.over and call.error is None:
                call.error = BackendUnavailable(
                    f"{self._server} has done it, but only {reached} of {replicas} replicas had it in time: "
                    "a failover may undo it."
                )

    # The connection

    def _connected(self) -> Wire:
        """A connection that works as far as we know. Raises BackendUnavailable: then nothing was sent."""
        if self._wire is not None and self._works(self._wire):
            return self._wire
        self._drop()
        patience = self._window if self._server.down_for() < self._window else 0.0
        deadline = time.monotonic() + patience
        while True:
            now = time.monotonic()
            if self._error is not None and self._again_at > max(now, deadline):
                raise self._server.unavailable(self._error, _NOT_DONE)
            time.sleep(max(0.0, self._again_at - now))
            try:
                self._wire = self._server.connect()
            except (Unusable, *FAILURES) as error:
                self._failures += 1
                self._error = error
                self._again_at = time.monotonic() + pause(self._failures)
                if isinstance(error, Unusable):
                    raise self._server.unavailable(error, _NOT_DONE) from None
            else:
                self._failures, self._error, self._again_at = 0, None, 0.0
                self._used = time.monotonic()
                return self._wire

    def _works(self, wire: Wire) -> bool:
        if not wire.rests():
            return False
        if time.monotonic() - self._used < IDLE:
            return True
        try:
            return bool(wire.ask(b"PING"))
        except FAILURES as error:
            self._server.failed(error)
            return False

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _lost(self, calls: list[_Call], error: Exception) -> None:
        """The connection ended in the middle of a round trip."""
        self._drop()
        self._server.failed(error)
        for call in calls:
            if not call.over and (isinstance(error, TimedOut) or not call.reads):
                call.end(error=self._server.unavailable(error, _UNKNOWN))


def _end(calls: Sequence[_Call], error: BackendUnavailable) -> None:
    """Each thread raises an error of its own."""
    for call in calls:
        if not call.over:
            call.end(error=BackendUnavailable(str(error)))
