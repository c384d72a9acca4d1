"""Long poll over plain ASGI: the representation as soon as its tag differs (design 4.2).

Of many resources it is answered with the objects of those that have something to tell. Each is looked at
before, so that whoever asks again at once is not answered by one resource after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from ..errors import Problem
from ..http.fields import Fields
from ..hub.following import Following
from ..hub.hub import Hub
from ..hub.rendering import Rendering
from ..hub.watch import FINAL, Current, End, Event, Items, State, Watch
from ..telemetry import metrics
from .answers import BODY_FIELDS, live_fields, merged, respond, respond_end, respond_problem
from .forms import frame
from .outlet import Outlet, Receive, Send, until_gone

GRACE = 0.5
"""Seconds for which what is to be told waits for resources that were not looked at yet."""


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
    applied = _applied(wait, preference)
    async with _watching(outlet, lambda: [begin(outlet)], receive):
        outcome = await _outcome(outlet, hub.now, wait, hub.settings.look_timeout)
    if outlet.gone:
        return Told()
    if isinstance(outcome, State):
        if outcome.rendering.fetch:
            return Fetch()
        await _tell(send, outcome.rendering, applied, extra)
    elif isinstance(outcome, End):
        await respond_end(send, outcome.document, merged(outcome.fields, extra))
    elif outcome is None:
        await respond_problem(send, _no_answer("The resource could not be read in time."), extra)
    else:
        tag = (b"etag", outcome.rendering.etag.encode("latin-1"))
        fields = (*live_fields(outcome.rendering.fields, b"")[1:], tag, *applied)
        await respond(send, 304 if preference else 204, merged(fields, extra))
    return Told()


async def serve_many(
    hub: Hub,
    peer: str,
    begin: Callable[[Outlet], Sequence[Watch]],
    receive: Receive,
    send: Send,
    *,
    wait: float,
    preference: bool,
    extra: Fields = (),
) -> None:
    """Wait up to ``wait`` seconds until some of many watches have something to tell.

    What they tell is an array of the socket's objects; 204 where all are current. Raises what ``begin`` does.
    """
    outlet = Outlet(hub, peer, metrics.LONG_POLL)
    async with _watching(outlet, lambda: begin(outlet), receive) as watches:
        heard = Heard(watches)
        await _hear(heard, outlet, hub.now, wait, hub.settings.look_timeout)
    if outlet.gone:
        return
    fields = (*live_fields((), b"application/json"), *_applied(wait, preference))
    if heard.news or (heard.told and heard.awaited):
        told = [frame(watch, event) for watch, events in heard.told.items() for event in events]
        data = b"[%b]" % b",".join(told)
        metrics.LONG_POLL.pushed(len(told), len(data))
        await respond(send, 200, merged(fields, extra), data)
    elif heard.awaited:
        await respond_problem(send, _no_answer("No resource could be read in time."), extra)
    else:
        await respond(send, 204, merged(fields[1:], extra))


class Heard:
    """What the watches of one long poll have told so far.

    A state takes the place of an older one, and a problem that of any state: nothing that was rendered before
    a right was withdrawn is told after it.
    """

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.told: dict[Watch, list[Event]] = {}
        self.awaited = {watch for watch in watches if not isinstance(watch, Following)}
        """Resources that were not looked at yet."""
        self.news = False
        """Whether there is more to tell than that they are current."""
        self.full = False
        """Items of a stream are there: who waits would get more and more of them."""

    def take(self, watch: Watch, event: Event) -> None:
        """``watch`` tells ``event``."""
        self.awaited.discard(watch)
        self.news = self.news or not isinstance(event, Current)
        self.full = self.full or isinstance(event, Items)
        before = self.told.pop(watch, [])
        if isinstance(event, State):
            before, event = [], State(event.rendering, None)  # what it was based on may not have been told
        elif isinstance(event, End) and event.document is not FINAL:
            before = []
        self.told[watch] = [*before, event]


async def _hear(heard: Heard, outlet: Outlet, now: Callable[[], float], wait: float, patience: float) -> None:
    """Listen until there are news, or the time is up."""
    begun, until = now(), inf
    while not outlet.draining and not outlet.gone and not heard.full:
        if heard.news and not heard.awaited:
            return
        if heard.news:
            until = min(until, now() + GRACE)
        elif not heard.awaited:
            until = begun + wait
        else:
            # Who asks without a tag does not wait for longer than a look may take.
            until = begun + (max(GRACE, min(wait, patience)) if heard.told else patience)
        if until <= now() or not await outlet.wait(until - now()):
            return
        for watch, event in outlet.events():
            heard.take(watch, event)


@asynccontextmanager
async def _watching(
    outlet: Outlet, begin: Callable[[], Sequence[Watch]], receive: Receive
) -> AsyncIterator[Sequence[Watch]]:
    """The watches that ``begin`` begins; closed with the block, as is the outlet."""
    watches: Sequence[Watch] = ()
    reader: asyncio.Task[None] | None = None
    try:
        watches = begin()
        reader = asyncio.create_task(until_gone(receive, outlet))
        yield watches
    finally:
        if reader is not None:
            reader.cancel()
        for watch in watches:
            watch.close()
        outlet.close()


def _applied(wait: float, preference: bool) -> Fields:
    return ((b"preference-applied", b"wait=%d" % wait),) if preference else ()


def _no_answer(detail: str) -> Problem:
    return Problem(503, "No answer yet", f"{detail} Ask again.", headers={"Retry-After": "1"})


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
