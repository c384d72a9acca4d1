"""What comes of an attempt: news is shown, compared or fetched, a failure brings the next attempt.

A state equal to the last one is never shown; what was announced and not delivered is fetched; where two
transports disagree, a plain GET decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from ..errors import ClientError, Unreachable, WatchEnded
from .attempt import Action, Asking, Attempt, Finish, Phase, Show, Waiting, Watched, Watches
from .carrier import Carriers
from .ladder import Ladder
from .news import Announced, Ended, Failure, Kind, News, Snapshot, Unchanged
from .policy import Policy
from .state import State, same, same_tag

__all__ = ["Outcomes"]

Random = Callable[[], float]


class Outcomes:
    """For the watches of one origin. What the shell has to do is put into ``out``."""

    def __init__(
        self,
        policy: Policy,
        random: Random,
        ladder: Ladder,
        watches: Watches,
        carriers: Carriers,
        out: list[Action],
    ) -> None:
        self._policy = policy
        self._random = random
        self._ladder = ladder
        self._watches = watches
        self._carriers = carriers
        self._out = out

    # -- news --------------------------------------------------------------------------------

    def news(self, watch: Watched, attempt: Attempt, news: News, then: Phase, now: float) -> None:
        """``attempt`` was told something; it goes on with the phase ``then``."""
        if watch not in self._watches:
            return
        if attempt is watch.fetch:
            self._fetched(watch, attempt, news, now)
            return
        if isinstance(news, Ended) and attempt.transport != "websocket":
            self._carriers.leave(watch, attempt, now, told=True)
        if isinstance(news, Snapshot) and _ignored_tag(attempt, news):
            self._show(watch, news.state)
            self._carriers.leave(watch, attempt, now)
            self.failed(watch, attempt, Failure(Kind.REFUSED), now, self._random)
            return
        # On the socket an end may have been said to another watch of this target, which had the state.
        overheard = isinstance(attempt.phase, Asking) and attempt.transport == "websocket"
        self._compare(watch, attempt, news)
        self._delivered(watch, attempt, now)
        self._judge(watch, attempt, news, now, overheard=overheard)
        attempt.phase = Waiting(inf) if isinstance(news, Ended) else then
        if isinstance(news, Ended) or (isinstance(news, Snapshot | Unchanged) and news.final):
            self._finish_final(watch, now)

    def _judge(self, watch: Watched, attempt: Attempt, news: News, now: float, *, overheard: bool) -> None:
        """Show the state, or fetch what decides; end the watch with its problem."""
        match news:
            case Snapshot(state) if attempt.behind and not _has(watch, state):
                self._start_fetch(watch, now)  # older than what was shown, or newer?
            case Snapshot(state):
                self._show(watch, state)
            case Unchanged(etag) if etag is not None and not same_tag(etag, watch.etag):
                self._start_fetch(watch, now)
            case Unchanged() if _is_plain_poll(attempt) and watch.check_at <= now:
                self._start_fetch(watch, now)  # it does not tell that a state became final
            case Announced(etag):
                self._start_fetch(watch, now, etag)
            case Ended(problem) if problem is not None:
                self.finish(watch, WatchEnded(problem), now)
            case Ended() if attempt.behind or overheard:
                self._start_fetch(watch, now)
            case _:
                pass

    def _compare(self, watch: Watched, attempt: Attempt, news: News) -> None:
        """Whether other transports, or a fetch, have shown what this attempt may be telling late."""
        if isinstance(attempt.phase, Asking) and attempt.shown != watch.shown:
            attempt.behind = True
        match news:
            case Snapshot(State(etag=tag)) | Unchanged(tag) | Announced(tag):
                attempt.told = tag
                attempt.behind = attempt.behind and not same_tag(tag, watch.etag)
            case Ended():
                pass

    def _delivered(self, watch: Watched, attempt: Attempt, now: float) -> None:
        if attempt is watch.trial:
            old, watch.main, watch.trial = watch.main, attempt, None
            self._carriers.leave(watch, old, now)
        if attempt.delivered is None:
            attempt.delivered = now
        attempt.unheard = None
        watch.ever = True
        self._ladder.delivered(watch, attempt.transport, now, self._random)

    def _start_fetch(self, watch: Watched, now: float, announced: str | None = None) -> None:
        coarse = same_tag(announced, watch.etag)
        if watch.fetch is None:
            watch.fetch = Attempt("poll", Waiting(now), unconditional=coarse)
        else:
            watch.fetch.repeat = True
            watch.fetch.unconditional |= coarse

    def _fetched(self, watch: Watched, attempt: Attempt, news: News, now: float) -> None:
        watch.fetch = None
        watch.ever = True
        if isinstance(news, Ended) and news.problem is not None:
            self.finish(watch, WatchEnded(news.problem), now)
            return
        # A state that came after the GET was asked may be newer; if it is not, this one is announced again,
        # unless it is the last one.
        stale = attempt.shown != watch.shown
        final = watch.ending or (isinstance(news, Snapshot | Unchanged) and news.final)
        if not stale:
            if isinstance(news, Snapshot):
                self._show(watch, replace(news.state, fetch=True))
            watch.check_at = now + self._policy.wait / 2
            for other in (watch.main, watch.trial):
                if other is not None:
                    other.behind = not same_tag(other.told, watch.etag)
        if attempt.repeat or (stale and final):
            watch.fetch = Attempt("poll", Waiting(now), unconditional=attempt.unconditional)
        elif final:
            self.finish(watch, None, now)

    def _show(self, watch: Watched, state: State) -> None:
        if not _has(watch, state):
            watch.etag = state.etag
            watch.shown += 1
            watch.check_at = -inf
            self._out.append(Show(watch.key, state))
        watch.last = state

    # -- failures ----------------------------------------------------------------------------

    def failed(
        self,
        watch: Watched,
        attempt: Attempt,
        failure: Failure,
        now: float,
        random: Random,
        rest: float | None = None,
    ) -> None:
        """``attempt`` came to nothing. All that failed with it have the same ``random``.

        ``rest`` is when its transport may be used again, where that is so for all.
        """
        if watch not in self._watches:
            return
        if attempt is watch.trial:
            watch.trial = None
            self._ladder.trial_failed(watch, attempt.transport, failure.kind, now, random)
        elif attempt is watch.fetch:
            pause = (failure.again or 0.0) + self._policy.delay(attempt.failures, random())
            watch.fetch = replace(attempt, phase=Waiting(now + pause), failures=attempt.failures + 1)
        elif watch.ending:
            attempt.phase = Waiting(inf)
        else:
            self._replace_main(watch, attempt, failure, now, random, rest)

    def _replace_main(
        self,
        watch: Watched,
        attempt: Attempt,
        failure: Failure,
        now: float,
        random: Random,
        rest: float | None,
    ) -> None:
        if attempt.delivered is not None and now - attempt.delivered >= self._policy.stable:
            watch.failures = 0
        if failure.kind is Kind.MISFIT and watch.want.rungs == (attempt.transport,):
            self.finish(watch, failure.cause if isinstance(failure.cause, ClientError) else None, now)
            return
        within = self._policy.connect_within
        if not watch.ever and within is not None and now - watch.started >= within:
            self.finish(watch, _unreachable(watch, within, failure.cause), now)
            return
        transport, delay = self._ladder.next_rung(watch, attempt, failure, now, random)
        until = rest if rest is not None and transport == attempt.transport else now + delay
        # What is slow beside others has a request of its own the next time.
        watch.main = Attempt(transport, Waiting(until), alone=failure.kind is Kind.SLOW)

    # -- the end -----------------------------------------------------------------------------

    def _finish_final(self, watch: Watched, now: float) -> None:
        if watch.fetch is not None:
            watch.ending = True
        else:
            self.finish(watch, None, now)

    def finish(self, watch: Watched, error: ClientError | None, now: float) -> None:
        """The watch is over: with an error, or since its last state is final."""
        if watch in self._watches:
            self.forget(watch, now)
            self._out.append(Finish(watch.key, error))

    def forget(self, watch: Watched, now: float) -> None:
        """Nobody wants the watch any more."""
        self._watches.remove(watch)
        for attempt in watch.attempts():
            self._carriers.leave(watch, attempt, now)


def _has(watch: Watched, state: State) -> bool:
    """Whether the user has it: what was shown last, or what the user said to have."""
    return same_tag(state.etag, watch.etag) if watch.last is None else same(watch.last, state)


def _is_plain_poll(attempt: Attempt) -> bool:
    """Whether it is a long poll of one resource at its own URI."""
    return attempt.transport == "long-poll" and not (attempt.carrier is not None and attempt.carrier.many)


def _ignored_tag(attempt: Attempt, news: Snapshot) -> bool:
    """A long poll that answers at once with what the client has is not one."""
    tag = news.state.etag
    return _is_plain_poll(attempt) and (tag is None or same_tag(tag, attempt.etag))


def _unreachable(watch: Watched, within: float, cause: BaseException | None) -> Unreachable:
    why = f": {cause}" if cause is not None else ""
    error = Unreachable(f"No transport delivered {watch.want.target} in {within:g} s{why}")
    error.__cause__ = cause
    return error
