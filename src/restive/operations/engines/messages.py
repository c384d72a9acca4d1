"""What the server's process and its worker processes say to each other over the line, and how it is written.

MessagePack by schema: nothing that comes in is unpickled here. What ``op.map`` sends from one worker to
another is bytes to the server, which passes them on unread.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection

import msgspec

from ...errors import Canceled, Interrupted, TimedOut
from ..files import Part

__all__ = [
    "STOPS",
    "Address",
    "Answer",
    "Ask",
    "Began",
    "Channel",
    "Done",
    "Log",
    "Look",
    "Piece",
    "Pull",
    "Report",
    "Share",
    "Stop",
    "ToServer",
    "ToWorker",
    "Unshare",
    "close_in_forks",
    "cut",
    "stop_name",
]

STOPS: dict[str, type[Canceled | Interrupted]] = {
    "canceled": Canceled,
    "timed-out": TimedOut,
    "interrupted": Interrupted,
}


def stop_name(stop: type[Canceled | Interrupted]) -> str:
    """The word for a reason to end."""
    return next(name for name, kind in STOPS.items() if issubclass(stop, kind))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a line is. ``line`` stays the same where the line moves."""

    line: str
    path: str
    key: bytes
    server: int
    """The process id of the server."""


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One message. ``job`` is the number of a call, unique on its line."""


# To the server


class Began(Message, frozen=True):
    """From here on the function may have done something."""

    job: int


class Report(Message, frozen=True):
    """All that is known of the progress."""

    job: int
    completed: float | int
    total: float | int | None
    unit: str | None
    message: str | None


class Look(Message, frozen=True):
    """Has anything happened for which the function should end? No answer but ``Stop``."""

    job: int


class Ask(Message, frozen=True):
    """Fence, or publish ``part`` where there is one; answered with the same number."""

    job: int
    number: int
    part: Part | None = None


class Share(Message, frozen=True):
    """``pieces`` more pieces of an ``op.map`` wait for help."""

    job: int
    mapping: int
    pieces: int


class Unshare(Message, frozen=True):
    """No more help is wanted."""

    job: int
    mapping: int


class Piece(Message, frozen=True):
    """The answer to ``Pull``: one piece to be worked on, None where there is none."""

    job: int
    mapping: int
    ticket: int
    data: bytes | None = None


class Log(Message, frozen=True):
    """One log record of the function."""

    job: int
    name: str
    level: int
    created: float
    text: str
    trace: str | None
    path: str
    line: int
    function: str
    thread: str


# To the worker


class Stop(Message, frozen=True):
    """The function should end."""

    job: int
    why: str


class Answer(Message, frozen=True):
    """To ``Ask``. ``stop`` is the reason to end, ``problem`` and ``error`` what else went wrong."""

    number: int
    stop: str | None = None
    problem: bytes | None = None
    error: str | None = None


class Pull(Message, frozen=True):
    """Somebody is free to work on a piece of the mapping."""

    job: int
    mapping: int
    ticket: int


class Done(Message, frozen=True):
    """What became of a piece: a pickled (result, error); None where it is to be taken back, not begun."""

    job: int
    mapping: int
    ticket: int
    data: bytes | None = None


ToServer = Began | Report | Look | Ask | Share | Unshare | Piece | Log
ToWorker = Stop | Answer | Pull | Done


ENCODER = msgspec.msgpack.Encoder()

_ends: weakref.WeakSet[Connection] = weakref.WeakSet()


class Channel:
    """A connection that any thread may send on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self.sent = 0
        """How many messages were sent."""
        close_in_forks(connection)

    def send(self, message: Message) -> None:
        """Send it whole. Raises ``OSError`` where the other side is gone."""
        data = ENCODER.encode(message)
        with self._sending:
            self._connection.send_bytes(data)
            self.sent += 1

    def receive(self) -> bytes:
        """The next message, encoded. Raises ``EOFError`` or ``OSError`` at the end."""
        return self._connection.recv_bytes()

    def finish(self) -> None:
        """Send nothing more: the other side meets the end, and may still be received from."""
        cut(self._connection, both=False)

    def cut(self) -> None:
        """End it for both sides."""
        cut(self._connection)

    def close(self) -> None:
        """Release it, once nobody receives any more."""
        with contextlib.suppress(OSError):
            self._connection.close()


def close_in_forks(connection: Connection) -> None:
    """A forked child's copy would hold the connection open when this process is gone."""
    _ends.add(connection)


def cut(connection: Connection, *, both: bool = True) -> None:
    """Whoever waits for a message there, and ``both`` also here, meets the end."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as it:
            it.shutdown(socket.SHUT_RDWR if both else socket.SHUT_WR)


def _close_all() -> None:
    for connection in list(_ends):
        with contextlib.suppress(OSError):
            connection.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
