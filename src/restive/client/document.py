"""The document of an operation as a client has it: the JSON that came, and what of it is more than JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import ClientError

__all__ = ["FINAL", "OperationState", "Place"]

FINAL = frozenset({"succeeded", "failed", "canceled"})
"""The statuses that never change."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued operation stands.

    ``position`` is 1 for the next one, and None where the server does not know it. ``starts`` is when it is
    expected to start, None where nothing can be said.
    """

    position: int | None
    starts: datetime | None


class OperationState(dict[str, Any]):
    """The document: a dict with the members that the server sent.

    ``url`` is the operation's own, absolute.
    """

    def __init__(self, document: Mapping[str, Any], url: str) -> None:
        super().__init__(document)
        self.url = url

    @classmethod
    def of(cls, found: Any, url: str) -> OperationState:
        """The document that ``url`` answered. Raises ``ClientError`` where it is that of no operation."""
        if not isinstance(found, dict) or "status" not in found:
            raise ClientError("This is not the document of an operation.")
        return cls(found, url)

    @property
    def queue(self) -> Place | None:
        """Its place in the queue; None once it runs, and of a server that does not tell."""
        found = self.get("queue")
        if not isinstance(found, dict):
            return None
        position = found.get("position")
        return Place(position if isinstance(position, int) else None, _date(found.get("starts")))


def _date(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
