"""What is the same on every socket, however its bytes travel: carrying out what the session decides.

A shell is an outlet of the hub; it says how text goes out and how the socket is closed. The wishes of a
frame are done by the ``Desk``, so that no shell knows the app or the rules of HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from ..errors import Problem
from ..hub.hub import Hub
from ..hub.watch import Sink, Watch
from ..wire import messages
from ..wire.session import Close, Deliver, Effect, SendText, Session, StartRequest, StartWatch, StopWatch

__all__ = ["SUBPROTOCOL", "Answer", "Conversation", "Desk", "Outgoing"]

SUBPROTOCOL = "restive.v1"


class Desk(Protocol):
    """What the front door does for a socket."""

    def resolve(self, target: str) -> str:
        """The normal form of a target. Raises ``Problem``."""
        ...

    def watch(self, outlet: Sink, wanted: messages.Watch) -> Watch:
        """Begin a watch. Raises ``Problem``."""
        ...

    def request(self, wanted: messages.Request) -> Awaitable[bytes]:
        """Make a request; the frame that answers it."""
        ...


class Answer(NamedTuple):
    """The frame that answers a request; the request is over once it was sent."""

    data: bytes


Outgoing = SendText | Answer | Close


class Conversation:
    """The part of a socket that turns effects into watches, requests and answers.

    A shell has the attributes below, and ``say``, ``forget`` and ``leave``.
    """

    __slots__ = ()

    _hub: Hub
    _desk: Desk
    _session: Session
    peer: str
    fd: int
    queued: bool

    def ready(self, watch: Watch) -> None:
        """``watch`` has something to tell."""
        raise NotImplementedError

    def say(self, items: list[Outgoing]) -> None:
        """Send these, in their order, as soon as the client takes them."""
        raise NotImplementedError

    def forget(self, watch: Watch) -> None:
        """What ``watch`` had to tell does not count any more."""
        raise NotImplementedError

    def hear(self, text: str | bytes, now: float) -> list[Effect]:
        """A text message came."""
        return self._session.receive_text(text, now, self._desk.resolve)

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the session decided."""
        outgoing: list[Outgoing] = []
        for effect in effects:
            match effect:
                case StartWatch():
                    self._start_watch(effect)
                case StopWatch(_, held):
                    self._close_watch(held)
                case StartRequest(wanted):
                    self._start_request(wanted)
                case Deliver(wanted):
                    detail = f"Nothing here takes messages for {wanted.target}."
                    self._refuse(Problem(404, "No such channel", detail), wanted.target)
                case SendText() | Close():
                    outgoing.append(effect)
        if outgoing:
            self.say(outgoing)

    def ended(self, watch: Watch) -> None:
        """The end of ``watch`` is being told."""
        if self._session.held(watch.on) is watch:
            self._session.watch_ended(watch.on, self._hub.now())

    def lost(self) -> None:
        """The connection is gone: so are its watches."""
        for watch in self._session.let_go():
            watch.close()

    def _start_watch(self, effect: StartWatch) -> None:
        target = effect.frame.target
        try:
            watch = self._desk.watch(self, effect.frame)
        except Problem as problem:
            if not effect.replaces:
                self._session.watch_ended(target, self._hub.now())
            self._refuse(problem, target)
            return
        self._close_watch(self._session.hold(target, watch))

    def _close_watch(self, watch: Watch | None) -> None:
        if watch is not None:
            self.forget(watch)
            watch.close()

    def _refuse(self, problem: Problem, target: str) -> None:
        self.carry_out(self._session.refuse(problem, self._hub.now(), on=target))

    def _start_request(self, wanted: messages.Request) -> None:
        # It outlives the socket (design 4.3): the hub keeps the task, not this connection.
        task = self._hub.loop.create_task(self._request(wanted))
        self._hub.tasks.add(task)
        task.add_done_callback(self._hub.tasks.discard)

    async def _request(self, wanted: messages.Request) -> None:
        self.say([Answer(await self._desk.request(wanted))])
