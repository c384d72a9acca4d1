"""What carries watches: the socket, or the HTTP request that all watches of a transport share.

    board ──> riders ──ask──> number ──> down: rests, and its riders are told
                ^  └─ coming and going: the socket by frames, a request by the next one ─┘

A request names its riders, so that another takes its place when they change; changes within a short time
are gathered, and nothing is lost, since each rider resumes by its tag. Polls and fetches ride alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf

from ..wire.messages import unwatch_frame, watch_frame
from .attempt import (
    Action,
    Ask,
    Asking,
    Attempt,
    CloseSocket,
    OpenSocket,
    SendFrame,
    Stop,
    Target,
    Waiting,
    Watched,
    Watches,
)
from .ladder import Ladder
from .news import Failure
from .policy import Policy, Transport
from .state import same_tag

__all__ = ["Carrier", "Carriers", "Rider"]

TOGETHER = 200
"""Watches on one request: what a server takes by default."""

Rider = tuple[Watched, Attempt]


@dataclass(slots=True, eq=False)
class Carrier:
    """A socket, or one HTTP request after the other."""

    transport: Transport
    shared: bool = True  # False: it is for one attempt
    riders: dict[Attempt, Watched] = field(default_factory=dict)
    number: int = 0  # of what is under way; 0: nothing is
    opened: bool = False  # the socket's handshake is done
    many: bool = False  # what is under way names several targets
    asked: float = -inf  # when it was made
    alive: float = -inf  # when bytes came on it last
    heard: float | None = None  # since when it delivers
    again: float | None = None  # when the server wants us back, in seconds
    due: float = inf  # a request is made then, as riders have come or gone
    gather: float = 0.0  # how long it waited for more of them before the last one
    quick: int = 0  # answers in a row that came at once (long poll)
    failures: int = 0
    rest: float = -inf  # it is not used before
    until: float = inf  # the socket is given up, as nobody needs it

    def told(self) -> list[Rider]:
        """Those whom news of what is under way concern."""
        if not self.number:
            return []
        return [(watch, attempt) for attempt, watch in self.riders.items() if attempt.number == self.number]


class Carriers:
    """Those of one origin. What the shell has to do is put into ``out``."""

    def __init__(
        self,
        policy: Policy,
        random: Callable[[], float],
        ladder: Ladder,
        watches: Watches,
        out: list[Action],
    ) -> None:
        self._policy = policy
        self._random = random
        self._ladder = ladder
        self._watches = watches
        self._out = out
        self._numbers = count(1)
        self._under_way: dict[int, Carrier] = {}
        self._shared: list[Carrier] = []

    def find(self, number: int) -> Carrier | None:
        """The carrier of which ``number`` is under way."""
        return self._under_way.get(number)

    def deadline(self) -> float:
        """When one of them has to be looked after; ``inf``: never."""
        return min((min(each.due, each.until) for each in self._shared), default=inf)

    # -- coming and going --------------------------------------------------------------------

    def board(self, watch: Watched, attempt: Attempt, now: float) -> None:
        """Let ``attempt`` ask, now or with others."""
        carrier = attempt.carrier = self._carrier_for(watch, attempt, now)
        if carrier.rest > now:
            attempt.phase = Waiting(carrier.rest)
            return
        carrier.riders[attempt] = watch
        attempt.number = 0
        if carrier.transport == "websocket":
            self._join_socket(carrier, watch, attempt, now)
        elif carrier.shared:
            attempt.phase = Asking(now, inf)
            self._touch(carrier, now)
        else:
            self._ask(carrier, now)

    def _carrier_for(self, watch: Watched, attempt: Attempt, now: float) -> Carrier:
        transport = attempt.transport
        together = not attempt.alone and watch.want.fits_frame and self._ladder.shares(transport, now)
        if transport != "websocket" and not together:
            own = attempt.carrier
            return Carrier(transport, shared=False) if own is None or own.shared else own
        for carrier in self._shared:
            if carrier.transport == transport and self._takes(carrier, watch):
                return carrier
        self._shared.append(Carrier(transport))
        return self._shared[-1]

    def _takes(self, carrier: Carrier, watch: Watched) -> bool:
        """Whether there is room: a request has one watch for each target, as the socket has."""
        if carrier.transport == "websocket":
            return True
        others = (
            other.want.headers
            for other in self._watches.of(watch.want.target)
            for attempt in other.attempts()
            if attempt in carrier.riders
        )
        return len(carrier.riders) < TOGETHER and all(headers == watch.want.headers for headers in others)

    def leave(self, watch: Watched, attempt: Attempt, now: float, *, told: bool = False) -> None:
        """Nobody listens to ``attempt`` any more. ``told``: the server knows, since it has ended it."""
        carrier = attempt.carrier
        if carrier is None or carrier.riders.pop(attempt, None) is None:
            return
        missed = not any(attempt in carrier.riders for attempt in self._of(watch.want.target))
        if carrier.transport == "websocket":
            attempt.phase = Waiting(inf)
            if carrier.opened and missed and not told:
                self._out.append(SendFrame(carrier.number, unwatch_frame(watch.want.target)))
        elif not carrier.riders:
            self.close(carrier)
        elif missed and attempt.number and not told:
            self._touch(carrier, now)

    def _of(self, target: str) -> list[Attempt]:
        return [attempt for watch in self._watches.of(target) for attempt in watch.attempts()]

    def _touch(self, carrier: Carrier, now: float) -> None:
        """Its riders have changed: it asks for those it has, and waits a little for more to change."""
        if not carrier.number:
            carrier.due = min(carrier.due, now)
        elif carrier.due == inf:
            calm = now - carrier.asked >= 2 * carrier.gather
            longer = min(self._policy.most_gather, 2 * carrier.gather)
            carrier.gather = self._policy.gather if calm else longer
            carrier.due = now + carrier.gather

    # -- requests ----------------------------------------------------------------------------

    def ask_due(self, now: float) -> list[Watched]:
        """Make the requests that are due; the watches that have asked."""
        due = [carrier for carrier in self._shared if carrier.due <= now]
        for carrier in due:
            self._ask(carrier, now)
        return [watch for carrier in due for watch in carrier.riders.values()]

    def _ask(self, carrier: Carrier, now: float) -> None:
        """A request for all riders takes the place of the one before."""
        self.close(carrier)
        number = self._begin(carrier, now)
        targets: dict[str, Target] = {}
        for attempt, watch in carrier.riders.items():
            target = _target(watch, attempt)
            other = targets.get(target.uri, target)
            known = target.etag if target.etag == other.etag or same_tag(target.etag, other.etag) else None
            targets[target.uri] = replace(target, etag=known, text=target.text or other.text)
        carrier.many = len(targets) > 1
        for attempt, watch in carrier.riders.items():
            self._asked(watch, attempt, targets[watch.want.target].etag, now)
        self._out.append(Ask(number, carrier.transport, tuple(targets.values())))

    def _asked(self, watch: Watched, attempt: Attempt, etag: str | None, now: float) -> None:
        assert attempt.carrier is not None
        attempt.number = attempt.carrier.number
        attempt.etag, attempt.shown = etag, watch.shown
        # Without its tag, what comes may be older than what it has.
        attempt.behind = etag is None and watch.etag is not None and not attempt.unconditional
        since = now if attempt.unheard is None else attempt.unheard
        waits = attempt.transport == "long-poll" and etag is not None and attempt.unheard is None
        attempt.phase = Asking(now, since + self._policy.patience + (self._policy.wait if waits else 0.0))

    def _begin(self, carrier: Carrier, now: float) -> int:
        carrier.number = next(self._numbers)
        carrier.asked, carrier.due, carrier.alive = now, inf, -inf
        self._under_way[carrier.number] = carrier
        return carrier.number

    def answered(self, carrier: Carrier) -> list[Rider]:
        """The request is over, and all on it may ask again; who they are."""
        told = carrier.told()
        for _, attempt in told:
            del carrier.riders[attempt]
        self._over(carrier)
        if not carrier.riders:
            carrier.due = inf
        return told

    # -- the socket --------------------------------------------------------------------------

    def _join_socket(self, carrier: Carrier, watch: Watched, attempt: Attempt, now: float) -> None:
        if not carrier.number:
            self._out.append(OpenSocket(self._begin(carrier, now)))
        attempt.number = carrier.number
        attempt.phase = Asking(now, now + self._policy.patience)
        if carrier.opened:
            self._send_watch(carrier, watch, attempt)

    def opened(self, carrier: Carrier) -> None:
        """The handshake is done: what waits for it is sent."""
        carrier.opened = True
        for watch, attempt in carrier.told():
            self._send_watch(carrier, watch, attempt)

    def _send_watch(self, carrier: Carrier, watch: Watched, attempt: Attempt) -> None:
        attempt.etag, attempt.shown = watch.etag, watch.shown
        # What is under way to another watch of this target comes to this one too.
        others = (other for other in self._of(watch.want.target) if other is not attempt)
        attempt.behind = watch.etag is not None and any(other in carrier.riders for other in others)
        frame = watch_frame(watch.want.target, watch.etag, dict(watch.want.headers))
        self._out.append(SendFrame(carrier.number, frame))

    def reopen(self, now: float) -> list[Watched]:
        """Close the socket; the watches that were on it, and open it anew."""
        riders: list[Watched] = []
        for carrier in self._shared:
            if carrier.transport == "websocket" and carrier.number:
                self.close(carrier)
                riders += self._clear(carrier, now)
        return riders

    def settle(self, now: float) -> None:
        """Close the socket when nobody has needed it for a while."""
        for carrier in self._shared:
            if carrier.transport != "websocket" or not carrier.number or carrier.riders:
                carrier.until = inf
            elif carrier.until == inf:
                carrier.until = now + self._policy.linger
            elif carrier.until <= now:
                self.close(carrier)

    # -- the end -----------------------------------------------------------------------------

    def close(self, carrier: Carrier) -> None:
        """End what is under way; nothing that comes of it later counts. Riders stay."""
        if carrier.number:
            is_socket = carrier.transport == "websocket"
            self._out.append((CloseSocket if is_socket else Stop)(carrier.number))
            self._over(carrier)
        carrier.due = inf

    def _over(self, carrier: Carrier) -> None:
        del self._under_way[carrier.number]
        carrier.number, carrier.opened = 0, False
        if carrier.transport == "websocket":
            carrier.heard = carrier.again = None
            carrier.until = inf

    def down(
        self, carrier: Carrier, failure: Failure, now: float, *, stop: bool = False
    ) -> tuple[Failure, list[Rider]]:
        """All on a shared carrier failed, and so did it: one pause for them all.

        Returns the failure with the time that the server named, and who failed. ``stop``: it is to be ended.
        """
        riders = carrier.told()
        if carrier.heard is not None and now - carrier.heard >= self._policy.stable:
            carrier.failures = 0
        again = carrier.again if failure.again is None else failure.again
        delay = self._policy.delay(0 if again is not None else carrier.failures, self._random())
        carrier.failures += 1
        carrier.rest = now + delay + (again or 0.0)
        if stop:
            self.close(carrier)
        else:
            self._over(carrier)
        carrier.heard, carrier.quick, carrier.due = None, 0, inf
        self._clear(carrier, carrier.rest)
        return replace(failure, again=again), riders

    def split(self, carrier: Carrier, now: float) -> list[Watched]:
        """The server takes no request for many: those on it ask one by one."""
        self._ladder.split(carrier.transport, now, self._random)
        self.close(carrier)
        return self._clear(carrier, now)

    def _clear(self, carrier: Carrier, until: float) -> list[Watched]:
        """Its riders wait until then."""
        watches = list(carrier.riders.values())
        for attempt in carrier.riders:
            attempt.phase = Waiting(until)
        carrier.riders.clear()
        return watches


def _target(watch: Watched, attempt: Attempt) -> Target:
    want, last = watch.want, watch.last
    etag = None if attempt.unconditional else watch.etag
    return Target(want.target, want.headers, etag, last is not None and last.text is not None)
