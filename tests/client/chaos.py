"""A shell that reports whatever a shell may report, at random: what no sane network does happens here often.

Few targets, tags and values, so that states come back, tags are coarse, and watches of one target meet.
"""

from __future__ import annotations

from random import Random
from typing import Any

from restive.client.attempt import Ask, CloseSocket, OpenSocket, Stop, Want
from restive.client.news import Announced, Ended, Failure, Kind, News, Snapshot, Unchanged
from restive.client.policy import AUTO, TRANSPORTS
from restive.client.state import State
from restive.errors import Problem
from restive.wire.messages import (
    CurrentEvent,
    EndEvent,
    ErrorEvent,
    Event,
    FetchEvent,
    PatchEvent,
    RetryEvent,
    StateEvent,
)

__all__ = ["Chaos"]

TARGETS = ["/a", "/b", "/c"]
STEPS = [0.0, 0.0137, 0.2913, 4.0717]
"""Seconds; no sum of them is one of the policy's, so that nothing depends on the last bit of a float."""

RUNGS = [
    AUTO,
    AUTO,
    AUTO,
    AUTO[1:],
    AUTO[1:],
    AUTO[2:],
    ("sse", "poll"),
    ("websocket", "long-poll"),
    *((name,) for name in TRANSPORTS),
]
REPORTS = [Kind.UNREACHABLE, Kind.BUSY, Kind.REFUSED, Kind.SILENT, Kind.DROPPED]


class Chaos:
    """Plays with ``machine``."""

    def __init__(self, machine: Any, seed: int) -> None:
        self._machine = machine
        self._random = Random(seed)
        self._now = 1.0
        self._keys = 0
        self._asked: dict[int, Ask] = {}
        self._socket = 0

    def run(self, steps: int) -> None:
        """Make so many reports."""
        self._watch()
        for _ in range(steps):
            self._now += self._random.choice(STEPS)
            self._random.choice(
                [self._tick] * 3
                + [self._report] * 4
                + [self._over, self._alive]
                + [self._event] * 5
                + [self._socket_over, self._open, self._watch, self._leave]
            )()

    def _do(self, actions: Any) -> None:
        for action in actions:
            match action:
                case Ask(number):
                    self._asked[number] = action
                case Stop(number):
                    self._asked.pop(number, None)
                case OpenSocket(number):
                    self._socket = number
                case CloseSocket():
                    self._socket = 0

    def _tick(self) -> None:
        due = self._machine.deadline()
        if due < self._now + 100:
            self._now = max(self._now, due)
            self._do(self._machine.tick(self._now))

    def _watch(self) -> None:
        if self._keys - self._random.randrange(6) <= 3:
            self._keys += 1
            tag = self._random.choice([None, None, self._tag()])
            headers = self._random.choice([(), (), (), (), (("accept", "text/plain"),), (("x-key", "1"),)])
            want = Want(self._random.choice(TARGETS), self._random.choice(RUNGS), headers, tag)
            self._do(self._machine.watch(self._keys, want, self._now))

    def _leave(self) -> None:
        if self._random.random() < 0.5:
            self._do(self._machine.reopen_socket(self._now))
        elif self._keys > 1:
            self._do(self._machine.unwatch(self._random.randrange(self._keys) + 1, self._now))

    # -- requests ------------------------------------------------------------------------------

    def _report(self) -> None:
        if not self._asked:
            return
        number = self._random.choice(list(self._asked))
        asked = self._asked[number]
        once = asked.transport in {"poll", "long-poll"}
        if once:
            del self._asked[number]
        if len(asked.targets) == 1:
            self._do(self._machine.news(number, self._news(), self._now))
        elif not once:
            self._do(self._machine.event(number, self._said(), self._now))
        elif self._random.random() < 0.2:
            self._do(self._machine.news(number, Unchanged(), self._now))
        else:
            said = [self._said() for _ in range(self._random.randrange(4))]
            self._do(self._machine.answer(number, said, self._now))

    def _over(self) -> None:
        if self._asked:
            number = self._random.choice(list(self._asked))
            many = len(self._asked.pop(number).targets) > 1
            failure = Failure(Kind.MISFIT) if many and self._random.random() < 0.3 else self._failure()
            self._do(self._machine.failed(number, failure, self._now))

    def _alive(self) -> None:
        if self._asked:
            self._machine.alive(self._random.choice(list(self._asked)), self._now)

    def _news(self) -> News:
        random = self._random
        again, final = random.choice([None, None, 1.5, 30.0]), random.random() < 0.06
        match random.randrange(12):
            case 0:
                return Ended(random.choice([None, Problem(404, detail="Nothing here.")]))
            case 1 | 2:
                return Announced(self._tag())
            case 3 | 4 | 5:
                return Unchanged(random.choice([None, self._tag()]), final, again)
            case _:
                return Snapshot(self._state(), final, again)

    def _state(self) -> State:
        number = self._random.randrange(3)
        data = [number, f"text {number}", bytes([number]), {"n": [number, None, True]}][
            self._random.randrange(4)
        ]
        return State(data, self._tag(), data if isinstance(data, str) else None)

    def _tag(self) -> str:
        return self._random.choice(['"0"', '"1"', '"1"', 'W/"1"', '"2"', '"3"'])

    def _failure(self) -> Failure:
        cause = self._random.choice([None, OSError("no route"), Problem(503, detail="Later.")])
        return Failure(self._random.choice(REPORTS), cause, self._random.choice([None, None, 2.0]))

    # -- the socket ----------------------------------------------------------------------------

    def _open(self) -> None:
        if self._socket:
            self._do(self._machine.opened(self._socket, self._now))

    def _socket_over(self) -> None:
        if self._socket:
            number, self._socket = self._socket, 0
            self._do(self._machine.failed(number, self._failure(), self._now))

    def _event(self) -> None:
        if self._socket:
            self._do(self._machine.opened(self._socket, self._now))
        if self._socket:
            self._do(self._machine.event(self._socket, self._said(), self._now))

    def _said(self) -> Event:
        target, tag = self._random.choice(TARGETS), self._tag()
        match self._random.randrange(16):
            case 0:
                return EndEvent(
                    target, self._random.choice([{"status": 200}, {"status": 410, "detail": "Gone."}])
                )
            case 1:
                return ErrorEvent({"status": 400, "title": "Odd"}, on=target)
            case 2:
                return RetryEvent(1500)
            case 3:
                return FetchEvent(target, tag)
            case 4:
                return PatchEvent(target, tag, '"0"', [])
            case 5 | 6 | 7:
                return CurrentEvent(target, tag)
            case 8:
                return StateEvent(target, tag, text="text 1")
            case _:
                return StateEvent(target, tag, self._random.choice([0, 1, True, {"a": 1}, None]))
