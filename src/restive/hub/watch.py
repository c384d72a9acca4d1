"""A watch: one client's wish to have a resource's latest rendering, and what it was last told.

A cursor, not a queue (design 1.4): when the client can take something it gets what is current.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ..http.key import RequestKey
from ..http.validators import same
from .rendering import Rendering

if TYPE_CHECKING:
    from .variant import Variant

FINAL: Mapping[str, Any] = {"status": 200}
"""The end of a watch whose last state is final."""


class Sink(Protocol):
    """What a transport is to the hub."""

    peer: str
    fd: int
    """The descriptor of a socket that takes bytes at once, as a ``push.Direct``; -1 where there is none."""
    queued: bool
    """Whether it is going to write already."""

    def ready(self, watch: Watch) -> None:
        """``watch`` has something to tell; called on the loop, must not block or raise."""
        ...


class Batch(Protocol):
    """Some items of a stream, the same object for all who get them."""

    @property
    def items(self) -> Sequence[bytes]:
        """JSON texts, or pieces of a text or of bytes, as ``kind`` says."""
        ...

    @property
    def kind(self) -> Literal["json", "text", "bytes"]:
        """What the items are."""
        ...

    @property
    def offset(self) -> str:
        """Behind the last item."""
        ...

    @property
    def closed(self) -> bool:
        """Nothing comes behind the last item, ever."""
        ...

    @property
    def up_to_date(self) -> bool:
        """Nothing was behind the last item when it was read."""
        ...

    @property
    def forms(self) -> dict[Any, bytes]:
        """How it is written on each transport."""
        ...


class State(NamedTuple):
    """Tell the client this rendering; ``base`` is what it has, where it asked for patches."""

    rendering: Rendering
    base: Rendering | None


class Current(NamedTuple):
    """Tell the client that what it has is current."""

    rendering: Rendering


class End(NamedTuple):
    """Tell the client that the watch is over, and why (a problem, or ``{"status": 200}``)."""

    document: Mapping[str, Any]
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Refusal(NamedTuple):
    """Tell the client that this watch was not begun, and why; others on its connection were."""

    document: Mapping[str, Any]


class Items(NamedTuple):
    """Tell the client these items of a stream."""

    batch: Batch

    def wire(self, form: Callable[[Batch, str], bytes], on: str) -> bytes:
        """The batch in one form, made once for all who read it under the same target."""
        forms = self.batch.forms
        data = forms.get((form, on))
        if data is None:
            data = forms[form, on] = form(self.batch, on)
        return data


class Closed(NamedTuple):
    """Tell the client that the stream has ended, all of which it was told; the watch is over."""


Event = State | Current | End | Refusal | Items | Closed
LAST = (End, Refusal, Closed)
"""The events after which nothing more comes of a watch."""


class Watch:
    """One member of a variant. Made by ``Hub.watch``; ``close`` ends it."""

    __slots__ = ("audience", "cursor", "end", "key", "over", "patch", "seen", "since", "sink", "variant")

    def __init__(
        self,
        sink: Sink,
        key: RequestKey,
        cursor: str | None,
        *,
        patch: bool = False,
        audience: str | None = None,
    ) -> None:
        self.sink = sink
        self.key = key
        self.cursor = cursor
        self.patch = patch
        self.audience = audience
        self.seen: Rendering | None = None
        self.end: End | None = None
        self.over = False
        self.since = 0
        """The first look of the variant that may be told: one that began after the watch had joined."""
        self.variant: Variant | None = None

    @property
    def on(self) -> str:
        """The target, as events name it."""
        return self.key.target

    def whole(self) -> Rendering | None:
        """The state to tell now, where that is all there is and it is told whole; else None: see ``take``."""
        variant = self.variant
        if variant is None or self.end is not None or self.patch:
            return None
        rendering, before = variant.rendering, self.seen
        if rendering is None or (self.cursor is not None if before is None else rendering.same_as(before)):
            return None
        self.seen = rendering
        return rendering

    def take(self) -> list[Event]:
        """What there is to tell now; what is taken counts as told."""
        events: list[Event] = []
        if self.over:
            return events
        rendering = self.variant.rendering if self.variant is not None else None
        # A problem ends the watch at once: nothing that was rendered before a right was
        # withdrawn is told after it.
        if rendering is not None and (self.end is None or self.end.document is FINAL):
            self._take_state(rendering, events)
        if self.end is not None:
            events.append(self.end)
            self.over, self.variant = True, None
        return events

    def _take_state(self, rendering: Rendering, events: list[Event]) -> None:
        before, self.seen = self.seen, rendering
        if before is None:
            known = self.cursor is not None and same(self.cursor, rendering.etag)
            events.append(Current(rendering) if known else State(rendering, None))
        elif rendering is not before and not rendering.same_as(before):
            events.append(State(rendering, before if self.patch else None))

    def ended(self, end: End) -> None:
        """The hub says that it is over; the sink is told."""
        if self.end is None:
            self.end = end
            self.sink.ready(self)

    def close(self) -> None:
        """The client does not want it any more. May be called twice."""
        variant, self.variant, self.over = self.variant, None, True
        if variant is not None:
            variant.leave(self)
