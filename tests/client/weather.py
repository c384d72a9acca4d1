"""A network and a server in virtual time, round the machine without its shell.

The server has one resource, whose state is a number that grows. Each transport behaves as the current
``Weather`` says; what is sent on one connection arrives in order and late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from restive.client.attempt import Ask, CloseSocket, Finish, OpenSocket, SendFrame, Show, Stop, Want
from restive.client.machine import Machine
from restive.client.news import Announced, Ended, Failure, Kind, Snapshot, Unchanged
from restive.client.policy import Policy, Transport
from restive.client.state import State
from restive.wire.messages import CurrentEvent, EndEvent, FetchEvent, StateEvent, parse

TARGET = "/r"
Mode = str
"""ok | refuse | busy | drop | silent | unreachable | short (works, is cut soon)"""

Weather = dict[Transport, Mode]
_KINDS = {
    "refuse": Kind.REFUSED,
    "busy": Kind.BUSY,
    "drop": Kind.DROPPED,
    "unreachable": Kind.UNREACHABLE,
}


@dataclass
class Line:
    """One connection: what is under way arrives in order."""

    number: int
    transport: Transport
    open: bool = True
    arrives: float = 0.0
    told: int = -1
    watching: bool = True
    etag: str | None = None
    dead: bool = False  # nothing passes any more, and nobody says so


@dataclass
class World:
    """Runs a machine against the network."""

    seed: int
    policy: Policy
    latency: float = 0.2
    announce: float = 0.0  # how many of the pushes say `fetch`
    now: float = 0.0
    version: int = 0
    final: bool = False
    weather: Weather = field(default_factory=dict)
    asked: list[tuple[float, Transport]] = field(default_factory=list)
    shown: dict[int, list[int]] = field(default_factory=dict)
    finished: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.machine = Machine(self.policy, self.random.random)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._lines: dict[int, Line] = {}

    # -- the test's side -----------------------------------------------------------------------

    def watch(self, key: int, rungs: tuple[Transport, ...], etag: str | None = None) -> None:
        self.shown[key] = []
        self._do(self.machine.watch(key, Want(TARGET, rungs, etag=etag), self.now))

    def change(self) -> None:
        self.version += 1
        for line in list(self._lines.values()):
            self._push(line)

    def end(self) -> None:
        self.final = True
        for line in list(self._lines.values()):
            self._push(line)

    def turn(self, weather: Weather) -> None:
        """Other weather: what is open and works no more is cut, or falls silent."""
        self.weather = weather
        for line in list(self._lines.values()):
            mode = weather.get(line.transport, "ok")
            if mode not in {"ok", "short", "silent"}:
                self._cut(line, _KINDS[mode] if line.transport in {"long-poll", "poll"} else Kind.DROPPED)
            elif mode == "silent":
                self._die(line)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        stuck = (0.0, 0)
        while True:
            stuck = (self.now, stuck[1] + 1 if stuck[0] == self.now else 0)
            assert stuck[1] < 10_000, "time stands still"
            due = min(self.machine.deadline(), self._heap[0][0] if self._heap else until)
            if due > until:
                break
            self.now = max(self.now, due)
            if self._heap and self._heap[0][0] <= self.now:
                heappop(self._heap)[2]()
            else:
                self._do(self.machine.tick(self.now))
            if due == until and self.machine.deadline() > until and not self._heap:
                break
        self.now = until

    # -- the network ---------------------------------------------------------------------------

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        heappush(self._heap, (self.now + delay, next(self._order), action))

    def _send(self, line: Line, action: Callable[[], None]) -> None:
        line.arrives = max(line.arrives, self.now + self.random.random() * self.latency)
        heappush(self._heap, (line.arrives, next(self._order), lambda: action() if line.open else None))

    def _die(self, line: Line) -> None:
        line.dead = True
        if line.transport == "websocket":  # whose pings find out
            self._later(40.0, lambda: self._cut(line, Kind.DROPPED) if line.open else None)

    def _cut(self, line: Line, kind: Kind) -> None:
        """What was under way may arrive; nothing after it."""

        def arrive() -> None:
            self._close(line)
            failed = self.machine.socket_failed if line.transport == "websocket" else self.machine.failed
            self._do(failed(line.number, Failure(kind), self.now))

        self._send(line, arrive)

    def _close(self, line: Line) -> None:
        line.open = False
        self._lines.pop(line.number, None)

    def _do(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Show(key, state):
                    assert key not in self.finished, "a state after the end"
                    self.shown[key].append(state.data)
                case Finish(key, error):
                    assert key not in self.finished, "two ends"
                    self.finished[key] = error
                case Ask():
                    self._ask(action)
                case OpenSocket(number):
                    self._open(Line(number, "websocket", watching=False))
                case Stop(number) | CloseSocket(number):
                    if number in self._lines:
                        self._close(self._lines[number])
                case SendFrame(number, text):
                    self._frame(self._lines.get(number), text)

    # -- the server ----------------------------------------------------------------------------

    def _mode(self, line: Line) -> Mode:
        return self.weather.get(line.transport, "ok")

    def _open(self, line: Line) -> bool:
        """Whether it works, as far as the client can see it at first."""
        self.asked.append((self.now, line.transport))
        self._lines[line.number] = line
        mode = self._mode(line)
        if mode in _KINDS:
            self._cut(line, _KINDS[mode])
            return False
        if mode == "short":
            self._later(
                self.random.random() * 2, lambda: self._cut(line, Kind.DROPPED) if line.open else None
            )
        if line.transport == "websocket":
            self._send(line, lambda: self._do(self.machine.socket_opened(line.number, self.now)))
        if mode == "silent":
            self._die(line)
        return not line.dead

    def _frame(self, line: Line | None, text: str) -> None:
        if line is None:
            return
        frame = parse(text, limits=_limits())
        line.watching = type(frame).__name__ == "Watch"
        if line.watching:
            line.told = -1
            etag = getattr(frame, "etag", None)
            self._later(self.random.random() * self.latency, lambda: self._first(line, etag))

    def _ask(self, ask: Ask) -> None:
        line = Line(ask.number, ask.transport, etag=ask.etag)
        if not self._open(line):
            return
        if ask.transport in {"sse", "ndjson"}:
            self._later(self.random.random() * self.latency, lambda: self._first(line, ask.etag))
            self._later(15.0, lambda: self._beat(line))
        else:
            self._later(self.random.random() * self.latency, lambda: self._answer(line))

    def _beat(self, line: Line) -> None:
        if line.open:
            if not line.dead:
                self.machine.alive(line.number, self.now)
            self._later(15.0, lambda: self._beat(line))

    def _first(self, line: Line, etag: str | None) -> None:
        if line.open and not line.dead:
            line.told = self.version
            if etag == _tag(self.version):
                self._tell(line, CurrentEvent(TARGET, _tag(self.version)))
            else:
                self._tell_state(line)
            self._push(line)

    def _push(self, line: Line) -> None:
        if not line.watching or line.told < 0 or not line.open or line.dead:
            return
        if line.transport == "long-poll":
            if line.etag != _tag(self.version):
                self._reply(line)
            return
        if line.told != self.version:
            line.told = self.version
            self._tell_state(line)
        if self.final:
            line.watching = False
            self._tell(line, EndEvent(TARGET, {"status": 200}))

    def _tell_state(self, line: Line) -> None:
        if self.random.random() < self.announce:
            self._tell(line, FetchEvent(TARGET, _tag(self.version)))
        else:
            self._tell(line, StateEvent(TARGET, _tag(self.version), self.version))

    def _tell(self, line: Line, event: Any) -> None:
        def arrive() -> None:
            if line.transport == "websocket":
                self._do(self.machine.socket_event(line.number, event, self.now))
            else:
                self._do(self.machine.news(line.number, _news(event), self.now))

        self._send(line, arrive)

    def _answer(self, line: Line) -> None:
        if line.open and not line.dead:
            line.told = self.version
            # A long poll says nothing of a final state that the client has: its time just runs out.
            if line.transport == "poll" or line.etag != _tag(self.version):
                self._reply(line)
            else:
                self._later(self.policy.wait, lambda: self._reply(line))

    def _reply(self, line: Line) -> None:
        """A whole response, as of now."""
        if not line.open or line.dead or not line.watching:
            return
        line.watching = False
        if line.etag == _tag(self.version):
            news: Any = Unchanged(line.etag, self.final and line.transport == "poll")
        else:
            news = Snapshot(State(self.version, _tag(self.version)), self.final)

        def arrive() -> None:
            self._close(line)
            self._do(self.machine.news(line.number, news, self.now))

        self._send(line, arrive)


def _tag(version: int) -> str:
    return f'"{version}"'


def _news(event: Any) -> Any:
    match event:
        case StateEvent():
            return Snapshot(State(event.data, event.etag))
        case CurrentEvent():
            return Unchanged(event.etag)
        case FetchEvent():
            return Announced(event.etag)
        case _:
            return Ended(None)


def _limits() -> Any:
    from restive.wire.messages import Limits

    return Limits()
