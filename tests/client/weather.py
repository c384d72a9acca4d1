"""A network and a server in virtual time, round the machine without its shell.

The server has resources whose state is a number that grows. Each transport behaves as the current
``Weather`` says; what is sent on one connection arrives in order and late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from restive.client.attempt import Ask, CloseSocket, Finish, OpenSocket, SendFrame, Show, Stop, Target, Want
from restive.client.machine import Machine
from restive.client.news import Announced, Ended, Failure, Kind, Snapshot, Unchanged
from restive.client.policy import Policy, Transport
from restive.client.state import State
from restive.wire.messages import CurrentEvent, EndEvent, ErrorEvent, FetchEvent, StateEvent, Watch, parse

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


GRACE, LOOK = 0.5, 10.0
"""Seconds for which news on a long poll for many waits for resources not looked at yet, and for a look."""


@dataclass
class Leg:
    """One resource on a connection."""

    etag: str | None
    told: int = -1
    watching: bool = True


@dataclass
class Line:
    """One connection: what is under way arrives in order."""

    number: int
    transport: Transport
    many: bool = False
    open: bool = True
    arrives: float = 0.0
    legs: dict[str, Leg] = field(default_factory=dict)
    dead: bool = False  # nothing passes any more, and nobody says so
    answering: bool = False


@dataclass
class World:
    """Runs a machine against the network."""

    seed: int
    policy: Policy
    latency: float = 0.2
    announce: float = 0.0  # how many of the pushes say `fetch`
    now: float = 0.0
    versions: dict[str, int] = field(default_factory=lambda: {TARGET: 0})
    final: bool = False
    together: bool = True  # the server takes requests for many
    slow: dict[str, float] = field(default_factory=dict)  # how long a first look takes
    refused: set[str] = field(default_factory=set)  # what may only be watched at its own URI
    weather: Weather = field(default_factory=dict)
    asked: list[tuple[float, Transport]] = field(default_factory=list)
    targets: list[tuple[Target, ...]] = field(default_factory=list)  # of each request
    watched: dict[int, str] = field(default_factory=dict)
    shown: dict[int, list[int]] = field(default_factory=dict)
    finished: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.machine = Machine(self.policy, self.random.random)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._lines: dict[int, Line] = {}

    # -- the test's side -----------------------------------------------------------------------

    @property
    def version(self) -> int:
        return self.versions[TARGET]

    def watch(
        self, key: int, rungs: tuple[Transport, ...], etag: str | None = None, target: str = TARGET
    ) -> None:
        self.shown[key] = []
        self.watched[key] = target
        self.versions.setdefault(target, 0)
        self._do(self.machine.watch(key, Want(target, rungs, etag=etag), self.now))

    def unwatch(self, key: int) -> None:
        self._do(self.machine.unwatch(key, self.now))

    def change(self, target: str = TARGET) -> None:
        self.versions[target] += 1
        self._push_all()

    def end(self) -> None:
        self.final = True
        self._push_all()

    def _push_all(self) -> None:
        for line in list(self._lines.values()):
            for target in list(line.legs):
                self._push(line, target)

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
            self._do(self.machine.failed(line.number, Failure(kind), self.now))

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
                    self._open(Line(number, "websocket"))
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
            self._send(line, lambda: self._do(self.machine.opened(line.number, self.now)))
        if mode == "silent":
            self._die(line)
        return not line.dead

    def _frame(self, line: Line | None, text: str) -> None:
        if line is None:
            return
        frame = parse(text, limits=_limits())
        if isinstance(frame, Watch):
            line.legs[frame.target] = Leg(frame.etag)
            self._look(line, frame.target)
        else:
            del line.legs[frame.target]

    def _look(self, line: Line, target: str) -> None:
        leg = line.legs[target]
        takes = self.slow.get(target, 0.0) + self.random.random() * self.latency
        self._later(takes, lambda: self._first(line, target) if line.legs.get(target) is leg else None)

    def _ask(self, ask: Ask) -> None:
        self.targets.append(ask.targets)
        line = Line(ask.number, ask.transport, len(ask.targets) > 1)
        if not self._open(line):
            return
        if line.many and not self.together:
            self._cut(line, Kind.MISFIT)
            return
        line.legs = {each.uri: Leg(each.etag) for each in ask.targets}
        if ask.transport in {"sse", "ndjson"}:
            self._later(15.0, lambda: self._beat(line))
        elif ask.transport == "long-poll":
            self._later(self.policy.wait, lambda: self._answer(line))
            self._later(LOOK, lambda: self._answer(line) if line.many and not _looked(line) else None)
        for target in line.legs:
            if line.many and target in self.refused:
                line.legs[target].watching = False
                if ask.transport != "long-poll":
                    self._tell(line, ErrorEvent({"status": 403}, on=target))
            else:
                self._look(line, target)

    def _beat(self, line: Line) -> None:
        if line.open:
            if not line.dead:
                self.machine.alive(line.number, self.now)
            self._later(15.0, lambda: self._beat(line))

    def _first(self, line: Line, target: str) -> None:
        """The first look at a resource for this connection."""
        leg, version = line.legs[target], self.versions[target]
        if not line.open or line.dead or not leg.watching:
            return
        leg.told = version
        if line.transport not in {"long-poll", "poll"}:
            if leg.etag == _tag(version):
                self._tell(line, CurrentEvent(target, _tag(version)))
            else:
                self._tell(line, self._state(target))
        self._push(line, target)

    def _push(self, line: Line, target: str) -> None:
        leg, version = line.legs[target], self.versions[target]
        if not leg.watching or leg.told < 0 or not line.open or line.dead:
            return
        if line.transport in {"long-poll", "poll"}:
            self._consider(line)
            return
        if leg.told != version:
            leg.told = version
            self._tell(line, self._state(target))
        if self.final:
            leg.watching = False
            self._tell(line, EndEvent(target, {"status": 200}))
            if line.many and not any(leg.watching for leg in line.legs.values()):
                self._cut(line, Kind.DROPPED)

    def _state(self, target: str) -> Any:
        version = self.versions[target]
        if self.random.random() < self.announce:
            return FetchEvent(target, _tag(version))
        return StateEvent(target, _tag(version), version)

    def _tell(self, line: Line, event: Any) -> None:
        def arrive() -> None:
            if line.transport == "websocket" or line.many:
                self._do(self.machine.event(line.number, event, self.now))
            else:
                self._do(self.machine.news(line.number, _news(event), self.now))

        self._send(line, arrive)

    # -- polls ---------------------------------------------------------------------------------

    def _news_on(self, line: Line) -> bool:
        # A long poll of one says nothing of a final state that the client has: its time just runs out.
        return line.transport == "poll" or any(
            not leg.watching  # refused
            or (leg.told >= 0 and (leg.etag != _tag(self.versions[target]) or (line.many and self.final)))
            for target, leg in line.legs.items()
        )

    def _consider(self, line: Line) -> None:
        """Answer now, or when the time for other resources is up, where there is something to tell."""
        if not self._news_on(line):
            return
        if _looked(line):
            self._answer(line)
        elif not line.answering:
            line.answering = True
            self._later(GRACE, lambda: self._answer(line))

    def _answer(self, line: Line) -> None:
        """A whole response, as of now."""
        if not line.open or line.dead or not any(leg.watching for leg in line.legs.values()):
            return
        if line.many:
            self._answer_many(line)
            return
        (target,) = line.legs
        leg, version = line.legs[target], self.versions[target]
        leg.watching = False
        if leg.told < 0:
            self._cut(line, Kind.BUSY)
        elif leg.etag == _tag(version):
            self._reply(line, Unchanged(leg.etag, self.final and line.transport == "poll"))
        else:
            self._reply(line, Snapshot(State(version, _tag(version)), self.final))

    def _answer_many(self, line: Line) -> None:
        events: list[Any] = []
        for target, leg in line.legs.items():
            tag = _tag(self.versions[target])
            if not leg.watching:
                events.append(ErrorEvent({"status": 403}, on=target))
            elif leg.told >= 0:
                events.append(CurrentEvent(target, tag) if leg.etag == tag else self._state(target))
                events += [EndEvent(target, {"status": 200})] if self.final else []
        looked = all(leg.told >= 0 for leg in line.legs.values())
        news = looked and all(isinstance(event, CurrentEvent) for event in events)
        for leg in line.legs.values():
            leg.watching = False
        if not events:
            self._cut(line, Kind.BUSY)
        else:
            self._reply(line, Unchanged() if news else events)

    def _reply(self, line: Line, said: Any) -> None:
        def arrive() -> None:
            self._close(line)
            told = self.machine.answer if isinstance(said, list) else self.machine.news
            self._do(told(line.number, said, self.now))

        self._send(line, arrive)


def _looked(line: Line) -> bool:
    return all(leg.told >= 0 or not leg.watching for leg in line.legs.values())


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
