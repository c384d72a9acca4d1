"""Long poll over plain ASGI: the representation as soon as its tag differs (design 4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Problem
from ..http.fields import Fields
from ..hub.hub import Hub
from ..hub.rendering import Rendering
from ..hub.watch import FINAL, Current, End, State, Watch
from ..telemetry import metrics
from .answers import BODY_FIELDS, live_fields, merged, respond, respond_end, respond_problem
from .outlet import Outlet, Receive, Send, until_gone


@dataclass(frozen=True)
class Fetch:
    """The representation is not held here: the client's own GET must give it."""


@dataclass(frozen=True)
class Told:
    """The response was sent, or there is nobody to send it to."""


async def serve(
    hub: Hub,
    peer: str,
    begin: Callable[[Outlet], Watch],
    receive: Receive,
    send: Send,
    *,
    wait: float,
    preference: bool,
    extra: Fields = (),
) -> Fetch | Told:
    """Wait up to ``wait`` seconds. ``preference``: asked with Prefer, so silence is a 304, else a 204."""
    outlet = Outlet(hub, peer, metrics.LONG_POLL)
    watch: Watch | None = None
    reader: asyncio.Task[None] | None = None
    applied: Fields = ((b"preference-applied", b"wait=%d" % wait),) if preference else ()
    try:
        watch = begin(outlet)
        reader = asyncio.create_task(until_gone(receive, outlet))
        outcome = await _outcome(outlet, hub.now, wait, hub.settings.look_timeout)
    finally:
        if reader is not None:
            reader.cancel()
        if watch is not None:
            watch.close()
        outlet.close()
    if outlet.gone:
        return Told()
    if isinstance(outcome, State):
        if outcome.rendering.fetch:
            return Fetch()
        await _tell(send, outcome.rendering, applied, extra)
    elif isinstance(outcome, End):
        await respond_end(send, outcome.document, merged(outcome.fields, extra))
    elif outcome is None:
        detail = "The resource could not be read in time. Ask again."
        await respond_problem(
            send, Problem(503, "No answer yet", detail, headers={"Retry-After": "1"}), extra
        )
    else:
        tag = (b"etag", outcome.rendering.etag.encode("latin-1"))
        fields = (*live_fields(outcome.rendering.fields, b"")[1:], tag, *applied)
        await respond(send, 304 if preference else 204, merged(fields, extra))
    return Told()


async def _outcome(
    outlet: Outlet, now: Callable[[], float], wait: float, patience: float
) -> State | End | Current | None:
    """The first state or end; at the end of the time what is known."""
    current: Current | None = None
    begun = now()
    # Before the first look nobody can say that nothing is new, however short the client would wait.
    while not outlet.draining and not outlet.gone:
        left = begun + (wait if current is not None else max(wait, patience)) - now()
        if left <= 0 or not await outlet.wait(left):
            break
        for _, event in outlet.events():
            if isinstance(event, Current):
                current = event
            elif isinstance(event, State | End) and (current is None or event != End(FINAL)):
                return event
            # The client has the final state: there is nothing to hurry back for.
    return current


async def _tell(send: Send, rendering: Rendering, applied: Fields, extra: Fields) -> None:
    own = tuple(
        (name, value) for name, value in rendering.fields if name in BODY_FIELDS and name != b"content-length"
    )
    tag = ((b"etag", rendering.etag.encode("latin-1")),)
    fields = (*own, *tag, *live_fields(rendering.fields, b"")[1:], *applied)
    metrics.LONG_POLL.pushed(1, len(rendering.body))
    await respond(send, rendering.status, merged(fields, extra), rendering.body)
