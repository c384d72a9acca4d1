"""Frames of ``restive.v1`` from server to client: JSON text, one object each; lines and events hold the same.

The encoders write them: the parts that are JSON already are put in as they are, so that a rendering
is encoded once for all its watchers, and nothing in an event depends on the connection.
``parse_event`` reads them for clients, and ignores members that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from .frames import HeaderValues, Identifier

__all__ = [
    "ClosedEvent",
    "CurrentEvent",
    "EndEvent",
    "ErrorEvent",
    "Event",
    "FetchEvent",
    "ItemsEvent",
    "PatchEvent",
    "ResponseEvent",
    "RetryEvent",
    "StateEvent",
    "closed",
    "current",
    "end",
    "error",
    "fetch",
    "items",
    "parse_event",
    "patched",
    "response",
    "retry",
    "state",
    "text",
]

_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def state(on: str, etag: str, data: bytes) -> bytes:
    """The representation of ``on``; ``data`` is its compact JSON."""
    return b'{"on":%b,"etag":%b,"data":%b}' % (_json(on), _json(etag), data)


def text(on: str, etag: str, text: str) -> bytes:
    """The representation of ``on`` where it is text, not JSON."""
    return b'{"on":%b,"etag":%b,"text":%b}' % (_json(on), _json(etag), _json(text))


def patched(on: str, etag: str, base: str, ops: bytes) -> bytes:
    """How the representation ``base`` of ``on`` becomes ``etag``; ``ops`` is a JSON Patch (RFC 6902)."""
    return b'{"on":%b,"etag":%b,"base":%b,"patch":%b}' % (_json(on), _json(etag), _json(base), ops)


def fetch(on: str, etag: str) -> bytes:
    """``on`` has changed and is too big or binary: the client GETs it."""
    return b'{"on":%b,"etag":%b,"fetch":true}' % (_json(on), _json(etag))


def current(on: str, etag: str) -> bytes:
    """What the client has of ``on`` is up to date."""
    return b'{"on":%b,"etag":%b,"current":true}' % (_json(on), _json(etag))


def end(on: str, document: Mapping[str, Any]) -> bytes:
    """The watch of ``on`` is over: a problem document, or ``{"status": 200}`` where it is final."""
    return b'{"on":%b,"end":%b}' % (_json(on), _json(dict(document)))


def items(on: str, offset: str, items: Sequence[bytes], *, base64: bool = False) -> bytes:
    """Items of the stream ``on``, JSON each; ``offset`` resumes behind the last of them.

    ``base64``: they are strings that stand for bytes.
    """
    coding = b'"encoding":"base64",' if base64 else b""
    return b'{"on":%b,"offset":%b,%b"items":[%b]}' % (_json(on), _json(offset), coding, b",".join(items))


def closed(on: str) -> bytes:
    """The stream ``on`` has no more items, ever."""
    return b'{"on":%b,"closed":true}' % _json(on)


def error(document: Mapping[str, Any], on: str | None = None, id: Identifier | None = None) -> bytes:  # noqa: A002
    """A frame was refused; ``on`` or ``id`` say which, where that is known."""
    about: dict[str, Any] = {} if on is None else {"on": on}
    if id is not None:
        about["id"] = id
    return _json({"error": dict(document), **about})


def retry(ms: int) -> bytes:
    """The connection will be closed; the client comes back after about ``ms`` milliseconds."""
    return b'{"retry":%d}' % ms


def response(
    id: Identifier,  # noqa: A002
    status: int,
    headers: HeaderValues,
    body: bytes | None = None,
    *,
    text: str | None = None,
    base64: str | None = None,
    truncated: bool = False,
) -> bytes:
    """The response to request ``id``: at most one of ``body`` (compact JSON), ``text`` and ``base64``.

    A ``Set-Cookie`` among ``headers`` never enters the frame; ``"cookies": true`` stands for it.
    ``truncated`` says that there is a body which the frame does not hold.
    """
    kept = {name: value for name, value in headers.items() if name.lower() != "set-cookie"}
    content = b'"body":%b' % (b"null" if body is None else body)
    if text is not None:
        content = b'"text":%b' % _json(text)
    elif base64 is not None:
        content = b'"base64":%b' % _json(base64)
    return b'{"id":%b,"status":%d,"headers":%b,%b%b%b}' % (
        _json(id),
        status,
        _json(kept),
        content,
        b',"truncated":true' if truncated else b"",
        b',"cookies":true' if len(kept) < len(headers) else b"",
    )


# -- what a client reads -----------------------------------------------------------------------


class StateEvent(msgspec.Struct, frozen=True):
    """The representation of ``on``: ``text`` where it is text, else the decoded JSON in ``data``."""

    on: str
    etag: str
    data: Any = None
    text: str | None = None


class PatchEvent(msgspec.Struct, frozen=True):
    """How the representation ``base`` becomes ``etag`` (``wire.patch.apply``)."""

    on: str
    etag: str
    base: str
    ops: list[Any]


class FetchEvent(msgspec.Struct, frozen=True):
    """``on`` has changed and is to be fetched by a GET."""

    on: str
    etag: str


class CurrentEvent(msgspec.Struct, frozen=True):
    """What the client has of ``on`` is up to date."""

    on: str
    etag: str


class EndEvent(msgspec.Struct, frozen=True):
    """The watch is over; ``document`` is a problem, or ``{"status": 200}`` for a final state."""

    on: str
    document: dict[str, Any]


class ItemsEvent(msgspec.Struct, frozen=True):
    """Items of a stream, decoded; ``offset`` resumes behind the last of them.

    With the ``encoding`` ``base64`` they are strings that stand for bytes.
    """

    on: str
    offset: str
    items: list[Any]
    encoding: str | None = None


class ClosedEvent(msgspec.Struct, frozen=True):
    """The stream has no more items, ever."""

    on: str


class ErrorEvent(msgspec.Struct, frozen=True):
    """A frame of the client was refused: the one about ``on``, or the request ``id``, where known."""

    document: dict[str, Any]
    on: str | None = None
    id: Identifier | None = None


class RetryEvent(msgspec.Struct, frozen=True):
    """The connection closes; come back after about ``ms`` milliseconds."""

    ms: int


class ResponseEvent(msgspec.Struct, frozen=True):
    """The response to a request; ``body`` is decoded JSON, unless ``text`` or ``base64`` is there."""

    id: Identifier
    status: int
    headers: dict[str, str | list[str]]
    body: Any = None
    text: str | None = None
    base64: str | None = None
    truncated: bool = False
    cookies: bool = False


Event = (
    StateEvent
    | PatchEvent
    | FetchEvent
    | CurrentEvent
    | EndEvent
    | ItemsEvent
    | ClosedEvent
    | ErrorEvent
    | RetryEvent
    | ResponseEvent
)


class _Members(msgspec.Struct):
    """Every member that an event may have."""

    on: str | UnsetType = UNSET
    etag: str | UnsetType = UNSET
    data: Any = UNSET
    text: str | UnsetType = UNSET
    base: str | UnsetType = UNSET
    patch: list[Any] | UnsetType = UNSET
    fetch: bool | UnsetType = UNSET
    current: bool | UnsetType = UNSET
    end: dict[str, Any] | UnsetType = UNSET
    offset: str | UnsetType = UNSET
    items: list[Any] | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    closed: bool | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET
    retry: int | UnsetType = UNSET
    id: Identifier | UnsetType = UNSET
    status: int | UnsetType = UNSET
    headers: dict[str, str | list[str]] | UnsetType = UNSET
    body: Any = UNSET
    base64: str | UnsetType = UNSET
    truncated: bool = False
    cookies: bool = False


_decoder = msgspec.json.Decoder(_Members)

# The member that tells a kind of event from the others, the event, and how its members are called here.
# In this order: a response is told by its `status`, which no other event has.
_KINDS: tuple[tuple[str, type[Event], dict[str, str]], ...] = (
    ("status", ResponseEvent, {}),
    ("error", ErrorEvent, {"document": "error"}),
    ("retry", RetryEvent, {"ms": "retry"}),
    ("end", EndEvent, {"document": "end"}),
    ("patch", PatchEvent, {"ops": "patch"}),
    ("items", ItemsEvent, {}),
    ("closed", ClosedEvent, {}),
    ("fetch", FetchEvent, {}),
    ("current", CurrentEvent, {}),
    ("data", StateEvent, {}),
    ("text", StateEvent, {}),
)


def parse_event(text: str | bytes) -> Event:
    """The event that ``text`` is. Raises ``ValueError`` for anything else."""
    try:
        members = _decoder.decode(text)
    except RecursionError:
        raise ValueError("The event is nested too deep.") from None
    for member, kind, names in _KINDS:
        if getattr(members, member) is not UNSET:
            return _event(members, kind, names)
    raise ValueError("There is no such event.")


def _event(members: _Members, kind: type[Event], names: Mapping[str, str]) -> Event:
    given = {name: getattr(members, names.get(name, name)) for name in kind.__struct_fields__}
    known = {name: value for name, value in given.items() if value is not UNSET}
    try:
        return kind(**known)
    except TypeError:
        raise ValueError(f"A {kind.__name__} lacks a member: it has {', '.join(known)}.") from None
