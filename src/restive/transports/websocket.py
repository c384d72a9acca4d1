"""The socket of design 4.3 over plain ASGI: a thin shell round ``wire.session``.

The call's own task writes, a second one reads. What a frame asks for is done by the ``Desk``, so
that this file knows neither the app nor the rules of HTTP.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ..errors import Problem
from ..hub.hub import Hub
from ..hub.watch import End, Watch
from ..wire import messages
from ..wire.session import Close, Deliver, Effect, SendText, Session, StartRequest, StartWatch, StopWatch
from .forms import frame
from .outlet import Outlet, Receive, Send, Stalled, send_in_time

SUBPROTOCOL = "restive.v1"

MAX_OUTBOX = 1000
"""Answers that wait for a client which does not read."""


class Desk(Protocol):
    """What the front door does for a socket."""

    def resolve(self, target: str) -> str:
        """The normal form of a target. Raises ``Problem``."""
        ...

    def watch(self, outlet: Outlet, wanted: messages.Watch) -> Watch:
        """Begin a watch. Raises ``Problem``."""
        ...

    def request(self, wanted: messages.Request) -> Awaitable[bytes]:
        """Make a request; the frame that answers it."""
        ...


class _Answer(NamedTuple):
    """The frame that answers a request; the request is over once it was sent."""

    data: bytes


class Socket(Outlet):
    """One socket."""

    __slots__ = ("_desk", "_outbox", "_session", "_watches")

    def __init__(
        self,
        hub: Hub,
        peer: str,
        limits: messages.Limits,
        desk: Desk,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(hub, peer)
        self._desk = desk
        self._session = Session(limits, hub.now(), jitter(), desk.resolve)
        self._watches: dict[str, Watch] = {}
        # A client that reads nothing and goes on asking is disconnected at `MAX_OUTBOX`.
        self._outbox: deque[SendText | _Answer | Close] = deque()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Run an accepted socket until it is closed."""
        reader = asyncio.create_task(self._read(receive))
        try:
            await self._write(send)
        except Stalled:
            return
        finally:
            reader.cancel()
            self._session.lost()
            for watch in self._watches.values():
                watch.close()
            self.close()

    # Reading

    async def _read(self, receive: Receive) -> None:
        while not self.gone:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.leave()
                return
            text, now = message.get("text"), self._hub.now()
            session = self._session
            self._carry_out(session.receive_binary(now) if text is None else session.receive_text(text, now))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartWatch():
                    self._start_watch(effect)
                case StopWatch(target):
                    self._stop_watch(target)
                case StartRequest(wanted):
                    self._start_request(wanted)
                case Deliver(wanted):
                    problem = Problem(
                        404, "No such channel", f"Nothing here takes messages for {wanted.target}."
                    )
                    self._refuse(problem, wanted.target)
                case SendText() | Close():
                    self._outbox.append(effect)
        if len(self._outbox) > MAX_OUTBOX:
            self.leave()
        elif self._outbox:
            self.wake()

    def _start_watch(self, effect: StartWatch) -> None:
        target = effect.frame.target
        try:
            watch = self._desk.watch(self, effect.frame)
        except Problem as problem:
            if not effect.replaces:
                self._session.watch_ended(target, self._hub.now())
            self._refuse(problem, target)
            return
        before, self._watches[target] = self._watches.get(target), watch
        self._close_watch(before)
        self.wake()

    def _stop_watch(self, target: str) -> None:
        self._close_watch(self._watches.pop(target, None))
        self.wake()

    def _close_watch(self, watch: Watch | None) -> None:
        if watch is not None:
            self.forget(watch)
            watch.close()

    def _refuse(self, problem: Problem, target: str) -> None:
        self._carry_out(self._session.refuse(problem, self._hub.now(), on=target))

    def _start_request(self, wanted: messages.Request) -> None:
        # It outlives the socket (design 4.3): the hub keeps the task, not this connection.
        task = self._hub.loop.create_task(self._request(wanted))
        self._hub.tasks.add(task)
        task.add_done_callback(self._hub.tasks.discard)

    async def _request(self, wanted: messages.Request) -> None:
        self._outbox.append(_Answer(await self._desk.request(wanted)))
        self.wake()

    # Writing

    async def _write(self, send: Send) -> None:
        while not self.gone:
            await self.wait(self._timeout())
            now = self._hub.now()
            self._carry_out(self._session.drain() if self.draining else self._session.tick(now))
            await self._write_events(send)
            if await self._write_outbox(send):
                return

    def _timeout(self) -> float:
        """Seconds until the session wants to be asked; it always does, until it is closed."""
        deadline = self._session.next_deadline()
        return 0.0 if deadline is None else max(0.0, deadline - self._hub.now())

    async def _write_events(self, send: Send) -> None:
        for watch, event in self.events():
            if isinstance(event, End) and self._watches.get(watch.on) is watch:
                del self._watches[watch.on]
                self._session.watch_ended(watch.on, self._hub.now())
            await self._send_text(send, frame(watch, event))
            if self.gone:
                return

    async def _write_outbox(self, send: Send) -> bool:
        """Send what is not of a watch. True: the socket was closed."""
        while self._outbox and not self.gone:
            item = self._outbox.popleft()
            if isinstance(item, Close):
                message = {"type": "websocket.close", "code": item.code, "reason": item.reason}
                await send_in_time(send, message, self._hub.settings.stall)
                return True
            await self._send_text(send, item.data)
            if isinstance(item, _Answer):
                self._session.request_done(self._hub.now())
        return False

    async def _send_text(self, send: Send, data: bytes) -> None:
        await send_in_time(send, {"type": "websocket.send", "text": data.decode()}, self._hub.settings.stall)
