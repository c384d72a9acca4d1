"""A machine that writes down what it is told and what it answers, in words that every language reads.

Times are written in milliseconds, rounded to a microsecond, and the machine is told the same rounded times.
It hears of what is due a microsecond late, so that the last bit of a float, which differs between seconds
and milliseconds, decides nothing. Random numbers have three digits and are written down too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from math import floor, inf
from random import Random
from typing import Any

import msgspec

from restive.client.machine import Machine
from restive.client.news import Kind
from restive.client.policy import Policy
from restive.errors import Problem, Unreachable, WatchEnded
from restive.wire import messages

__all__ = ["Recorder", "in_words"]

Call = tuple[str, list[Any], float, list[float], Any, float | None]
"""Method, arguments, now, the random numbers that were drawn, what it returned, and the deadline after it."""

BEGIN = 1.0
"""The machine's clock is never at 0, which may stand for never."""

_TAGS = {
    "Snapshot": ("is", "snapshot"),
    "Unchanged": ("is", "unchanged"),
    "Announced": ("is", "announced"),
    "Ended": ("is", "ended"),
    "Failure": ("is", "failure"),
    "Ask": ("do", "ask"),
    "Stop": ("do", "stop"),
    "OpenSocket": ("do", "open-socket"),
    "SendFrame": ("do", "send"),
    "CloseSocket": ("do", "close-socket"),
    "Show": ("do", "show"),
    "Finish": ("do", "finish"),
}


class Recorder:
    """Stands for the machine; ``calls`` are what happened to it."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self.policy = policy
        self.calls: list[Call] = []
        self._machine = Machine(policy, self._draw)
        self._random = Random(seed)
        self._drawn: list[float] = []
        self._now = BEGIN

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> Any:
            return self._call(method, *arguments)

        return call

    def deadline(self) -> float:
        """When to tick: a microsecond late, and not before now."""
        due = self._machine.deadline()
        return due if due == inf else max(self._now, (floor(due * 1e6) + 2) / 1e6) - BEGIN

    def shares_socket(self, target: str, headers: tuple[tuple[str, str], ...]) -> bool:
        shares = self._machine.shares_socket(target, headers)
        self.calls.append(("sharesSocket", [target, in_words(headers)], 0.0, [], shares, self._due()))
        return shares

    def _call(self, method: str, *arguments: Any) -> Any:
        *given, now = arguments
        now = self._now = max(self._now, round((now + BEGIN) * 1e6) / 1e6)
        self._drawn = []
        returned = getattr(self._machine, method)(*given, now)
        told = [in_words(value) for value in given]
        self.calls.append((_camel(method), told, _ms(now), self._drawn, in_words(returned), self._due()))
        return returned

    def _due(self) -> float | None:
        due = self._machine.deadline()
        return None if due == inf else _ms(due)

    def _draw(self) -> float:
        self._drawn.append(round(self._random.random(), 3))
        return self._drawn[-1]


def in_words(value: Any) -> Any:
    """As JSON: tagged objects with members in camel case; times of the machine's own in milliseconds."""
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, Kind):
        return value.name.lower()
    if isinstance(value, BaseException):
        return error_in_words(value)
    if isinstance(value, messages.Event):
        return event_in_words(value)
    if is_dataclass(value):
        tag = _TAGS.get(type(value).__name__)
        members = {_camel(each.name): _member(each.name, getattr(value, each.name)) for each in fields(value)}
        return {tag[0]: tag[1], **members} if tag else members
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [in_words(each) for each in value]
    return value


def error_in_words(error: BaseException) -> Any:
    """A problem as its document, without the title of its status; what only was silent has no words."""
    if isinstance(error, WatchEnded):
        return {"code": "ended", "problem": error_in_words(error.problem)}
    if isinstance(error, Unreachable):
        cause = error.__cause__
        if isinstance(cause, WatchEnded):
            cause = cause.problem
        return {"code": "unreachable", "cause": None if cause is None else error_in_words(cause)}
    if isinstance(error, Problem):
        usual = Problem(error.status).title
        return {k: v for k, v in error.document().items() if (k, v) != ("title", usual)}
    return None if isinstance(error, TimeoutError) else str(error)


_JSON = msgspec.json.encode


def event_in_words(event: messages.Event) -> Any:
    """The frame that the event was."""
    match event:
        case messages.StateEvent(on, etag, data, None):
            frame = messages.state(on, etag, _JSON(data))
        case messages.StateEvent(on, etag, _, str() as text):
            frame = messages.text(on, etag, text)
        case messages.PatchEvent(on, etag, base, ops):
            frame = messages.patched(on, etag, base, _JSON(ops))
        case messages.FetchEvent(on, etag):
            frame = messages.fetch(on, etag)
        case messages.CurrentEvent(on, etag):
            frame = messages.current(on, etag)
        case messages.EndEvent(on, document):
            frame = messages.end(on, document)
        case messages.ErrorEvent(document, on):
            frame = messages.error(document, on)
        case messages.RetryEvent(ms):
            frame = messages.retry(ms)
        case messages.ClosedEvent(on):
            frame = messages.closed(on)
        case _:
            raise TypeError(event)
    return msgspec.json.decode(frame)


def _member(name: str, value: Any) -> Any:
    return _ms(value) if name == "again" and value is not None else in_words(value)


def _ms(seconds: float) -> float:
    us = round(seconds * 1e6)
    return us // 1000 if us % 1000 == 0 else us / 1000


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
