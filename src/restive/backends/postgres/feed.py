"""What one app announces, from one connection: waiting for it, and reading it.

A ``Waker`` ends the waiting. Where rows come without a NOTIFY, as behind PgBouncer's transaction pooling,
the feed asks every 0.1 s instead of waiting, and says so once.
"""

from __future__ import annotations

import logging
import select
import selectors
import socket
from collections.abc import Sequence

from ..port import LOST
from .connection import PatientConnection
from .schema import command

__all__ = ["HEARTBEAT", "Feed", "Waker"]

_log = logging.getLogger("restive.backends")
HEARTBEAT = 2.0
"""Seconds after which it looks without being notified."""

POLL = 0.1
"""The same, where nobody notifies."""

UNHERALDED = 3
"""So many finds in a row without a NOTIFY are no chance."""


class Waker:
    """Ends the waiting of another thread."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        """End the waiting, or the next one."""
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # it is full, so the waiting ends; or closed, so nobody waits

    def clear(self) -> None:
        """Let the next waiting wait."""
        try:
            while self.reader.recv(4096):
                pass
        except OSError:
            pass

    def wait(self, seconds: float) -> None:
        """Wait for so long at most."""
        _selector(self.reader).select(seconds)
        self.clear()

    def close(self) -> None:
        """Nobody waits any more."""
        self.reader.close()
        self._writer.close()


def _selector(*files: socket.socket | int) -> selectors.BaseSelector:
    """Not of epoll's kind, which a forked child would share."""
    selector = selectors.PollSelector() if hasattr(select, "poll") else selectors.SelectSelector()
    for file in files:
        selector.register(file, selectors.EVENT_READ)
    return selector


class Feed:
    """The announcements of ``app`` from now on. The connection is the feed's own; ``notified``: it LISTENs.

    Raises psycopg's errors.
    """

    def __init__(
        self,
        connection: PatientConnection,
        app: bytes,
        schema: str,
        channel: str,
        waker: Waker,
        *,
        notified: bool,
    ) -> None:
        self._connection = connection
        self._app = app
        self._waker = waker
        self._selector = _selector(connection.fileno(), waker.reader)
        self._statement = command(schema, "SELECT * FROM {}.heard_1(%b, %b::bigint)")
        self._notices = 0
        self._notified = notified
        self._unheralded = 0
        self._behind = False
        self._stirred = False
        if notified:
            connection.add_notify_handler(self._notice)
            connection.execute(f'LISTEN "{channel}"'.encode())
        statement = command(schema, "INSERT INTO {}.apps VALUES (%b, {}.now_1()) ON CONFLICT DO NOTHING")
        connection.execute(statement, (app,))
        self._position = self._read(2**62)[0]

    def wait(self) -> None:
        """Return when there may be something, or the waker was used."""
        self._stirred = False
        if self._behind:
            return
        slow = self._notified and self._unheralded == 0
        for key, _ in self._selector.select(HEARTBEAT if slow else POLL):
            if key.fileobj is self._waker.reader:
                self._waker.clear()
            else:
                self._stirred = True

    def read(self) -> Sequence[bytes | None]:
        """The payloads since the last call, LOST before them where some are gone."""
        before = self._notices
        end, numbers, payloads = self._read(self._position)
        while self._connection.pgconn.notifies() is not None:  # one that came with the answer
            self._notices += 1
            self._stirred = self._behind = True
        found: list[bytes | None] = list(payloads)
        if missed(self._position, end, numbers):
            found.insert(0, LOST)
        self._position = numbers[-1] if numbers else end
        self._behind = self._position < end or (self._behind and bool(numbers))
        self._judge(bool(found), before)
        return found

    def _judge(self, found: bool, before: int) -> None:
        """Whether what was found had been announced by a NOTIFY."""
        if self._notices != before or self._stirred:
            self._unheralded = 0
        elif found and self._notified:
            self._unheralded += 1
            if self._unheralded == UNHERALDED:
                _log.warning(
                    "NOTIFY does not arrive, as behind PgBouncer's transaction pooling: announcements are "
                    "asked for every %g s. Give a URL that leads to the server itself as listen=.",
                    POLL,
                )

    def _notice(self, _: object) -> None:
        self._notices += 1

    def _read(self, after: int) -> tuple[int, list[int], list[bytes]]:
        """The number of the last announcement ever made, and those behind ``after``."""
        rows = self._connection.execute(self._statement, (self._app, after), binary=True).fetchall()
        end = 0 if not rows or rows[0][1] is not None else rows.pop(0)[0]
        return end, [number for number, _ in rows], [payload for _, payload in rows]

    def close(self) -> None:
        """Close the connection."""
        self._selector.close()
        self._connection.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's, and hears nothing of this."""
        self._connection.abandon()


def missed(position: int, end: int, numbers: Sequence[int]) -> bool:
    """Whether announcements behind ``position`` are gone, or the table is another: numbers have no gaps."""
    if not numbers:
        return position != end
    return numbers[0] != position + 1 or numbers[-1] - numbers[0] != len(numbers) - 1
