"""A recorded history: what clients asked and saw, what was done to the servers, what the functions wrote.

Times are in seconds, of ``time.monotonic``; ``asked`` is when a request began, ``at`` when its answer was
there. An operation is known by its path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from .journal import Note

FINAL = {"succeeded", "failed", "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Event):
    """One try to submit; ``op`` is empty where it was not acknowledged, ``status`` 0 without an answer."""

    key: str
    asked: float
    status: int
    op: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Event):
    """A document that ``who`` saw: pushed to a watcher, or the answer to a GET (``over`` is "get")."""

    who: str
    over: str
    op: str
    status: int = 200
    asked: float = 0.0
    document: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Event):
    """The end of a watch: ``how`` is "final", or the status of its problem."""

    who: str
    op: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRead(Event):
    """One GET of a part; ``whole`` says whether the body came to its end."""

    op: str
    name: str
    asked: float
    status: int
    whole: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsListed(Event):
    """The parts of an operation: (name, digest) of each, in order."""

    op: str
    asked: float
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """A cancel or delete and its answer; ``status`` 0: there was none."""

    what: str
    op: str
    asked: float
    status: int
    document: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Event):
    """All operations that the listing of the collections shows at the end."""

    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """What was done to the servers, from ``at`` until ``until``."""

    what: str
    until: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue(Event):
    """What should be gone and is not: a process, a port, a mark in the store."""

    what: str


E = TypeVar("E", bound=Event)


@dataclass
class History:
    """``owner`` of all operations is one; ``notes`` are the functions' own."""

    events: list[Event] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E], op: str | None = None) -> list[E]:
        """The events of one kind, of one operation or of all."""
        found = [each for each in self.events if isinstance(each, kind)]
        return found if op is None else [each for each in found if getattr(each, "op", None) == op]

    def acknowledged(self) -> list[str]:
        """The operations that clients know of, in order."""
        return list(dict.fromkeys(each.op for each in self.of(Submitted) if each.op))

    def deleted(self, *, perhaps: bool = False) -> set[str]:
        """Those whose DELETE was acknowledged, or with ``perhaps`` asked for."""
        asks = [each for each in self.of(Asked) if each.what == "delete"]
        return {each.op for each in asks if perhaps or each.status == 204}

    def notes_of(self, op: str, *what: str) -> list[Note]:
        """What the operation's functions wrote."""
        identity = op.rpartition("/")[2]
        return [each for each in self.notes if each.op == identity and (not what or each.what in what)]

    def verdict(self, op: str) -> View | None:
        """The last GET that was answered."""
        gets = [each for each in self.of(View, op) if each.over == "get"]
        return max(gets, key=lambda it: it.asked, default=None)

    def told(self, ops: Iterable[str], begin: float, most: int = 400) -> str:
        """The lines of some operations and of all faults, for a report; times from ``begin``."""
        wanted = set(ops)
        identities = {op.rpartition("/")[2] for op in wanted}
        lines = [
            (each.at, _source(each), _told(each))
            for each in self.events
            if isinstance(each, Fault | Residue) or getattr(each, "op", None) in wanted
        ]
        lines += [
            (each.at, f"{each.what}{each.at}", f"  note {each.what} …{each.op[-6:]} {_note(each)}")
            for each in self.notes
            if each.op in identities or each.what == "late"
        ]
        told, last = [], dict[str, str]()
        for at, source, text in sorted(lines):
            if last.get(source) != text:
                told.append(f"{at - begin:8.3f} {text}")
            last[source] = text
        return "\n".join(told[:most])


def _source(event: Event) -> str:
    """Of events that say the same, one after the other, only the first is told."""
    return f"{type(event).__name__} {getattr(event, 'op', '')} {getattr(event, 'who', '')}"


def _told(event: Event) -> str:
    values = asdict(event)
    document = values.pop("document", None)
    if document is not None:
        values |= {name: document.get(name) for name in ("status", "attempt", "parts")}
        values["done"] = (document.get("progress") or {}).get("completed")
    if values.get("digest"):
        values["digest"] = values["digest"][9:17]
    if "op" in values:
        values["op"] = f"…{values['op'][-6:]}"
    fields = " ".join(f"{name}={value}" for name, value in values.items() if name not in {"at", "asked"})
    return f"{type(event).__name__} {fields}"


def _note(note: Note) -> str:
    return f"attempt {note.attempt} pid {note.pid} {note.detail or ''}"
