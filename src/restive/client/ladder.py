"""Which transport to use: the best that is not known to fail on this origin.

A transport is blamed only when another one delivered where it did not: a server that is down says
nothing about its transports. A blamed one is tried again later, each time later than before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from .attempt import Attempt, Watched
from .news import Failure, Kind
from .policy import Policy, Transport

__all__ = ["Ladder"]

_VOID = {Kind.BUSY, Kind.DROPPED}
"""Blames nothing once the server itself turned out to be down."""

SHORT_LIVES = 3
"""How often in a row a transport may be cut soon after it has delivered, before another one is tried."""

_BLAMELESS = {Kind.SLOW, Kind.MISFIT}
"""Moves one watch to another transport; others stay."""

Random = Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Blame:
    until: float
    times: int


@dataclass(slots=True)
class Ladder:
    """The memory of one origin; shared by all of its watches."""

    policy: Policy
    _blamed: dict[Transport, _Blame] = field(default_factory=dict)
    _split: dict[Transport, _Blame] = field(default_factory=dict)

    def choose(self, rungs: tuple[Transport, ...], now: float, skip: Collection[Transport] = ()) -> Transport:
        """The best of ``rungs`` that is neither blamed now nor in ``skip``, else the least bad."""
        left = [rung for rung in rungs if rung not in skip]
        free = [rung for rung in left if not _is_blamed(self._blamed, rung, now)]
        return (free or left or list(rungs))[0]

    def delivered(self, watch: Watched, transport: Transport, now: float, random: Random) -> None:
        """``transport`` works here, and what delivered nothing before it does not."""
        self._blamed.pop(transport, None)
        if watch.suspects == _misfits(watch):
            return
        for suspect, kind in watch.suspects.items():
            if kind not in _BLAMELESS:
                self._blame(self._blamed, suspect, now, random)
        watch.suspects = _misfits(watch)
        watch.better_at = now + self.policy.better_delay(0, random())

    def trial_failed(
        self, watch: Watched, transport: Transport, kind: Kind, now: float, random: Random
    ) -> None:
        """A better transport was tried beside the one that works, and delivered nothing."""
        watch.better_at = now + self.policy.better_delay(0, random())
        if kind is Kind.MISFIT:
            watch.suspects[transport] = kind
        elif kind is not Kind.SLOW:
            self._blame(self._blamed, transport, now, random)

    def split(self, transport: Transport, now: float, random: Random) -> None:
        """The server does not take several watches on one request of this transport."""
        self._blame(self._split, transport, now, random)

    def shares(self, transport: Transport, now: float) -> bool:
        """Whether several watches may be asked for together."""
        return transport != "poll" and not _is_blamed(self._split, transport, now)

    def next_rung(
        self, watch: Watched, attempt: Attempt, failure: Failure, now: float, random: Random
    ) -> tuple[Transport, float]:
        """The transport to try after ``failure``, and after how many seconds."""
        rungs, again = watch.want.rungs, failure.again
        if _is_suspicious(watch, attempt, failure):
            watch.suspects[attempt.transport] = failure.kind
            if any(rung not in watch.suspects for rung in rungs):
                step = (again or 0.0) + self.policy.delay(0, random())
                return self.choose(rungs, now, watch.suspects), step
            watch.suspects = _misfits(watch)  # all failed: from the top again, slower
        elif failure.kind in {Kind.BUSY, Kind.UNREACHABLE}:
            watch.suspects = {rung: kind for rung, kind in watch.suspects.items() if kind not in _VOID}
        delay = self.policy.delay(watch.failures, random())
        watch.failures += 1
        if again is not None:
            delay = again + self.policy.delay(0, random())
        return self.choose(rungs, now, watch.suspects), delay

    def better(self, watch: Watched) -> tuple[float, Transport] | None:
        """When to try which better transport beside the one that works; None where there is none."""
        main = watch.main
        if main.delivered is None or watch.trial is not None or watch.ending:
            return None
        rungs = watch.want.rungs
        above = [rung for rung in rungs[: rungs.index(main.transport)] if rung not in watch.suspects]
        times = [(self._blamed[rung].until if rung in self._blamed else 0.0, rung) for rung in above]
        when, rung = min(times, key=lambda pair: pair[0], default=(0.0, main.transport))
        return None if not above else (max(when, watch.better_at), rung)

    def _blame(
        self, blamed: dict[Transport, _Blame], transport: Transport, now: float, random: Random
    ) -> None:
        """For a time. Further blame in that time, by other watches, changes nothing."""
        if _is_blamed(blamed, transport, now):
            return
        times = blamed[transport].times + 1 if transport in blamed else 0
        blamed[transport] = _Blame(now + self.policy.better_delay(times, random()), times)


def _is_blamed(blamed: dict[Transport, _Blame], transport: Transport, now: float) -> bool:
    blame = blamed.get(transport)
    return blame is not None and now < blame.until


def _misfits(watch: Watched) -> dict[Transport, Kind]:
    return {rung: kind for rung, kind in watch.suspects.items() if kind is Kind.MISFIT}


def _is_suspicious(watch: Watched, attempt: Attempt, failure: Failure) -> bool:
    """Whether a failure speaks against the transport."""
    kind = failure.kind
    if kind not in {Kind.DROPPED, Kind.BUSY}:
        return kind is not Kind.UNREACHABLE
    if attempt.delivered is None:
        return kind is Kind.DROPPED or attempt.transport == "websocket"
    # A server that goes away says when to come back; a proxy cuts what it does not like, again and again.
    return kind is Kind.DROPPED and failure.again is None and watch.failures >= SHORT_LIVES
