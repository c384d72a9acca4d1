"""Is this GET a watch, and of which kind? Its two spellings (design 4.2), and many targets at once.

The query spelling is exact: Restive's parameters are ``live`` with a value it knows and those of
``etag``, ``wait`` and ``n`` that stand right behind it, each once. All else is the app's, byte for byte.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from ..errors import Problem
from .fields import Fields, get
from .preferences import accepted, prefer, wait_seconds
from .validators import parse_tags, valid

__all__ = [
    "LIVE_TYPES",
    "STREAM_TYPES",
    "LiveRequest",
    "Mode",
    "header_live",
    "last_event_id",
    "live_of_many",
    "multi",
    "query_live",
]

Mode = Literal["sse", "ndjson", "long-poll"]

LIVE_TYPES: dict[str, Mode] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
"""The media types by which an Accept asks for a watch."""

STREAM_TYPES = frozenset(
    {*LIVE_TYPES, "application/ndjson", "application/x-jsonlines", "application/json-seq"}
)
"""The media types of endless responses, by any of their names."""

_MODES: dict[bytes, Mode] = {b"sse": "sse", b"ndjson": "ndjson", b"long-poll": "long-poll"}
_WAIT = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,3})?")
_MAX_TAG = 1024


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What a watch over HTTP asks for.

    ``etag`` is the tag of what the client has, ``wait`` the seconds for which a long poll would
    wait (unbounded here), ``spelling`` where it was written.
    """

    mode: Mode
    etag: str | None
    wait: float | None
    spelling: Literal["query", "header"]


def query_live(query_string: bytes) -> tuple[LiveRequest | None, bytes]:
    """The watch that the query asks for, and the app's own query: the rest, byte for byte.

    Raises ``Problem`` (400) where an ``etag`` is no entity tag or a ``wait`` no number of seconds.
    """
    if b"live=" not in query_string:
        return None, query_string
    parts = query_string.split(b"&")
    for first, part in enumerate(parts):
        name, _, value = part.partition(b"=")
        mode = _MODES.get(value) if name == b"live" else None
        if mode is not None:
            own, last = _own_parameters(parts, first + 1)
            asked = LiveRequest(mode, _etag(own.get(b"etag", b"")), _wait(own.get(b"wait", b"")), "query")
            return asked, b"&".join(parts[:first] + parts[last:])
    return None, query_string


def header_live(fields: Fields) -> LiveRequest | None:
    """The watch that the header fields ask for.

    A live media type that Accept prefers to all others, resumed by Last-Event-ID; or ``Prefer: wait``
    beside an If-None-Match of one tag. What is malformed is left out.
    """
    mode = _preferred_mode(get(fields, b"accept"))
    if mode is not None:
        return LiveRequest(mode, last_event_id(fields), None, "header")
    wait = wait_seconds(prefer(fields), math.inf)
    tags = parse_tags(get(fields, b"if-none-match") or "") if wait is not None else None
    if tags is None or len(tags) != 1:
        return None
    return LiveRequest("long-poll", tags[0], wait, "header")


def live_of_many(query: bytes, fields: Fields) -> LiveRequest | None:
    """How a request for many resources wants to be told: by its query, or by its header fields.

    Raises ``Problem`` (400) where a ``wait`` is no number of seconds.
    """
    given = {name: value for name, _, value in (part.partition(b"=") for part in query.split(b"&"))}
    if given.get(b"live"):
        mode = _MODES.get(given[b"live"])
        return mode and LiveRequest(mode, None, _wait(given.get(b"wait", b"")), "query")
    mode = _preferred_mode(get(fields, b"accept"))
    wait = None if mode is not None else wait_seconds(prefer(fields), math.inf)
    if wait is not None:
        mode = "long-poll"
    return mode and LiveRequest(mode, None, wait, "header")


def multi(query: bytes) -> list[tuple[str, str | None]]:
    """The (target, etag) of ``watch=/a&etag=E&watch=/b``; other parameters are left out.

    Targets are unescaped once and not checked. Raises ``Problem`` (400) where an ``etag`` does not
    follow its ``watch`` or is no entity tag, or where a target is no text.
    """
    found: list[tuple[str, str | None]] = []
    before = b""
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"watch":
            found.append((_target(value), None))
        elif name == b"etag":
            if before != b"watch":
                raise _problem("An etag stands right behind the watch to which it belongs.")
            found[-1] = (found[-1][0], _etag(value))
        before = name
    return found


def _own_parameters(parts: list[bytes], at: int) -> tuple[dict[bytes, bytes], int]:
    own: dict[bytes, bytes] = {}
    while at < len(parts):
        name, _, value = parts[at].partition(b"=")
        if name not in {b"etag", b"wait", b"n"} or name in own:
            break
        own[name] = value
        at += 1
    return own, at


def _preferred_mode(accept: str | None) -> Mode | None:
    """The mode of the heaviest media range; among equals a type beats a wildcard, then the first counts."""
    if accept is None or not any(name in accept.lower() for name in LIVE_TYPES):
        return None
    ranges = [(weight, "*" not in name, name) for name, weight in accepted(accept) if weight > 0]
    if not ranges:
        return None
    best = max(ranges, key=lambda entry: entry[:2])  # the first of the greatest
    return LIVE_TYPES.get(best[2])


def last_event_id(fields: Fields) -> str | None:
    """The tag that an ``EventSource`` had last, None where it says none or what is no tag."""
    value = get(fields, b"last-event-id")
    tag = _text(value.encode("latin-1")) if value else ""
    return tag if tag and len(tag) <= _MAX_TAG and valid(tag) else None


def _etag(raw: bytes) -> str | None:
    """A tag as in the header, or its opaque part without the quotes. A + is a plus: tags hold no blank."""
    tag = _text(unquote_to_bytes(raw))
    if not tag:
        return None
    if '"' not in tag:
        tag = f'W/"{tag[2:]}"' if tag.startswith("W/") else f'"{tag}"'
    if len(tag) > _MAX_TAG or not valid(tag):
        raise _problem("etag is an entity tag as in the ETag field, percent-encoded.")
    return tag


def _wait(raw: bytes) -> float | None:
    if not raw:
        return None
    if not _WAIT.fullmatch(raw):
        raise _problem("wait is a number of seconds.")
    return float(raw)


def _target(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise _problem("A target is text in UTF-8.") from None


def _text(raw: bytes) -> str:
    """Clients write a latin-1 field as UTF-8 in a URL and in Last-Event-ID; curl sends it as it came."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _problem(detail: str) -> Problem:
    return Problem(400, "Invalid watch", detail)
