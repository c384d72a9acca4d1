"""The server's side of one socket as a state machine: what came in and the time go in, effects come out.

The shell carries the effects out in their order, and after every call sets its timer anew to
``next_deadline()``. It has no clock, no randomness and no socket. A ``Close`` is the last effect
there ever is; it ends all watches, as a lost connection does, without a ``StopWatch`` for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from ..errors import Problem
from .events import error, retry
from .frames import MAX_ECHO, Frame, Identifier, Limits, Rejected, Request, Send, Unwatch, Watch, parse
from .watched import Watched

__all__ = [
    "Close",
    "Deliver",
    "Effect",
    "SendText",
    "Session",
    "StartRequest",
    "StartWatch",
    "StopWatch",
]

NORMAL, UNSUPPORTED, VIOLATION, TOO_BIG, RESTART = 1000, 1003, 1008, 1009, 1012
"""Close codes (RFC 6455, section 7.4.1, and its registry)."""


@dataclass(frozen=True, slots=True)
class StartWatch:
    """Watch ``frame.target``. ``replaces``: it takes the place of the watch that this target has.

    Start the new one before the old one stops, so that a rendering which both share lives on.
    """

    frame: Watch
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class StopWatch:
    """Stop the watch of ``target``; nothing more is sent for it. ``held`` is what the shell had put there."""

    target: str
    held: Any = None


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Make the request; ``Session.request_done`` when its response was sent."""

    frame: Request


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the message to its channel."""

    frame: Send


@dataclass(frozen=True, slots=True)
class SendText:
    """Send ``data`` (UTF-8) as one text message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket. ``retry_ms`` repeats what the retry frame just before it said, if there was one."""

    code: int
    reason: str
    retry_ms: int | None = None


Effect = StartWatch | StopWatch | StartRequest | Deliver | SendText | Close


def _as_given(target: str) -> str:
    return target


class Session(Watched):
    """One socket: its watches, its requests in flight, its errors, and how long it may stay.

    ``now`` is any clock in seconds, always the same one. ``jitter`` is a random number from 0 up to 1,
    which spreads the ends of sockets that began together.
    """

    __slots__ = (
        "_closed",
        "_errors",
        "_idle_end",
        "_jitter",
        "_life_end",
        "_limits",
        "_paid_until",
        "_requests",
    )

    def __init__(self, limits: Limits, now: float, jitter: float = 0.0) -> None:
        Watched.__init__(self)
        self._limits = limits
        self._jitter = jitter
        self._requests = 0
        self._errors = 0
        self._closed = False
        # When all messages so far would have come at the rate that is allowed over time.
        self._paid_until = now
        # When it is closed for having nothing to do; None while there is a watch or a request.
        self._idle_end: float | None = now + limits.hello
        self._life_end = now + limits.lifetime * (1 - 0.2 * jitter)

    # -- what the shell asks -------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """What the socket may cost."""
        return self._limits

    @property
    def closed(self) -> bool:
        """A ``Close`` was given out, or ``lost`` was called; every call now returns nothing."""
        return self._closed

    @property
    def watches(self) -> frozenset[str]:
        """The targets watched now."""
        return frozenset(self.targets())

    def let_go(self) -> list[Any]:
        """All that the shell has put there, from now on nothing; as ``lost``."""
        self._closed = True
        return [watch for watch in self.clear() if watch is not None]

    def next_deadline(self) -> float | None:
        """When ``tick`` is to be called, on the clock of ``now``; None once closed."""
        if self._closed:
            return None
        return self._life_end if self._idle_end is None else min(self._idle_end, self._life_end)

    # -- what came from the client -------------------------------------------------------------

    def receive_text(
        self, text: str | bytes, now: float, resolve: Callable[[str], str] = _as_given
    ) -> list[Effect]:
        """A text message arrived.

        ``resolve`` gives the normal form of a target, relative to where the socket was opened, or raises
        ``Problem``: so every frame that leaves here has a good target, and watches are counted by it.
        """
        if self._closed:
            return []
        if overdue := self.tick(now):
            return overdue
        if not self._pays(now):
            return self._close(VIOLATION, f"more than {self._limits.message_rate:g} messages per second")
        if _size(text) > self._limits.max_message:
            return self._close(TOO_BIG, f"a message has at most {self._limits.max_message} bytes")
        try:
            return self._act(_resolved(parse(text, limits=self._limits), resolve), now)
        except Rejected as refused:
            return self.refuse(refused.problem, now, on=refused.on, id=refused.id)

    def receive_binary(self, now: float) -> list[Effect]:
        """A binary message arrived; the protocol has none."""
        return self.tick(now) or self._close(UNSUPPORTED, "frames are text")

    def receive_control(self, now: float) -> list[Effect]:
        """A ping or pong arrived, where the shell sees them: they pay like messages."""
        if self._closed or self._pays(now):
            return []
        return self._close(VIOLATION, f"more than {self._limits.message_rate:g} frames per second")

    # -- what the shell reports ----------------------------------------------------------------

    def watch_ended(self, target: str, now: float) -> None:
        """The watch of ``target`` is over, but not by a ``StopWatch``."""
        self.forget(target)
        self._rest(now)

    def request_done(self, now: float) -> None:
        """A request that ``StartRequest`` began is over, whatever became of it."""
        self._requests = max(0, self._requests - 1)
        self._rest(now)

    def refuse(
        self,
        problem: Problem,
        now: float,
        *,
        on: str | None = None,
        id: Identifier | None = None,  # noqa: A002
    ) -> list[Effect]:
        """Answer a frame with ``problem``. A frame that was not understood (400) counts as an error, and the
        last that is allowed closes; what is only not allowed costs the other watches nothing.

        It frees nothing: a watch or a request that was begun is over with ``watch_ended`` or
        ``request_done`` as always.
        """
        if overdue := self.tick(now):
            return overdue
        if self._closed:
            return []
        self._errors += problem.status == 400
        answer: list[Effect] = [SendText(error(problem.document(), on=on, id=id))]
        if self._errors >= self._limits.max_errors:
            answer += self._close(VIOLATION, "too many frames were refused")
        return answer

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: close where ``next_deadline`` is reached."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if now >= self._life_end:
            return self.drain()
        return self._close(NORMAL, "nothing is watched")

    def drain(self) -> list[Effect]:
        """The server or this socket's lifetime ends: say when to come back, and close."""
        if self._closed:
            return []
        ms = round(self._limits.retry * (0.5 + self._jitter) * 1000)
        return [SendText(retry(ms)), *self._close(RESTART, "come back", ms)]

    def lost(self) -> None:
        """The connection is gone."""
        self._closed = True

    # -- inside --------------------------------------------------------------------------------

    def _pays(self, now: float) -> bool:
        limits = self._limits
        self._paid_until = max(self._paid_until, now) + 1 / limits.message_rate
        # A page may open all of its watches at once, and replace them all; what goes on so is a flood.
        burst = limits.message_rate + 2.0 * limits.max_watches
        return (self._paid_until - now) * limits.message_rate <= burst

    def _act(self, frame: Frame, now: float) -> list[Effect]:
        match frame:
            case Watch():
                return self._watch(frame)
            case Unwatch():
                return self._unwatch(frame.target, now)
            case Request():
                return self._request(frame)
            case Send():
                return [Deliver(frame)]

    def _watch(self, frame: Watch) -> list[Effect]:
        replaces = frame.target in self
        if not replaces:
            if len(self) >= self._limits.max_watches:
                raise _rejected(frame, _too_many(f"{self._limits.max_watches} watches"))
            self.hold(frame.target, None)
        self._idle_end = None
        return [StartWatch(frame, replaces)]

    def _unwatch(self, target: str, now: float) -> list[Effect]:
        # It may have ended while the frame was under way, so one that is not there is no error.
        if target not in self:
            return []
        held = self.held(target)
        self.watch_ended(target, now)
        return [StopWatch(target, held)]

    def _request(self, frame: Request) -> list[Effect]:
        if self._requests >= self._limits.max_requests:
            raise _rejected(frame, _too_many(f"{self._limits.max_requests} requests in flight"))
        self._requests += 1
        self._idle_end = None
        return [StartRequest(frame)]

    def _rest(self, now: float) -> None:
        """Begin to linger, unless there is something to do, or the socket lingers already."""
        if self._idle_end is None and not len(self) and not self._requests:
            self._idle_end = now + self._limits.linger

    def _close(self, code: int, reason: str, retry_ms: int | None = None) -> list[Effect]:
        if self._closed:
            return []
        self._closed = True
        return [Close(code, reason, retry_ms)]


def _size(text: str | bytes) -> int:
    """Its bytes in UTF-8. A lone surrogate only counts here; ``parse`` refuses it."""
    if isinstance(text, bytes) or text.isascii():
        return len(text)
    return len(text.encode(errors="surrogatepass"))


def _resolved(frame: Frame, resolve: Callable[[str], str]) -> Frame:
    try:
        target = resolve(frame.target)
    except Problem as problem:
        raise _rejected(frame, problem) from None
    return frame if target is frame.target else replace(frame, target=target)


def _rejected(frame: Frame, problem: Problem) -> Rejected:
    if isinstance(frame, Request):
        return Rejected(problem, id=frame.id)
    return Rejected(problem, on=frame.target if len(frame.target) <= MAX_ECHO else None)


def _too_many(what: str) -> Problem:
    return Problem(429, "Too many", f"One socket has at most {what}.")
