"""The backend port: what carries announcements between processes, streams and records.

All methods block and may be called from any thread; code on an event loop calls them in a
thread (``restive.backends.offload``), except where ``blocking`` is false. Names are text of any
characters, 1 to 512 UTF-8 bytes, and each adapter encodes them for its engine; a record's value,
an item and an announcement have at most 1 MiB. What is out of these bounds raises ValueError, an
engine that cannot be reached or has failed BackendUnavailable. What an acknowledgement (a method
that returned) means, docs/backends.md says for each adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

__all__ = [
    "LOST",
    "Announce",
    "Append",
    "Backend",
    "Delete",
    "Drop",
    "Listener",
    "Page",
    "Record",
    "Save",
    "Step",
    "Trimmed",
]

LOST: None = None
"""What a listener gets instead of a payload when announcements may have been lost: look at everything."""

Listener = Callable[[bytes | None], None]


@dataclass(frozen=True, slots=True)
class Record:
    """A stored value and its version, which grows with every save (never 0)."""

    name: str
    value: bytes
    version: int


class Trimmed(ValueError):
    """Items behind this offset were dropped because a later append kept only so many."""


@dataclass(frozen=True, slots=True)
class Page:
    """Items of a stream after an offset. ``next`` resumes behind the last of them."""

    items: Sequence[bytes]
    next: str
    closed: bool
    """The stream is closed and ``next`` is its end."""
    up_to_date: bool
    """Nothing was behind ``next`` when the page was read."""


@dataclass(frozen=True, slots=True)
class Save:
    """As ``Backend.save``: a compare-and-set, or with version None whatever is there."""

    name: str
    value: bytes
    version: int | None = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """As ``Backend.delete``; with a version only that one is deleted, any other is a Conflict (0: none)."""

    name: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """Append ``items`` atomically, which makes the stream where there is none; ``close`` ends it for good.

    With ``after`` only if the stream ends there: an offset that an append or a page has given, or "" for
    "there is no such stream". Anything else, and a closed stream, is a Conflict. ``keep`` drops the oldest
    items once there are more (0: never); at least the newest ``keep`` stay, perhaps some hundreds more.
    """

    stream: str
    items: Sequence[bytes] = ()
    close: bool = False
    after: str | None = None
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """As ``Backend.drop``."""

    stream: str


@dataclass(frozen=True, slots=True)
class Announce:
    """As ``Backend.announce``; heard once the steps before it can be read."""

    payload: bytes


Step = Save | Delete | Append | Drop | Announce


class Backend(Protocol):
    """One store. Constructing opens nothing; the first call does; never used across a fork."""

    blocking: ClassVar[bool]
    shared: ClassVar[bool]
    """Whether other processes see what this one writes."""

    # Announcements: every listener of every process that is connected gets each payload, in the
    # order of each announcer, at least once; where some may be lost the listener gets LOST instead.
    def announce(self, payload: bytes) -> None: ...
    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` (from any thread) with each payload until the returned function is called.

        Nothing announced after ``listen`` returned is missed, this process's own announcements
        included. The listener returns quickly and may call nothing of the backend but that function;
        a call that has begun may end after it. A listener that raises is logged and goes on listening.
        """
        ...

    # Streams: append-only, every item in order, one offset each. Offsets are opaque text that
    # sorts like the items; "" is the start. An offset of a wiped or deleted store is refused.
    def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        close: bool = False,
        after: str | None = None,
        keep: int = 0,
    ) -> str:
        """Do ``Append`` and return the offset behind the last item. Raises Conflict."""
        ...

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        """At most ``limit`` items after an offset, fewer where they are large (a page holds about 4 MiB).

        After "" come the oldest that are kept. Raises KeyError for no such stream, ``Trimmed`` where items
        behind the offset were dropped, ValueError for an offset that is not its own.
        """
        ...

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        ...

    # Records: small values (up to 1 MiB) under a name, changed by compare-and-set.
    def load(self, name: str) -> Record | None: ...
    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: there is none) and return the new one.

        A version of a deleted record fits no later one of that name. Raises Conflict.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        ...

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        ...

    # Batches: what belongs together, acknowledged at once.
    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        """Do the steps in order; what each returned: a version, an offset or None.

        The first that finds a Conflict raises it, and none after it is done. The steps before it are
        undone where the engine has transactions (memory, SQLite) and stay done elsewhere, as they may after
        a crash; so put first what is harmless without the rest, and the deciding compare-and-set before
        what follows from it. Steps out of bounds raise ValueError before anything is done. With
        ``durable=False`` everyone sees them, but an engine that is slow to make things last need not wait
        for it: a loss of power may undo them, as a whole and not without the later ones.
        """
        ...

    def probe(self) -> None:
        """Ask the engine for a sign of life. Raises BackendUnavailable where none comes in about 2 s."""
        ...

    def close(self) -> None:
        """Release everything; listeners are called no more. The next call opens anew."""
        ...
