"""What one client may cost a server, and what it owes at each moment: decisions without I/O.

Only what the client owes is timed: the bytes of a request, and to take its response. However long the app
takes is the app's affair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from http import HTTPStatus

from ...errors import Problem
from ...http.targets import MAX_TARGET
from ...settings import Settings

__all__ = ["FAREWELL", "SLOW_BODY", "SLOW_HEAD", "UNREADABLE", "Due", "Limits", "Part", "Refusal", "owed"]

FAREWELL = 2.0
"""Seconds that a refused client has to take its answer, and to go."""

Headers = Sequence[tuple[bytes, bytes]]


class Part(Enum):
    """How far the reading of a request has come."""

    NONE = auto()
    HEAD = auto()
    BODY = auto()


class Due(IntEnum):
    """What a client is waited for to do. (Numbers are cheaper to look up by.)"""

    REQUEST = auto()
    """To begin its first request."""
    NEXT = auto()
    """To begin another one."""
    HEAD = auto()
    """To send the rest of a head."""
    BODY = auto()
    """To send more of a body."""
    TAKING = auto()
    """To take what was written to it."""
    GOING = auto()
    """The same, on a connection that the server has closed."""
    LINGERING = auto()
    """To go, after it was refused."""


def owed(part: Part, *, paused: bool, responding: bool, wanting: bool, used: bool) -> Due | None:
    """What the client of a connection owes, None while it is the app's turn.

    ``paused``: it takes nothing. ``responding``: a response is outstanding. ``wanting``: the app waits for
    more of that request's body. ``used``: there was a request before.
    """
    if paused:
        return Due.TAKING
    if responding:
        return Due.BODY if wanting else None
    if part is Part.HEAD:
        return Due.HEAD
    if part is Part.BODY:
        return Due.BODY  # of a request that was answered without it
    return Due.NEXT if used else Due.REQUEST


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: ``reason`` counts it, ``status`` and ``detail`` answer it."""

    reason: str
    status: int
    detail: str

    def answer(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The whole response, with ``fields`` in front of its own."""
        body = Problem(self.status, detail=self.detail).body()
        lines = [b"HTTP/1.1 %d %b" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [b"%b: %b" % field for field in fields]
        lines += [
            b"content-type: application/problem+json",
            b"cache-control: no-store",
            b"content-length: %d" % len(body),
            b"connection: close",
            b"\r\n",
        ]
        return b"\r\n".join(lines) + body


UNREADABLE = Refusal("syntax", 400, "This is not HTTP/1.1.")
SLOW_HEAD = Refusal("slow-head", 408, "The header fields were not whole in time.")
SLOW_BODY = Refusal("slow-body", 408, "Nothing more of the body came in time.")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long, in bytes and seconds; infinite where a setting is 0."""

    seconds: Mapping[Due, float]
    head_bytes: float
    fields: float

    @classmethod
    def of(cls, settings: Settings, keep_alive: float) -> Limits:
        """From an app's settings and the server's own time for connections without a request."""

        def most(setting: float) -> float:
            return setting or math.inf

        seconds = {
            Due.REQUEST: most(settings.first_byte),
            Due.NEXT: keep_alive,
            Due.HEAD: most(settings.headers_time),
            Due.BODY: most(settings.body_idle),
            Due.TAKING: settings.stall,
            Due.GOING: settings.stall,
            Due.LINGERING: FAREWELL,
        }
        return cls(seconds, most(settings.max_header_bytes), most(settings.max_headers))

    def judge(self, url: bytes, headers: Headers, at_most: int) -> Refusal | None:
        """Why a head, or a body's trailers together with it, is refused now that it is whole.

        It was ``at_most`` so many bytes long, where that is known without counting.
        """
        if at_most > self.head_bytes:
            at_most = len(url) + sum(len(name) + len(value) + 4 for name, value in headers)
        return self.judge_unfinished(url, headers, at_most)

    def judge_unfinished(self, url: bytes, headers: Headers, at_least: int) -> Refusal | None:
        """The same of what is not whole yet, and ``at_least`` so many bytes long."""
        if len(url) > MAX_TARGET:
            return Refusal("url", 414, f"A target has at most {MAX_TARGET} bytes.")
        if len(headers) > self.fields:
            return Refusal("headers", 431, f"A request has at most {self.fields} header fields.")
        if at_least > self.head_bytes:
            return Refusal(
                "headers", 431, f"The header fields of a request have at most {self.head_bytes} bytes."
            )
        return None
