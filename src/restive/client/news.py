"""What a transport can say, whichever it is: the machine's input, and how frames and responses become it.

The readers are pure. A response is read by its status as design 2.3 says; a status that speaks of the
server's health, not of the resource, is a `Failure`, after which the client comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from ..errors import Problem
from ..wire.messages import CurrentEvent, EndEvent, Event, FetchEvent, PatchEvent, StateEvent
from ..wire.sse import SSEEvent
from .policy import Transport, retry_after
from .state import State

__all__ = [
    "Announced",
    "Ended",
    "Failure",
    "Kind",
    "News",
    "Snapshot",
    "Unchanged",
    "of_answer",
    "of_event",
    "of_many",
    "of_refusal",
    "of_sse",
]

FINAL_AFTER = 31_536_000
"""Seconds; what says `immutable` and lives so long never changes (design 2.3)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state. ``again`` is the time in seconds after which the server wants to be polled again."""

    state: State
    final: bool = False
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing new; ``etag`` is what the server believes the client to have, where it says so."""

    etag: str | None = None
    final: bool = False
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Announced:
    """A new state that the client has to GET."""

    etag: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The watch is over: with a problem, or with None where the last state is final."""

    problem: Problem | None


News = Snapshot | Unchanged | Announced | Ended


class Kind(Enum):
    """Why a transport delivered nothing (more)."""

    UNREACHABLE = auto()  # no connection at all: says nothing about the transport
    BUSY = auto()  # 429 or 5xx: says nothing about it either, unless another transport gets through
    REFUSED = auto()  # the server, or something before it, does not speak this transport
    SILENT = auto()  # it may be open, yet nothing came in time
    DROPPED = auto()  # closed before its time
    SLOW = auto()  # it works, yet nothing came of this resource in time
    MISFIT = auto()  # this one watch cannot use it, others can; or many cannot share it, and one can


@dataclass(frozen=True, slots=True)
class Failure:
    """``cause`` is for the user, ``again`` is when the server wants to be asked again, in seconds."""

    kind: Kind
    cause: BaseException | None = None
    again: float | None = None


def of_event(event: Event) -> News | None:
    """What an object of the socket, or a line of NDJSON, says of its resource."""
    match event:
        case StateEvent():
            data = event.data if event.text is None else event.text
            return Snapshot(State(data, event.etag, event.text))
        case CurrentEvent():
            return Unchanged(event.etag)
        case FetchEvent() | PatchEvent():
            return Announced(event.etag)
        case EndEvent():
            return _ended(event.document)
        case _:
            return None


def of_sse(event: SSEEvent, *, text: bool) -> News | None:
    """What an event says. A stream does not tell text from JSON: ``text`` says that it was text before."""
    etag = event.id or None
    match event.name:
        case "message":
            return Snapshot(_state(event.data, etag, text=text))
        case "current":
            return Unchanged(etag)
        case "fetch":
            return Announced(etag)
        case "end":
            return _ended(msgspec.json.decode(event.data, type=dict))
        case _:
            return None


def _state(data: str, etag: str | None, *, text: bool) -> State:
    if not text:
        try:
            return State(msgspec.json.decode(data), etag)
        except (msgspec.DecodeError, RecursionError):
            pass
    return State(data, etag, data)


def _ended(document: Mapping[str, object]) -> Ended:
    if document.get("status") == 200:
        return Ended(None)
    return Ended(Problem.from_document(document))


def of_answer(
    transport: Transport, status: int, headers: Mapping[str, str], body: bytes, unix_now: float
) -> News | Failure:
    """What the whole response to a poll, a long poll or a GET says, or the refusal of a stream."""
    again = retry_after(headers, unix_now)
    final = _final(headers)
    if status == 304:
        return Unchanged(headers.get("etag"), final, again)
    if status == 204 and transport in {"sse", "ndjson"}:
        return Ended(None)
    if status == 204 and transport == "long-poll":
        return Unchanged(headers.get("etag"), final)
    if status in {200, 203, 204} and transport in {"poll", "long-poll"}:
        return Snapshot(_content(headers, body), final, again)
    return _refused(transport, status, headers, body, unix_now)


def of_many(status: int, headers: Mapping[str, str], body: bytes, unix_now: float) -> Unchanged | Failure:
    """What the response to a request for many says, where it holds no events."""
    if status == 204:
        return Unchanged()
    problem = of_refusal(status, headers, body)
    if status == 504:
        return Failure(Kind.SILENT, problem)
    if status in _LATER or (status >= 500 and status != 501):
        return Failure(Kind.BUSY, problem, retry_after(headers, unix_now))
    # Whether each of them may be watched says its own URI.
    return Failure(Kind.MISFIT, problem)


_ENDS = {401, 403, 404, 405, 406, 410, 451}
"""With these the resource itself ends a watch (design 2.3), whatever the transport."""

_LATER = {408, 425, 429}


def _refused(
    transport: Transport, status: int, headers: Mapping[str, str], body: bytes, unix_now: float
) -> News | Failure:
    problem = of_refusal(status, headers, body)
    again = retry_after(headers, unix_now)
    if status == 504 and transport != "poll":
        return Failure(Kind.SILENT, problem)  # a gateway did not wait as long as the server would have
    if status in _LATER or status >= 500:
        return Failure(Kind.BUSY, problem, again)
    if status in _ENDS or 300 <= status < 400 or transport == "poll":
        return Ended(problem)
    return Failure(Kind.REFUSED, problem)


def of_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """The problem that a response tells, whether it is a problem document or not."""
    problem = Problem(status)
    if "json" in headers.get("content-type", ""):
        try:
            problem = Problem.from_document(msgspec.json.decode(body, type=dict), status)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
    problem.status = status
    if "location" in headers:
        problem.members.setdefault("location", headers["location"])
    return problem


def _final(headers: Mapping[str, str]) -> bool:
    directives = {part.strip().lower() for part in headers.get("cache-control", "").split(",")}
    age = next((part[8:].strip('"') for part in directives if part.startswith("max-age=")), "")
    return "immutable" in directives and age.isascii() and age.isdigit() and int(age[:15]) >= FINAL_AFTER


def _content(headers: Mapping[str, str], body: bytes) -> State:
    etag = headers.get("etag")
    media_type, _, parameters = headers.get("content-type", "").lower().partition(";")
    media_type = media_type.strip()
    if not body:
        return State(None, etag)
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return State(msgspec.json.decode(body), etag)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # what is not RFC 8259 is text (design 4.3)
    elif not (
        media_type.startswith("text/") or media_type == "application/xml" or media_type.endswith("+xml")
    ):
        return State(body, etag)
    return _text(body, parameters, etag)


def _text(body: bytes, parameters: str, etag: str | None) -> State:
    charset = parameters.partition("charset=")[2].partition(";")[0].strip().strip('"') or "utf-8"
    try:
        text = body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return State(body, etag)
    return State(text, etag, text)
