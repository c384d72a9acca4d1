"""The I/O of one origin: does what its machine says, and tells it what came of it.

Everything runs on one event loop, and nothing is awaited between an event and the machine's answer to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from ..errors import ClientError
from ..wire.messages import Event
from .asking import ask
from .attempt import Action, Ask, CloseSocket, Finish, OpenSocket, SendFrame, Show, Stop, Want
from .machine import Machine
from .news import Failure, Kind, News
from .policy import Policy
from .socket import Handshake, LiveSocket
from .state import State

if TYPE_CHECKING:
    import httpx2

__all__ = ["Inbox", "Origin"]


class Inbox:
    """What a watch has for its reader: the latest state that was not read yet, and the end.

    A slow reader skips states; the last one always arrives.
    """

    def __init__(self) -> None:
        self._state: State | None = None
        self._over = False
        self._error: ClientError | None = None
        self._news = asyncio.Event()

    def put(self, state: State) -> None:
        """A newer state."""
        self._state = state
        self._news.set()

    def finish(self, error: ClientError | None) -> None:
        """Nothing comes any more."""
        if not self._over:
            self._over, self._error = True, error
            self._news.set()

    def drop(self) -> None:
        """The reader is gone."""
        self._state = self._error = None
        self._over = True
        self._news.set()

    async def get(self) -> State | None:
        """The next state, or None after the end. Raises what the watch ended with, once."""
        while self._state is None and not self._over:
            self._news.clear()
            await self._news.wait()
        state, self._state = self._state, None
        if state is None and self._error is not None:
            error, self._error = self._error, None
            raise error
        return state


class Origin:
    """The shell round one machine."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        base: httpx2.URL,
        policy: Policy,
        handshake: Callable[[], Awaitable[Handshake]],
        live_path: str,
        random: Callable[[], float],
    ) -> None:
        """``live_path`` is where several resources are watched by one request."""
        self.base = base
        self.cookie: str | None = None  # that the socket was opened with
        self._http = http
        self._policy = policy
        self._handshake = handshake
        self._live_path = live_path
        self._loop = asyncio.get_running_loop()
        self._machine = Machine(policy, random)
        self._keys = count(1)
        self._inboxes: dict[int, Inbox] = {}
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._sockets: dict[int, tuple[LiveSocket, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    # -- the user ----------------------------------------------------------------------------

    def watch(self, want: Want) -> tuple[int, Inbox]:
        """Begin a watch; its key ends it."""
        key, inbox = next(self._keys), Inbox()
        self._inboxes[key] = inbox
        self._do(self._machine.watch(key, want, self._loop.time()))
        return key, inbox

    def unwatch(self, key: int) -> None:
        """End a watch; one that has ended is left alone."""
        if self._inboxes.pop(key, None) is not None:
            self._do(self._machine.unwatch(key, self._loop.time()))

    def unwatch_soon(self, key: int) -> None:
        """The same, from any thread, the garbage collector's included."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.unwatch, key)

    def shares_socket(self, target: str, headers: tuple[tuple[str, str], ...]) -> bool:
        """Whether such a watch could join the socket."""
        return self._machine.shares_socket(target, headers)

    def reopen_socket(self) -> None:
        """Go on over a new socket, with the client's present credentials."""
        self._do(self._machine.reopen_socket(self._loop.time()))

    async def aclose(self) -> None:
        """End all watches and wait until every connection is closed."""
        for key, inbox in list(self._inboxes.items()):
            inbox.finish(ClientError("The client was closed while this was watched."))
            self.unwatch(key)
        for number in list(self._sockets):
            self._close_socket(number)
        if self._timer is not None:
            self._timer.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    # -- what came of it (Report, SocketReport) ------------------------------------------------

    def news(self, number: int, news: News) -> None:
        """Request ``number`` said something."""
        self._do(self._machine.news(number, news, self._loop.time()))

    def alive(self, number: int) -> None:
        """Bytes came for request ``number``."""
        self._machine.alive(number, self._loop.time())

    def failed(self, number: int, failure: Failure) -> None:
        """Request ``number`` is over; or the socket did not open, or is gone."""
        self._do(self._machine.failed(number, failure, self._loop.time()))

    def opened(self, number: int) -> None:
        """Frames can be sent on socket ``number``."""
        self._do(self._machine.opened(number, self._loop.time()))

    def event(self, number: int, event: Event) -> None:
        """An event came on socket ``number``, or of a request for many."""
        self._do(self._machine.event(number, event, self._loop.time()))

    def answer(self, number: int, events: Sequence[Event]) -> None:
        """Long poll ``number``, which is for many, was answered."""
        self._do(self._machine.answer(number, events, self._loop.time()))

    # -- what to do ----------------------------------------------------------------------------

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Show(key, state) if key in self._inboxes:
                    self._inboxes[key].put(state)
                case Finish(key, error) if key in self._inboxes:
                    self._inboxes.pop(key).finish(error)
                case Ask(number):
                    work = ask(self._http, self.base, self._live_path, action, self._policy, self)
                    self._requests[number] = self._start(work, partial(self._request_over, number))
                case Stop(number):
                    self._stop(self._requests.pop(number, None))
                case OpenSocket(number):
                    socket = LiveSocket(number, self._handshake, self._policy, self)
                    over = partial(self._socket_over, number)
                    self._sockets[number] = (socket, self._start(socket.run(), over))
                case SendFrame(number, text) if number in self._sockets:
                    self._sockets[number][0].send(text)
                case CloseSocket(number):
                    self._close_socket(number)
                case _:
                    pass
        self._set_timer()

    def _start(
        self, work: Coroutine[Any, Any, None], over: Callable[[asyncio.Task[None]], None]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(over)
        return task

    def _request_over(self, number: int, task: asyncio.Task[None]) -> None:
        self._requests.pop(number, None)
        if (error := self._raised(task)) is not None:
            self.failed(number, Failure(Kind.DROPPED, error))

    def _socket_over(self, number: int, task: asyncio.Task[None]) -> None:
        self._sockets.pop(number, None)
        if (error := self._raised(task)) is not None:
            self.failed(number, Failure(Kind.DROPPED, error))

    def _raised(self, task: asyncio.Task[None]) -> BaseException | None:
        """What a hook of the user's, or a mistake of ours, raised in it: a watch must not hang on that."""
        self._ending.discard(task)
        return None if task.cancelled() else task.exception()

    def _stop(self, task: asyncio.Task[None] | None) -> None:
        if task is None:
            return
        self._ending.add(task)
        own = asyncio.current_task() is task
        if own:
            self._loop.call_soon(task.cancel)  # it is in the middle of a report
        else:
            task.cancel()

    def _close_socket(self, number: int) -> None:
        _, task = self._sockets.pop(number, (None, None))
        self._stop(task)

    def _set_timer(self) -> None:
        due = self._machine.deadline()
        if self._timer is not None:
            if self._due == due:
                return
            self._timer.cancel()
            self._timer = None
        if due < inf:
            # Kept beside the handle: uvloop's has no `when` where the time has come already.
            self._due = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._machine.tick(self._loop.time()))
