"""The client without I/O: all watches of one origin, their transports and what carries them.

Its methods say what happened and when; they return what the shell has to do now, in order. ``deadline()``
says when ``tick`` is due at the latest: at once, where a request waits for others that begin in this turn.
`carrier` has the socket and the requests, `outcome` what becomes of a watch, `ladder` chooses transports.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from math import inf

from ..errors import Problem, WatchEnded
from ..wire.messages import ErrorEvent, Event, RetryEvent
from .attempt import Action, Asking, Attempt, Live, Phase, Waiting, Want, Watched, Watches
from .carrier import Carrier, Carriers, Rider
from .ladder import Ladder
from .news import Failure, Kind, News, Unchanged, of_event
from .outcome import Outcomes
from .pace import ONE_SHOT, next_phase
from .policy import Policy

__all__ = ["Machine"]


class Machine:
    """One origin. ``random`` gives numbers from 0 to 1."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._ladder = Ladder(policy)
        self._watches = Watches()
        self._heap: list[tuple[float, int]] = []
        self._out: list[Action] = []
        self._carriers = Carriers(policy, random, self._ladder, self._watches, self._out)
        self._outcomes = Outcomes(policy, random, self._ladder, self._watches, self._carriers, self._out)

    # -- the user ----------------------------------------------------------------------------

    def watch(self, key: int, want: Want, now: float) -> list[Action]:
        """Begin watch ``key``, a number that was never used before."""
        main = Attempt(self._ladder.choose(want.rungs, now), Waiting(now))
        watch = Watched(key, want, now, main, etag=want.etag)
        self._watches.add(watch)
        return self._turn(now, [watch])

    def unwatch(self, key: int, now: float) -> list[Action]:
        """End watch ``key``; one that has ended is left alone."""
        watch = self._watches.get(key)
        if watch is not None:
            self._outcomes.forget(watch, now)
        return self._turn(now)

    def shares_socket(self, target: str, headers: tuple[tuple[str, str], ...]) -> bool:
        """Whether such a watch could join the socket, which has one watch for each target."""
        return all(other.want.headers == headers for other in self._watches.of(target))

    def reopen_socket(self, now: float) -> list[Action]:
        """The client's credentials have changed: go on over a new socket."""
        return self._turn(now, self._carriers.reopen(now))

    # -- what comes --------------------------------------------------------------------------

    def opened(self, number: int, now: float) -> list[Action]:
        """The handshake of socket ``number`` is done."""
        carrier = self._carriers.find(number)
        if carrier is not None and not carrier.opened:
            self._carriers.opened(carrier)
        return self._turn(now)

    def news(self, number: int, news: News, now: float) -> list[Action]:
        """Request ``number`` said something, of all that it asks for."""
        carrier = self._carriers.find(number)
        if carrier is None:
            return []
        riders = self._heard(carrier, now)
        then = next_phase(carrier, news, now, self._policy, self._random)
        for watch, attempt in riders:
            self._tell(watch, attempt, news, then, now)
        return self._turn(now, (watch for watch, _ in riders))

    def event(self, number: int, event: Event, now: float) -> list[Action]:
        """The socket, or a stream for many, said this."""
        carrier = self._carriers.find(number)
        if carrier is None or (carrier.transport == "websocket" and not carrier.opened):
            return []
        if isinstance(event, RetryEvent):
            carrier.again = event.ms / 1000
            return []
        if of_event(event) is not None:
            self._mark(carrier, now)
        told = self._concerned(event, number, carrier.riders)
        then = next_phase(carrier, Unchanged(), now, self._policy, self._random)
        for watch, attempt in told:
            self._take(watch, attempt, event, then, now)
        return self._turn(now, [watch for watch, _ in told])

    def answer(self, number: int, events: Sequence[Event], now: float) -> list[Action]:
        """The long poll for many says this. What it leaves out the server could not look at yet."""
        carrier = self._carriers.find(number)
        if carrier is None:
            return []
        changes = [news for news in map(of_event, events) if not isinstance(news, Unchanged | None)]
        then = next_phase(carrier, changes[0] if changes else Unchanged(), now, self._policy, self._random)
        riders = self._heard(carrier, now)
        aboard = {attempt: watch for watch, attempt in riders}
        left = dict.fromkeys(aboard)
        for event in events:
            for watch, attempt in self._concerned(event, number, aboard):
                left.pop(attempt, None)
                self._take(watch, attempt, event, then, now)
        for attempt in left:
            attempt.unheard = now if attempt.unheard is None else attempt.unheard
            attempt.phase = then
        return self._turn(now, [watch for watch, _ in riders])

    def alive(self, number: int, now: float) -> None:
        """Bytes came for request ``number``, be it only a comment."""
        carrier = self._carriers.find(number)
        if carrier is not None:
            carrier.alive = now

    def failed(self, number: int, failure: Failure, now: float) -> list[Action]:
        """Request ``number`` is over and said nothing (more); or the socket did not open, or is gone."""
        carrier = self._carriers.find(number)
        if carrier is None:
            return []
        if carrier.many and failure.kind is Kind.MISFIT:
            return self._turn(now, self._carriers.split(carrier, now))
        if carrier.shared:
            return self._turn(now, self._down(carrier, failure, now))
        riders = self._carriers.answered(carrier)
        for watch, attempt in riders:
            self._outcomes.failed(watch, attempt, failure, now, self._random)
        return self._turn(now, [watch for watch, _ in riders])

    def _heard(self, carrier: Carrier, now: float) -> list[Rider]:
        """It delivers; to whom. A request that has one answer is over."""
        self._mark(carrier, now)
        return self._carriers.answered(carrier) if carrier.transport in ONE_SHOT else carrier.told()

    @staticmethod
    def _mark(carrier: Carrier, now: float) -> None:
        carrier.heard = now if carrier.heard is None else carrier.heard
        if carrier.transport != "websocket":  # whose pings tell whether it lives
            carrier.alive = now

    def _concerned(self, event: Event, number: int, aboard: Container[Attempt]) -> list[Rider]:
        """Those on ``number`` whom ``event`` is for."""
        return [
            (watch, attempt)
            for watch in self._watches.of(getattr(event, "on", None) or "")
            for attempt in watch.attempts()
            if attempt.number == number and attempt in aboard
        ]

    def _take(self, watch: Watched, attempt: Attempt, event: Event, then: Phase, now: float) -> None:
        on_socket = attempt.transport == "websocket"
        if isinstance(event, ErrorEvent):
            self._carriers.leave(watch, attempt, now, told=True)
            if on_socket:
                problem = WatchEnded(Problem.from_document(event.document))
                self._outcomes.failed(watch, attempt, Failure(Kind.MISFIT, problem), now, self._random)
            else:
                attempt.alone, attempt.phase = True, Waiting(now)  # its own URI says more
        elif (news := of_event(event)) is not None:
            self._tell(watch, attempt, news, then, now)

    def _tell(self, watch: Watched, attempt: Attempt, news: News, then: Phase, now: float) -> None:
        trial = attempt is watch.trial
        self._outcomes.news(watch, attempt, news, then, now)
        if not trial or watch.main is not attempt:
            return
        for other in self._watches:  # what has worked for one is tried by all, at once
            better = self._ladder.better(other)
            if better is not None and better[1] == attempt.transport:
                other.better_at = now
                self._schedule(other, now)

    def _down(self, carrier: Carrier, failure: Failure, now: float, *, stop: bool = False) -> list[Watched]:
        """All on the carrier failed, and wait equally long; who was on it."""
        watches = list(carrier.riders.values())
        failure, riders = self._carriers.down(carrier, failure, now, stop=stop)
        once = self._random()
        for watch, attempt in riders:
            self._outcomes.failed(watch, attempt, failure, now, lambda: once, carrier.rest)
        return watches

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When ``tick`` is due at the latest; ``inf`` while nothing has to happen by itself."""
        return min(self._heap[0][0] if self._heap else inf, self._carriers.deadline())

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now:
            when, key = heappop(self._heap)
            watch = self._watches.get(key)
            if watch is not None and watch.wake == when:
                watch.wake = inf
                self._advance(watch, now)
        for watch in self._carriers.ask_due(now):
            self._schedule(watch, now)
        return self._turn(now)

    def _turn(self, now: float, watches: Iterable[Watched] = ()) -> list[Action]:
        for watch in watches:
            self._advance(watch, now)
        self._carriers.settle(now)
        actions = list(self._out)
        self._out.clear()
        return actions

    def _advance(self, watch: Watched, now: float) -> None:
        for attempt in watch.attempts():
            if watch in self._watches and attempt in watch.attempts():
                self._advance_attempt(watch, attempt, now)
        if watch not in self._watches:
            return
        better = self._ladder.better(watch)
        if better is not None and better[0] <= now:
            watch.trial = Attempt(better[1], Waiting(now))
            self._advance_attempt(watch, watch.trial, now)
        self._schedule(watch, now)

    def _advance_attempt(self, watch: Watched, attempt: Attempt, now: float) -> None:
        match attempt.phase:
            case Waiting(until) if until <= now:
                self._carriers.board(watch, attempt, now)
            case Asking(_, deadline) | Live(deadline) if deadline is not None and deadline <= now:
                self._expire(watch, attempt, now)
            case _:
                pass

    def _schedule(self, watch: Watched, now: float) -> None:
        better = self._ladder.better(watch)
        times = [inf if better is None else better[0]]
        for attempt in watch.attempts():
            phase = attempt.phase
            until = phase.until if isinstance(phase, Waiting) else phase.deadline
            times.append(inf if until is None else until)
        due = max(now, min(times))
        if due < watch.wake:
            watch.wake = due
            heappush(self._heap, (due, watch.key))

    def _expire(self, watch: Watched, attempt: Attempt, now: float) -> None:
        carrier = attempt.carrier
        assert carrier is not None
        assert not isinstance(attempt.phase, Waiting)
        lives = self._policy.silence if isinstance(attempt.phase, Live) else self._policy.patience
        if carrier.alive + lives > now:  # others on it, or comments, have shown so
            attempt.phase = replace(attempt.phase, deadline=carrier.alive + lives)
            return
        on_socket = attempt.transport == "websocket"
        slow = carrier.heard is not None if on_socket else attempt.unheard is not None
        cause = TimeoutError(f"{attempt.transport} delivered nothing in time")
        if carrier.shared and not slow:
            for other in self._down(carrier, Failure(Kind.SILENT, cause), now, stop=True):
                if other is not watch and other in self._watches:
                    self._schedule(other, now)
            return
        self._carriers.leave(watch, attempt, now)
        kind = Kind.SLOW if slow else Kind.SILENT
        self._outcomes.failed(watch, attempt, Failure(kind, cause), now, self._random)
