"""What the fault table's clients record beside what is said of operations: writes, states, items, memory.

Times are as in ``faults.history``: ``asked`` is when a request (or the connection) began, ``at`` when its
answer was there. A resource and a stream are known by their paths, a node by its number in the fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from faults.history import Event

Item = tuple[str, int]
"""A stream's item: who wrote it, and which of the writer's it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Event):
    """One try to write a version; ``status`` 0: there was no answer."""

    resource: str
    version: int
    node: int
    asked: float
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Event):
    """What a watcher was told over one connection (``link``).

    ``kind`` is state, current, end, or odd: what the protocol does not know, with ``detail``. ``version`` is
    that of a state, 0 where it is not told; ``sound`` is whether the state was whole.
    """

    who: str
    way: str
    link: int
    node: int
    resource: str
    kind: str
    asked: float
    etag: str | None = None
    version: int = 0
    sound: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher(Event):
    """That somebody watches, to the end."""

    who: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended(Event):
    """One try to append; ``status`` 0: there was no answer."""

    stream: str
    items: tuple[Item, ...]
    node: int
    asked: float
    status: int
    offset: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Event):
    """Items that a reader got behind the offset ``after``."""

    who: str
    way: str
    node: int
    stream: str
    asked: float
    after: str
    items: tuple[Item, ...]
    offset: str
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A reader's offset was refused; it begins again at the start."""

    who: str
    node: int
    stream: str
    asked: float
    after: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader(Event):
    """That somebody reads a stream, to the end."""

    who: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiped(Event):
    """The backend lost its data between ``at`` and ``until``."""

    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet(Event):
    """How the nodes are set up: what nobody could announce is seen ``recheck`` seconds later."""

    recheck: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """A node, or a process of it, was made to end; ``orderly`` is whether it could do what it had to."""

    node: int
    orderly: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Event):
    """Everybody has caught up, or the time for it is over; ``late`` says who has not."""

    begun: float
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside(Event):
    """What a process holds when nobody is connected: counts of Restive's objects by type."""

    pid: int
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident(Event):
    """The resident memory, in bytes, of a process after each schedule that it lived through."""

    pid: int
    sizes: tuple[int, ...]
