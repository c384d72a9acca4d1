"""The HTTP responses of live answers: which of the app's fields they carry and what they add (design 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import Problem
from ..http.fields import Fields, without
from .outlet import Message, Send

BODY_FIELDS = frozenset(
    b"content-type content-length content-encoding content-range content-location content-disposition "
    b"transfer-encoding accept-ranges digest repr-digest content-digest trailer connection keep-alive".split()
)
CACHING_FIELDS = frozenset(
    b"cache-control expires age etag last-modified pragma date warning cdn-cache-control surrogate-control "
    b"cache-groups cache-status server-timing set-cookie retry-after".split()
)
LIVE_FIELDS: Fields = (
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"incremental", b"?1"),
)
PROBLEM_FIELDS: Fields = ((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"))


def live_fields(app_fields: Fields, media_type: bytes) -> Fields:
    """The fields of a live answer: the app's own, less those of body and caching."""
    kept = without(app_fields, BODY_FIELDS | CACHING_FIELDS)
    return ((b"content-type", media_type), *LIVE_FIELDS, *kept)


def merged(fields: Fields, extra: Fields) -> Fields:
    """``fields`` and those of ``extra`` whose name is not among them: the app's own word counts."""
    names = {name for name, _ in fields}
    return (*fields, *((name, value) for name, value in extra if name not in names))


def start(status: int, fields: Fields) -> Message:
    """The ASGI message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def body(data: bytes, *, more: bool = False) -> Message:
    """The ASGI message that carries a piece of a body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def respond(send: Send, status: int, fields: Fields, data: bytes = b"") -> None:
    """A whole response."""
    if status not in {204, 304}:
        fields = (*fields, (b"content-length", str(len(data)).encode()))
    await send(start(status, fields))
    await send(body(data))


async def respond_problem(send: Send, problem: Problem, fields: Fields = ()) -> None:
    """A problem (RFC 9457) as a whole response."""
    extra = tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers.items()
    )
    await respond(send, problem.status, (*PROBLEM_FIELDS, *extra, *fields), problem.body())


async def respond_end(send: Send, document: Mapping[str, Any], fields: Fields = ()) -> None:
    """The end of a watch, where nothing was said yet: the resource's own status and problem."""
    data = msgspec.json.encode(document)
    await respond(send, int(document["status"]), (*PROBLEM_FIELDS, *fields), data)
