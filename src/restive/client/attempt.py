"""The states of one watch and of the socket, and the actions that the machine asks its shell for.

    Waiting ──until──> Asking ──first news──> Live        (streams and the socket)
       ^                 └──the answer──> Waiting          (polls: the next request)
       └──────────────── failed ──────────────┘

A phase is one of these classes and nothing else; an attempt that nobody needs is dropped, so there is
no phase for that. A number names one request or one socket: what comes for another one is late, and ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from ..errors import ClientError
from .news import Kind
from .policy import Transport
from .state import State

__all__ = [
    "Action",
    "Ask",
    "Asking",
    "Attempt",
    "CloseSocket",
    "Closed",
    "Finish",
    "Live",
    "Open",
    "OpenSocket",
    "Opening",
    "Resting",
    "SendFrame",
    "Show",
    "Socket",
    "Stop",
    "Waiting",
    "Want",
    "Watched",
]


# -- one attempt to watch, over one transport ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """Asks at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Asking:
    """Has asked; fails at ``deadline`` unless something comes."""

    since: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Live:
    """Something came; more may. An event stream fails at ``deadline`` unless it shows a sign of life."""

    deadline: float | None


Phase = Waiting | Asking | Live


@dataclass(slots=True, eq=False)
class Attempt:
    """One transport at work for one watch."""

    transport: Transport
    phase: Phase
    number: int = 0  # of its request, or of the socket
    etag: str | None = None  # what it resumed from
    shown: int = 0  # how many states had been shown when it asked
    delivered: float | None = None  # when something came first
    told: str | None = None  # the last tag it spoke of
    behind: bool = False  # newer states than it has told were shown, so what it tells may be old
    quick: int = 0  # answers in a row that came at once (long poll)
    repeat: bool = False  # fetch: ask once more when the answer is there
    unconditional: bool = False  # fetch: the tag was announced although we have it, so it is a coarse one


# -- one watch ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Want:
    """What the user asked for: ``rungs`` are transports, the best first; ``headers`` add to the client's."""

    target: str
    rungs: tuple[Transport, ...]
    headers: tuple[tuple[str, str], ...] = ()
    etag: str | None = None


@dataclass(slots=True, eq=False)
class Watched:
    """One watch: what it has, and the attempts at work for it."""

    key: int
    want: Want
    started: float
    main: Attempt
    trial: Attempt | None = None  # a better transport, tried while `main` goes on
    fetch: Attempt | None = None  # a GET for a state that was only announced
    etag: str | None = None
    last: State | None = None
    shown: int = 0
    check_at: float = -inf  # no GET asks before whether the state is final, or has become so
    failures: int = 0
    suspects: dict[Transport, Kind] = field(default_factory=dict)  # delivered nothing since the last news
    ever: bool = False  # anything was ever delivered
    ending: bool = False  # final; only the fetch is still awaited
    better_at: float = 0.0  # a better transport is not tried before
    wake: float = inf  # when the machine will look at this watch by itself

    def attempts(self) -> list[Attempt]:
        """Those at work now."""
        return [attempt for attempt in (self.main, self.trial, self.fetch) if attempt is not None]


# -- the socket ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Closed:
    """There is none, and nothing speaks against opening one."""


@dataclass(slots=True)
class Opening:
    """The handshake is under way. ``until``: when it is given up, as nobody needs it now."""

    number: int
    until: float = inf


@dataclass(slots=True)
class Open:
    """Frames can be sent. ``until`` is as in ``Opening``.

    ``heard``: when an event came first; ``again``: when the server wants us back.
    """

    number: int
    until: float = inf
    heard: float | None = None
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Resting:
    """It failed; the next one may be opened at ``until``."""

    until: float


Socket = Closed | Opening | Open | Resting


# -- what the shell has to do -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Make the request ``number`` over HTTP and report what it says under this number."""

    number: int
    transport: Transport
    target: str
    headers: tuple[tuple[str, str], ...]
    etag: str | None
    text: bool = False  # the state before was text


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for request ``number`` any more."""

    number: int


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Open a socket; report ``socket_opened`` or ``socket_failed`` under this number."""

    number: int


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a text frame on socket ``number``."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close socket ``number``; nothing needs to be reported of it any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Show:
    """A state for the user of watch ``key``."""

    key: int
    state: State


@dataclass(frozen=True, slots=True)
class Finish:
    """Watch ``key`` is over: with an error, or because its last state is final."""

    key: int
    error: ClientError | None


Action = Ask | Stop | OpenSocket | SendFrame | CloseSocket | Show | Finish
