"""Event streams and NDJSON over plain ASGI: one resource, or many on one response (design 4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from ..http.fields import Fields
from ..hub.hub import Hub
from ..hub.watch import LAST, Current, End, Event, Sink, Watch
from .answers import body, live_fields, merged, respond, respond_end, start
from .bare import Caller
from .bare_stream import BareStream
from .forms import Form
from .outlet import Outlet, Receive, Send, Stalled, send_in_time, until_gone
from .takeover import HttpTakeover, Opened, OpenStream

Begin = Callable[[Outlet], Sequence[Watch]]
"""Starts the watches of a connection; may raise ``Problem`` before anything was written."""


class Stream:
    """One response that stays open and tells the events of its watches."""

    def __init__(
        self,
        hub: Hub,
        form: Form,
        peer: str,
        retry_ms: Callable[[], int],
        extra: Fields = (),
        *,
        takeover: HttpTakeover | None = None,
        caller: Caller | None = None,
        reopen: Callable[[], OpenStream | None] = lambda: None,
    ) -> None:
        """``takeover``, with the ``caller`` to be told of the end, puts the stream on the bare transport.

        ``reopen`` then gives what opens it where the same request comes again; None: nothing does.
        """
        self._hub = hub
        self._peer, self._takeover, self._caller = peer, takeover, caller
        self.taken = False
        """Whether the stream goes on without this call."""
        self._form = form
        self._outlet = Outlet(hub, peer, form.traffic)
        self._retry_ms = retry_ms
        self._extra = extra
        self._reopen = reopen
        self._left = 0

    async def serve(self, begin: Begin, receive: Receive, send: Send, *, single: bool) -> None:
        """Run until every watch has ended, the client has gone or the server stops."""
        watches: Sequence[Watch] = ()
        reader: asyncio.Task[None] | None = None
        try:
            watches = begin(self._outlet)
            self._left = len(watches)
            reader = asyncio.create_task(until_gone(receive, self._outlet))
            if single:
                await self._serve_one(send, watches)
            elif not self._take(watches, (), []):
                await self._open(send, ())
                await self._pump(send, [])
        except Stalled:
            return  # an incomplete response makes the server close the connection
        finally:
            if reader is not None:
                reader.cancel()
            if not self.taken:
                for watch in watches:
                    watch.close()
            self._outlet.close()

    def _take(self, watches: Sequence[Watch], fields: Fields, events: Sequence[tuple[Watch, Event]]) -> bool:
        """Go on without this call, where the server offers it."""
        if self._takeover is None or self._caller is None or self._outlet.draining:
            return False
        bare = BareStream(
            self._hub, self._peer, self._caller, self._form, self._retry_ms, watches, self._left
        )
        fields = head(fields, self._form, self._extra)
        if not self._takeover.respond(bare, 200, fields, self._reopen()):
            return False
        self.taken = True
        bare.adopt(self._outlet.rest())
        bare.first(events)
        return True

    async def _serve_one(self, send: Send, watches: Sequence[Watch]) -> None:
        """The status line waits for the first outcome, so that a 404 is a 404."""
        settings, outlet = self._hub.settings, self._outlet
        events: list[tuple[Watch, Event]] = []
        until = self._hub.now() + settings.heartbeat
        # What woke it may come to nothing yet: a stream's items before it is known that they may be read.
        while not (events or outlet.gone or outlet.draining):
            if not await outlet.wait(max(0.0, until - self._hub.now())):
                break
            events = list(outlet.events())
        if outlet.gone:
            return
        kinds = [type(event) for _, event in events]
        if kinds == [End]:
            end = events[0][1]
            assert isinstance(end, End)
            await respond_end(send, end.document, merged(end.fields, self._extra))
        elif kinds == [Current, End]:
            await respond(send, 204, merged(live_fields(self._form.fields(*events[0]), b"")[1:], self._extra))
        else:
            fields = self._form.fields(*events[0]) if events else ()
            if not self._take(watches, fields, events):
                await self._open(send, fields)
                await self._pump(send, events)

    async def _open(self, send: Send, fields: Fields) -> None:
        await send(start(200, head(fields, self._form, self._extra)))
        await send(body(self._form.silence, more=True))

    async def _pump(self, send: Send, events: list[tuple[Watch, Event]]) -> None:
        settings, outlet, form = self._hub.settings, self._outlet, self._form
        while True:
            data = b"".join([form.event(watch, event) for watch, event in events])
            form.traffic.pushed(len(events), len(data))
            self._left -= sum(isinstance(event, LAST) for _, event in events)
            if outlet.draining:
                data += form.retry(self._retry_ms())
            if not self._left or outlet.draining:
                await send_in_time(send, body(data), settings.stall)
                return
            if data:
                await send_in_time(send, body(data, more=True), settings.stall)
            if not await outlet.wait(settings.heartbeat):
                await send_in_time(send, body(form.silence, more=True), settings.stall)
            if outlet.gone:
                return
            events = list(outlet.events())


def head(fields: Fields, form: Form, extra: Fields) -> Fields:
    """The fields of a stream whose first state has ``fields``."""
    return merged(((b"cache-control", form.caching),), merged(live_fields(fields, form.media_type), extra))


class _Unheard:
    """A sink that has nobody to tell yet."""

    fd, queued = -1, False

    def __init__(self, peer: str) -> None:
        self.peer = peer

    def ready(self, watch: Watch) -> None:
        """It is asked what it has to tell as soon as it has begun."""


def reopened(
    hub: Hub,
    form: Form,
    peer: str,
    retry_ms: Callable[[], int],
    extra: Fields,
    caller: Caller,
    begin: Callable[[Sink], Watch],
) -> Opened:
    """One more stream of one resource, of which the hub ``tells`` a state at once; ``begin`` may raise."""
    watch = begin(_Unheard(peer))
    (event,) = watch.take()
    bare = BareStream(hub, peer, caller, form, retry_ms, [watch], 1)
    bare.adopt(())
    form.traffic.connections.value += 1
    return Opened(bare, head(form.fields(watch, event), form, extra), partial(bare.first, [(watch, event)]))
