"""A push: one rendering on its way to those members of a variant who can take bytes at once.

Nothing is done for a client but to note what it has now, and to write the same bytes to its file
descriptor. Whoever has something else to be told as well, or takes nothing now, is told the usual way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..telemetry.metrics import Traffic
from .fanout import send_all
from .rendering import Form, Rendering
from .watch import Sink, Watch

if TYPE_CHECKING:
    from .variant import Variant

__all__ = ["Direct", "Push"]


class Direct(Sink, Protocol):
    """A sink on a bare transport."""

    form: Form
    """The bytes of a state as this client gets it."""
    wrote: bool
    """Whether something was written since it was last asked."""
    traffic: Traffic
    """What is counted of its transport."""

    def unsent(self, data: bytes) -> None:
        """Write ``data``, which the kernel had no room for."""
        ...


class Push:
    """The watches of one variant that have not been told yet."""

    __slots__ = ("_at", "_looks", "_rendering", "_variant", "_watches")

    def __init__(self, variant: Variant, watches: list[Watch]) -> None:
        self._variant, self._watches = variant, watches
        self._looks = variant.looks
        """As of now: who waits for a look that has begun by the time of writing is not told before it."""
        self._at = 0
        self._rendering = variant.rendering

    def mark(self, count: int) -> bool:
        """Tell the next ``count`` sinks that there is something to say. False: there are no more."""
        for watch in self._next(count):
            self._say_so(watch)
        return self._at < len(self._watches)

    def write(self, count: int) -> bool:
        """Write to the next ``count`` clients. False: there are no more."""
        variant = self._variant
        rendering, looks = variant.rendering, self._looks
        form: Form | None = None
        taking: list[Direct] = []
        groups: dict[Form, list[Direct]] = {}
        # Each client's turn is a few hundred nanoseconds: nothing is called here that need not be.
        for watch in self._next(count):
            sink, before = watch.sink, watch.seen
            if (
                sink.fd < 0
                or sink.queued
                or before is None
                or watch.variant is not variant
                or watch.end is not None
                or watch.since > looks
                or watch.patch
            ):
                self._say_so(watch)
                continue
            watch.seen = rendering
            if rendering is None or rendering is before or rendering.same_as(before):
                continue
            direct: Direct = sink  # type: ignore[assignment]  # it has a descriptor
            direct.wrote = True
            if direct.form is not form:
                form = direct.form
                taking = groups.setdefault(form, [])
            taking.append(direct)
        if rendering is not None:
            self._send(rendering, groups)
        return self._at < len(self._watches)

    def _send(self, rendering: Rendering, groups: dict[Form, list[Direct]]) -> None:
        target = self._variant.resource.target
        for form, taking in groups.items():
            data = rendering.wire(form, target)
            traffic = taking[0].traffic
            traffic.pushed(len(taking), len(taking) * len(data))
            if rendering is not self._rendering:  # which these clients have never seen
                traffic.skipped.value += len(taking)
            for index, sent in send_all([each.fd for each in taking], data):
                taking[index].unsent(data[sent:])

    def _say_so(self, watch: Watch) -> None:
        """Have ``watch`` tell what there is by itself; not where it has moved on, or waits for a look."""
        if watch.variant is self._variant and watch.since <= self._looks:
            watch.sink.ready(watch)

    def _next(self, count: int) -> list[Watch]:
        at = self._at
        self._at += count
        return self._watches[at : self._at]
