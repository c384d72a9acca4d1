"""The states of one watch, and the actions that the machine asks its shell for.

    Waiting ──until──> Asking ──first news──> Live        (streams and the socket)
       ^                 └──the answer──> Waiting          (polls: the next request)
       └──────────────── failed ──────────────┘

A phase is one of these classes and nothing else; an attempt that nobody needs is dropped, so there is
no phase for that. A number names one request or one socket: what comes for another one is late, and ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from ..errors import ClientError
from .news import Kind
from .policy import Transport
from .state import State

if TYPE_CHECKING:
    from .carrier import Carrier

__all__ = [
    "FRAME_HEADERS",
    "Action",
    "Ask",
    "Asking",
    "Attempt",
    "CloseSocket",
    "Finish",
    "Live",
    "OpenSocket",
    "Phase",
    "SendFrame",
    "Show",
    "Stop",
    "Target",
    "Waiting",
    "Want",
    "Watched",
    "Watches",
]

FRAME_HEADERS = {"accept", "accept-language", "authorization"}
"""What a frame's `headers` may hold everywhere (design 4.3), of those that mean something to a GET."""


# -- one attempt to watch, over one transport ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """Asks at ``until``."""

    until: float


@dataclass(frozen=True, slots=True)
class Asking:
    """Has asked, or will with others; fails at ``deadline`` unless something comes."""

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
    carrier: Carrier | None = None  # where it asked last
    number: int = 0  # of its request, or of the socket; 0: not asked yet
    alone: bool = False  # what others ask for is not asked for with it
    unheard: float | None = None  # since when answers to all on its carrier have left it out
    etag: str | None = None  # what it resumed from
    shown: int = 0  # how many states had been shown when it asked
    delivered: float | None = None  # when something came first
    told: str | None = None  # the last tag it spoke of
    behind: bool = False  # newer states than it has told were shown, so what it tells may be old
    failures: int = 0  # fetch: in a row
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

    @property
    def fits_frame(self) -> bool:
        """Whether a frame takes its headers."""
        return {name for name, _ in self.headers} <= FRAME_HEADERS


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


class Watches:
    """All watches that go on, by key and by target."""

    def __init__(self) -> None:
        self._by_key: dict[int, Watched] = {}
        self._by_target: dict[str, dict[int, Watched]] = {}

    def __iter__(self) -> Iterator[Watched]:
        return iter(list(self._by_key.values()))

    def __contains__(self, watch: Watched) -> bool:
        return watch.key in self._by_key

    def get(self, key: int) -> Watched | None:
        """The watch of this key."""
        return self._by_key.get(key)

    def of(self, target: str) -> list[Watched]:
        """All of one target."""
        return list(self._by_target.get(target, {}).values())

    def add(self, watch: Watched) -> None:
        """It begins."""
        self._by_key[watch.key] = watch
        self._by_target.setdefault(watch.want.target, {})[watch.key] = watch

    def remove(self, watch: Watched) -> None:
        """It has ended."""
        del self._by_key[watch.key]
        same_target = self._by_target[watch.want.target]
        del same_target[watch.key]
        if not same_target:
            del self._by_target[watch.want.target]


# -- what the shell has to do -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """A resource that is asked for, and what the client has of it."""

    uri: str
    headers: tuple[tuple[str, str], ...] = ()
    etag: str | None = None
    text: bool = False  # the state before was text


@dataclass(frozen=True, slots=True)
class Ask:
    """Make the request ``number`` over HTTP and report what it says under this number.

    One target is asked for at its own URI; several are together at ``/-/live``.
    """

    number: int
    transport: Transport
    targets: tuple[Target, ...]


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
