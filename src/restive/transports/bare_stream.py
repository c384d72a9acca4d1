"""An event stream or NDJSON on a bare transport, from its first event on: chunks of a response left open.

What comes before, the status above all, is ``stream``'s; the watches are handed over with the transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..hub.hub import Hub
from ..hub.watch import LAST, Event, State, Watch
from ..telemetry.metrics import Traffic
from .bare import FAREWELL, Bare, Caller
from .forms import Form, chunk

__all__ = ["BareStream"]

FINAL_CHUNK = b"0\r\n\r\n"
"""The chunk that ends a body (RFC 9112, section 7.1)."""


class BareStream(Bare):
    """One response."""

    __slots__ = ("_form", "_left", "_retry_ms", "_watches")

    def __init__(
        self,
        hub: Hub,
        peer: str,
        caller: Caller,
        form: Form,
        retry_ms: Callable[[], int],
        watches: Sequence[Watch],
        left: int,
    ) -> None:
        Bare.__init__(self, hub, peer, caller, form.chunk)
        self._form, self._retry_ms = form, retry_ms
        self._watches = tuple(watches)
        self._left = left

    @property
    def traffic(self) -> Traffic:  # type: ignore[override]  # a socket's never changes
        """That of its form."""
        return self._form.traffic

    def data_received(self, data: bytes) -> None:
        """The client has nothing more to say on this connection."""

    def adopt(self, ready: Iterable[Watch]) -> None:
        """The watches tell this from now on; ``ready`` have something to tell already."""
        for watch in self._watches:
            watch.sink = self
        for watch in ready:
            self.ready(watch)

    def first(self, events: Sequence[tuple[Watch, Event]]) -> None:
        """Write what is known already: the form's silence, so that a client sees the head, and events."""
        if self._transport is not None:
            self._left -= sum(isinstance(event, LAST) for _, event in events)
            told = b"".join(self._form.event(*each) for each in events)
            self.traffic.pushed(len(events), len(told))
            self._transport.write(chunk(self._form.silence + told))
            self._finish()

    def flush(self) -> None:
        """Write, and end with the last watch."""
        Bare.flush(self)
        self._finish()

    def event(self, watch: Watch, event: Event) -> bytes:
        """``event`` as a chunk."""
        if isinstance(event, State) and event.base is None:
            return event.rendering.wire(self.form, watch.on)
        self._left -= isinstance(event, LAST)
        return chunk(self._form.event(watch, event))

    def _finish(self) -> None:
        if not self._left and not self._over:
            self._end(FINAL_CHUNK, self._hub.settings.stall)

    def _end(self, data: bytes, within: float) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self.finish(within)
            self._transport.close()

    def beat(self) -> None:
        """An empty comment or line."""
        if self._transport is not None:
            self._transport.write(chunk(self._form.silence))

    def farewell(self) -> None:
        """Say when to come back, and end."""
        self._end(chunk(self._form.retry(self._retry_ms())) + FINAL_CHUNK, FAREWELL)

    def lost(self) -> None:
        """Let go of the watches."""
        for watch in self._watches:
            watch.close()
