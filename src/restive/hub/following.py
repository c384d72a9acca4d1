"""A watch of a stream: every item from an offset on, for as long as a GET of it would be answered.

The right to read is a watch of its own, of the same URI: its looks run the app's guards at the beginning and
at every recheck, and its end is this one's. Nothing is queued here: the next items are taken when the client
can take them, so a slow one costs its offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from ..http.fields import Fields
from ..http.key import RequestKey
from .watch import Batch, Closed, Current, End, Event, Items, Sink, State, Watch

__all__ = ["Follower", "Following", "Gone"]


class Gone(NamedTuple):
    """A stream that cannot be followed further, as a problem document."""

    document: Mapping[str, Any]


class Follower(Protocol):
    """One reader's place in a stream."""

    def take(self) -> Batch | Gone | None:
        """The next items; None where there are none yet."""
        ...

    def close(self) -> None:
        """The reader is gone. May be called twice."""
        ...


class Following(Watch):
    """Made by the front door; ``close`` ends it."""

    __slots__ = ("_allowed", "_follower", "_guard", "_later", "fields")

    def __init__(
        self,
        sink: Sink,
        key: RequestKey,
        guard: Callable[[Sink], Watch],
        follow: Callable[[Callable[[], None]], Follower],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        """``guard`` begins the watch that says whether it may be read, and ``follow`` the reading, which
        calls back where there is more; ``later`` calls in another turn of the loop. Raises what they raise.
        """
        Watch.__init__(self, sink, key, None)
        self._allowed = False
        self.fields: Fields = ()
        """What the app says with the right to read."""
        self._later = later
        self._guard: Watch | None = None
        self._follower: Follower | None = None
        self._guard = guard(_Guarded(self))
        try:
            self._follower = follow(self._more)
        except BaseException:
            self._guard.close()
            raise

    def take(self) -> list[Event]:
        """The next items, if it may be read; what is taken counts as told."""
        if self.over:
            return []
        if self.end is not None:
            return self._ended(self.end)
        found = self._follower.take() if self._allowed and self._follower is not None else None
        if found is None:
            return []
        if isinstance(found, Gone):
            return self._ended(End(found.document))
        if found.closed:
            return [Items(found), *self._ended(Closed())]
        # Not at once: the client's transport says between two batches whether it takes more.
        self._later(self._more)
        return [Items(found)]

    def close(self) -> None:
        """The client does not want it any more. May be called twice."""
        self.over = True
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()

    def judged(self, guard: Watch) -> None:
        """A look at the right to read has said something new."""
        for event in guard.take():
            if isinstance(event, End):
                self.ended(event)
            elif not self._allowed and isinstance(event, State | Current):
                self._allowed, self.fields = True, event.rendering.fields
                self._more()

    def _more(self) -> None:
        """There may be something to tell."""
        if not self.over:
            self.sink.ready(self)

    def _ended(self, last: Event) -> list[Event]:
        self.close()
        return [last]


class _Guarded:
    """The sink of the watch that guards a stream: whether it may be read is all that it tells."""

    __slots__ = ("_following", "peer")

    fd, queued = -1, False

    def __init__(self, following: Following) -> None:
        self._following = following
        self.peer = following.sink.peer

    def ready(self, watch: Watch) -> None:
        """It has something to tell."""
        self._following.judged(watch)
