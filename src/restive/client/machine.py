"""The client without I/O: all watches of one origin, their transports and their socket.

Its methods say what happened and when; they return what the shell has to do now, in order. ``deadline()``
says when ``tick`` is due at the latest. Rules: a state equal to the last one is never shown; what was
announced and not delivered is fetched; where two transports disagree, a plain GET decides. So the last
state always arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from math import inf

from ..errors import ClientError, Problem, Unreachable, WatchEnded
from ..wire.messages import ErrorEvent, Event, RetryEvent, unwatch_frame, watch_frame
from .attempt import (
    Action,
    Ask,
    Asking,
    Attempt,
    Closed,
    CloseSocket,
    Finish,
    Live,
    Open,
    Opening,
    OpenSocket,
    Resting,
    SendFrame,
    Show,
    Socket,
    Stop,
    Waiting,
    Want,
    Watched,
)
from .ladder import Ladder
from .news import Announced, Ended, Failure, Kind, News, Snapshot, Unchanged, of_event
from .pace import ONE_SHOT, next_phase
from .policy import Policy
from .state import State, same, same_tag

__all__ = ["Machine"]


class Machine:
    """One origin. ``random`` gives numbers from 0 to 1."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._ladder = Ladder(policy)
        self._numbers = count(1)
        self._watches: dict[int, Watched] = {}
        self._targets: dict[str, dict[int, Watched]] = {}
        self._requests: dict[int, tuple[Watched, Attempt]] = {}
        self._socket: Socket = Closed()
        self._socket_failures = 0
        self._heap: list[tuple[float, int]] = []
        self._out: list[Action] = []

    # -- the user ----------------------------------------------------------------------------

    def watch(self, key: int, want: Want, now: float) -> list[Action]:
        """Begin watch ``key``, a number that was never used before."""
        main = Attempt(self._ladder.choose(want.rungs, now), Waiting(now))
        watch = self._watches[key] = Watched(key, want, now, main, etag=want.etag)
        self._targets.setdefault(want.target, {})[key] = watch
        return self._turn(now, watch)

    def unwatch(self, key: int, now: float) -> list[Action]:
        """End watch ``key``; one that has ended is left alone."""
        watch = self._watches.get(key)
        if watch is not None:
            self._forget(watch)
            for attempt in watch.attempts():
                self._drop(watch, attempt)
        return self._turn(now)

    def shares_socket(self, target: str, headers: tuple[tuple[str, str], ...]) -> bool:
        """Whether such a watch could join the socket, which has one watch for each target."""
        return all(other.want.headers == headers for other in self._targets.get(target, {}).values())

    # -- HTTP requests -----------------------------------------------------------------------

    def news(self, number: int, news: News, now: float) -> list[Action]:
        """Request ``number`` said something."""
        found = self._requests.get(number)
        if found is None:
            return []
        watch, attempt = found
        if attempt.transport in ONE_SHOT:
            del self._requests[number]
        self._news(watch, attempt, news, now)
        return self._turn(now, watch)

    def alive(self, number: int, now: float) -> None:
        """Bytes came for request ``number``, be it only a comment."""
        _, attempt = self._requests.get(number, (None, None))
        if attempt is None:
            return
        if isinstance(attempt.phase, Asking):
            attempt.phase = replace(attempt.phase, deadline=now + self._policy.patience)
        elif isinstance(attempt.phase, Live):
            attempt.phase = Live(now + self._policy.silence)

    def failed(self, number: int, failure: Failure, now: float) -> list[Action]:
        """Request ``number`` is over and said nothing (more)."""
        found = self._requests.pop(number, None)
        if found is None:
            return []
        self._failed(*found, failure, now)
        return self._turn(now, found[0])

    # -- the socket --------------------------------------------------------------------------

    def socket_opened(self, number: int, now: float) -> list[Action]:
        """The handshake is done: what waits for it is sent."""
        if not isinstance(self._socket, Opening) or self._socket.number != number:
            return []
        self._socket = Open(number)
        for watch, attempt in self._on_socket(number):
            self._send_watch(watch, attempt)
        return self._turn(now)

    def socket_event(self, number: int, event: Event, now: float) -> list[Action]:
        """An event came on the socket."""
        socket = self._socket
        if not isinstance(socket, Open) or socket.number != number:
            return []
        if isinstance(event, RetryEvent):
            socket.again = event.ms / 1000
            return []
        touched = [
            (watch, attempt)
            for watch in list(self._targets.get(getattr(event, "on", None) or "", {}).values())
            for attempt in (watch.main, watch.trial)
            if attempt is not None and self._is_on(attempt, number)
        ]
        for watch, attempt in touched:
            if isinstance(event, ErrorEvent):
                problem = Problem.from_document(event.document)
                self._failed(watch, attempt, Failure(Kind.MISFIT, WatchEnded(problem)), now)
            elif (news := of_event(event)) is not None:
                socket.heard = now if socket.heard is None else socket.heard
                self._news(watch, attempt, news, now)
        return self._turn(now, *(watch for watch, _ in touched))

    def socket_failed(self, number: int, failure: Failure, now: float) -> list[Action]:
        """The handshake failed or the socket is gone."""
        if not isinstance(self._socket, Open | Opening) or self._socket.number != number:
            return []
        return self._turn(now, *self._socket_down(self._socket, failure, now))

    def reopen_socket(self, now: float) -> list[Action]:
        """The client's credentials have changed: go on over a new socket."""
        socket = self._socket
        if not isinstance(socket, Open | Opening):
            return []
        self._out.append(CloseSocket(socket.number))
        self._socket = Closed()
        touched = list(self._on_socket(socket.number))
        for _, attempt in touched:
            attempt.phase = Waiting(now)
        return self._turn(now, *(watch for watch, _ in touched))

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When ``tick`` is due at the latest; ``inf`` while nothing has to happen by itself."""
        due = self._heap[0][0] if self._heap else inf
        if isinstance(self._socket, Open | Opening):
            due = min(due, self._socket.until)
        return due

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        due: list[Watched] = []
        while self._heap and self._heap[0][0] <= now:
            when, key = heappop(self._heap)
            watch = self._watches.get(key)
            if watch is not None and watch.wake == when:
                watch.wake = inf
                due.append(watch)
        return self._turn(now, *due)

    def _turn(self, now: float, *watches: Watched) -> list[Action]:
        for watch in watches:
            self._advance(watch, now)
        self._settle_socket(now)
        actions, self._out = self._out, []
        return actions

    def _advance(self, watch: Watched, now: float) -> None:
        for attempt in watch.attempts():
            if watch.key in self._watches and attempt in watch.attempts():
                self._advance_attempt(watch, attempt, now)
        if watch.key not in self._watches:
            return
        better = self._ladder.better(watch)
        if better is not None and better[0] <= now:
            watch.trial = Attempt(better[1], Waiting(now))
            self._advance_attempt(watch, watch.trial, now)
        self._schedule(watch, now)

    def _advance_attempt(self, watch: Watched, attempt: Attempt, now: float) -> None:
        match attempt.phase:
            case Waiting(until) if until <= now:
                self._ask(watch, attempt, now)
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

    # -- asking ------------------------------------------------------------------------------

    def _ask(self, watch: Watched, attempt: Attempt, now: float) -> None:
        attempt.etag = None if attempt.unconditional else watch.etag
        attempt.shown, attempt.behind = watch.shown, False
        waits = self._policy.wait if attempt.transport == "long-poll" and attempt.etag is not None else 0.0
        phase = Asking(now, now + self._policy.patience + waits)
        if attempt.transport == "websocket":
            self._join_socket(watch, attempt, phase)
            return
        attempt.phase = phase
        attempt.number = next(self._numbers)
        self._requests[attempt.number] = (watch, attempt)
        text = watch.last is not None and watch.last.text is not None
        want = watch.want
        self._out.append(
            Ask(attempt.number, attempt.transport, want.target, want.headers, attempt.etag, text)
        )

    def _join_socket(self, watch: Watched, attempt: Attempt, phase: Asking) -> None:
        socket = self._socket
        if isinstance(socket, Resting) and socket.until > phase.since:
            attempt.phase = Waiting(socket.until)
            return
        if isinstance(socket, Closed | Resting):
            socket = self._socket = Opening(next(self._numbers))
            self._out.append(OpenSocket(socket.number))
        attempt.phase = phase
        attempt.number = socket.number
        if isinstance(socket, Open):
            self._send_watch(watch, attempt)

    def _send_watch(self, watch: Watched, attempt: Attempt) -> None:
        attempt.etag, attempt.shown = watch.etag, watch.shown
        # What is under way to another watch of this target comes to this one too.
        others = self._targets[watch.want.target].values()
        attempt.behind = watch.etag is not None and any(
            self._is_on(a, attempt.number) for w in others for a in w.attempts() if a is not attempt
        )
        frame = watch_frame(watch.want.target, watch.etag, dict(watch.want.headers))
        self._out.append(SendFrame(attempt.number, frame))

    def _start_fetch(self, watch: Watched, now: float, announced: str | None = None) -> None:
        coarse = same_tag(announced, watch.etag)
        if watch.fetch is None:
            watch.fetch = Attempt("poll", Waiting(now), unconditional=coarse)
        else:
            watch.fetch.repeat = True
            watch.fetch.unconditional |= coarse

    # -- what comes back ---------------------------------------------------------------------

    def _news(self, watch: Watched, attempt: Attempt, news: News, now: float) -> None:
        if attempt is watch.fetch:
            self._fetched(watch, attempt, news, now)
            return
        if isinstance(news, Snapshot) and _ignored_tag(attempt, news):
            self._show(watch, news.state)
            self._failed(watch, attempt, Failure(Kind.REFUSED), now)
            return
        asking = isinstance(attempt.phase, Asking)
        asked = attempt.phase.since if isinstance(attempt.phase, Asking) else now
        self._compare(watch, attempt, news)
        self._delivered(watch, attempt, now)
        match news:
            case Snapshot(state) if attempt.behind and not _has(watch, state):
                self._start_fetch(watch, now)  # older than what was shown, or newer?
            case Snapshot(state):
                self._show(watch, state)
            case Unchanged(etag) if etag is not None and not same_tag(etag, watch.etag):
                self._start_fetch(watch, now)
            case Unchanged() if attempt.transport == "long-poll" and watch.check_at <= now:
                self._start_fetch(watch, now)  # a long poll does not tell that a state became final
            case Announced(etag):
                self._start_fetch(watch, now, etag)
            case Ended(problem) if problem is not None:
                self._finish(watch, WatchEnded(problem))
            case Ended() if attempt.behind or (asking and attempt.transport == "websocket"):
                self._start_fetch(watch, now)  # said to another watch of this target, which had the state
            case _:
                pass
        attempt.phase = next_phase(attempt, news, now - asked, now, self._policy, self._random)
        if isinstance(news, Ended) or (isinstance(news, Snapshot | Unchanged) and news.final):
            self._finish_final(watch)

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
            self._drop(watch, old)
        if attempt.delivered is None:
            attempt.delivered = now
        watch.ever = True
        self._ladder.delivered(watch, attempt.transport, now, self._random)

    def _fetched(self, watch: Watched, attempt: Attempt, news: News, now: float) -> None:
        watch.fetch = None
        watch.ever = True
        if isinstance(news, Ended) and news.problem is not None:
            self._finish(watch, WatchEnded(news.problem))
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
            self._finish(watch, None)

    def _show(self, watch: Watched, state: State) -> None:
        if not _has(watch, state):
            watch.etag = state.etag
            watch.shown += 1
            watch.check_at = -inf
            self._out.append(Show(watch.key, state))
        watch.last = state

    # -- what fails --------------------------------------------------------------------------

    def _expire(self, watch: Watched, attempt: Attempt, now: float) -> None:
        socket = self._socket
        silent = TimeoutError(f"{attempt.transport} delivered nothing in time")
        if attempt.transport != "websocket":
            self._drop(watch, attempt)
            self._failed(watch, attempt, Failure(Kind.SILENT, silent), now)
        elif isinstance(socket, Open) and socket.heard is not None:
            self._drop(watch, attempt)
            self._failed(watch, attempt, Failure(Kind.SLOW, silent), now)
        elif isinstance(socket, Open | Opening):
            self._out.append(CloseSocket(socket.number))
            for other in self._socket_down(socket, Failure(Kind.SILENT, silent), now):
                if other is not watch:
                    self._schedule(other, now)

    def _socket_down(self, socket: Open | Opening, failure: Failure, now: float) -> list[Watched]:
        """All that used the socket failed; one pause for them all. Returns them."""
        heard = socket.heard if isinstance(socket, Open) else None
        if heard is not None and now - heard >= self._policy.stable:
            self._socket_failures = 0
        delay = self._policy.delay(self._socket_failures, self._random())
        self._socket_failures += 1
        again = failure.again if isinstance(socket, Opening) else socket.again
        if again is not None:
            delay = again + self._policy.delay(0, self._random())
        self._socket = Resting(now + delay)
        failure = replace(failure, again=again)
        touched = list(self._on_socket(socket.number))
        for watch, attempt in touched:
            self._failed(watch, attempt, failure, now)
        return [watch for watch, _ in touched]

    def _failed(self, watch: Watched, attempt: Attempt, failure: Failure, now: float) -> None:
        if attempt is watch.trial:
            watch.trial = None
            self._ladder.trial_failed(watch, attempt.transport, failure.kind, now, self._random)
        elif attempt is watch.fetch:
            pause = (failure.again or 0.0) + self._policy.delay(attempt.quick, self._random())
            watch.fetch = replace(attempt, phase=Waiting(now + pause), quick=attempt.quick + 1)
        elif not watch.ending:
            self._replace_main(watch, attempt, failure, now)

    def _replace_main(self, watch: Watched, attempt: Attempt, failure: Failure, now: float) -> None:
        if attempt.delivered is not None and now - attempt.delivered >= self._policy.stable:
            watch.failures = 0
        if failure.kind is Kind.MISFIT and watch.want.rungs == (attempt.transport,):
            self._finish(watch, failure.cause if isinstance(failure.cause, ClientError) else None)
            return
        within = self._policy.connect_within
        if not watch.ever and within is not None and now - watch.started >= within:
            why = f": {failure.cause}" if failure.cause is not None else ""
            error = Unreachable(f"No transport delivered {watch.want.target} in {within:g} s{why}")
            error.__cause__ = failure.cause
            self._finish(watch, error)
            return
        transport, delay = self._ladder.next_rung(watch, attempt, failure, now, self._random)
        until = now + delay
        if transport == "websocket" and isinstance(self._socket, Resting):
            until = self._socket.until
        watch.main = Attempt(transport, Waiting(until))

    # -- the end -----------------------------------------------------------------------------

    def _finish_final(self, watch: Watched) -> None:
        if watch.fetch is not None:
            watch.ending = True
        else:
            self._finish(watch, None)

    def _finish(self, watch: Watched, error: ClientError | None) -> None:
        if watch.key not in self._watches:
            return
        self._forget(watch)
        for attempt in watch.attempts():
            self._drop(watch, attempt)
        self._out.append(Finish(watch.key, error))

    def _forget(self, watch: Watched) -> None:
        del self._watches[watch.key]
        same_target = self._targets[watch.want.target]
        del same_target[watch.key]
        if not same_target:
            del self._targets[watch.want.target]

    def _drop(self, watch: Watched, attempt: Attempt) -> None:
        """Tell the server, or the request, that nobody listens any more."""
        if attempt.transport != "websocket":
            if self._requests.pop(attempt.number, None) is not None:
                self._out.append(Stop(attempt.number))
        elif isinstance(self._socket, Open) and self._is_on(attempt, self._socket.number):
            attempt.phase = Waiting(inf)
            others = self._targets.get(watch.want.target, {}).values()
            if not any(self._is_on(a, attempt.number) for other in others for a in other.attempts()):
                self._out.append(SendFrame(attempt.number, unwatch_frame(watch.want.target)))

    def _settle_socket(self, now: float) -> None:
        """Close the socket when nobody has needed it for a while."""
        socket = self._socket
        if not isinstance(socket, Open | Opening):
            return
        if any(a.transport == "websocket" for w in self._watches.values() for a in w.attempts()):
            socket.until = inf
        elif socket.until == inf:
            socket.until = now + self._policy.linger
        elif socket.until <= now:
            self._out.append(CloseSocket(socket.number))
            self._socket = Closed()

    def _on_socket(self, number: int) -> Iterator[tuple[Watched, Attempt]]:
        for watch in list(self._watches.values()):
            for attempt in watch.attempts():
                if self._is_on(attempt, number):
                    yield watch, attempt

    @staticmethod
    def _is_on(attempt: Attempt, number: int) -> bool:
        on = attempt.transport == "websocket" and attempt.number == number
        return on and not isinstance(attempt.phase, Waiting)


def _has(watch: Watched, state: State) -> bool:
    """Whether the user has it: what was shown last, or what the user said to have."""
    return same_tag(state.etag, watch.etag) if watch.last is None else same(watch.last, state)


def _ignored_tag(attempt: Attempt, news: Snapshot) -> bool:
    """A long poll that answers at once with what the client has is not one."""
    tag = news.state.etag
    return attempt.transport == "long-poll" and (tag is None or same_tag(tag, attempt.etag))
