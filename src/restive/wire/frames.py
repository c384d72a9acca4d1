"""Frames of ``restive.v1`` from client to server: JSON text, one object with one verb each.

``parse`` reads them for the server and refuses all that the protocol does not name; the encoders
at the end write them for the client. Targets are not normalised here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from ..errors import Problem, RestiveError

__all__ = [
    "Frame",
    "HeaderValues",
    "Identifier",
    "Limits",
    "Rejected",
    "Request",
    "Send",
    "Unwatch",
    "Watch",
    "parse",
    "request_frame",
    "unwatch_frame",
    "watch_frame",
]

Lines = tuple[tuple[bytes, bytes], ...]
Identifier = int | str
HeaderValues = Mapping[str, str | Sequence[str]]

MAX_DEPTH = 64
"""Levels of arrays and objects in one frame."""
MAX_LINES = 100
"""Header lines in one frame."""
MAX_ECHO = 8192
"""Characters; a longer target is not repeated in the error that refuses it."""

ALLOWED_HEADERS = frozenset(
    {"accept", "accept-language", "authorization", "content-type", "idempotency-key", "prefer"}
)
"""Fields that a frame may hold, beside ``if-*`` and those of ``Limits.socket_headers``."""


@dataclass(frozen=True)
class Limits:
    """What one socket may cost. The defaults are those of the settings of the same names.

    ``max_message`` is in bytes; ``hello``, ``linger``, ``lifetime`` and ``retry`` are in seconds.
    ``requests`` says whether requests may be sent over the socket; ``socket_headers`` are names of
    further fields (in any case) that a frame's ``headers`` may hold.
    """

    max_message: int = 65_536
    max_watches: int = 200
    max_requests: int = 16
    max_errors: int = 20
    message_rate: float = 100.0
    requests: bool = False
    socket_headers: Collection[str] = frozenset()
    hello: float = 10.0
    linger: float = 30.0
    lifetime: float = 3600.0
    retry: float = 1.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "socket_headers", frozenset(name.lower() for name in self.socket_headers))


class Watch(msgspec.Struct, frozen=True):
    """``target`` shall be watched; ``etag`` or ``offset`` say what the client has of it."""

    target: str
    etag: str | None = None
    offset: str | None = None
    headers: Lines = ()
    patch: bool = False


class Unwatch(msgspec.Struct, frozen=True):
    """``target`` need not be watched any longer."""

    target: str


class Request(msgspec.Struct, frozen=True):
    """A request over the socket. ``media_type`` is its Content-Type, which ``headers`` then lack."""

    id: Identifier
    method: str
    target: str
    headers: Lines = ()
    body: bytes | None = None
    media_type: str | None = None


class Send(msgspec.Struct, frozen=True):
    """A message for the channel at ``target``; ``data`` is the client's own JSON."""

    target: str
    data: bytes


Frame = Watch | Unwatch | Request | Send


class Rejected(RestiveError):
    """A frame is refused: ``problem`` says why; ``on`` or ``id`` what it was about, where it said so."""

    def __init__(self, problem: Problem, on: str | None = None, id: Identifier | None = None) -> None:  # noqa: A002
        self.problem = problem
        self.on = on
        self.id = id
        super().__init__(str(problem))


# -- what a client sends: its shape ------------------------------------------------------------

# Integers that every client can represent, JavaScript's included (RFC 8259, section 6).
_Id = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)] | Annotated[str, Meta(max_length=128)]
_Headers = dict[str, str | list[str]]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A shape that knows all of its members."""


class _Watch(_Strict):
    watch: str
    etag: str | None = None
    offset: str | None = None
    headers: _Headers = {}
    patch: bool = False


class _Unwatch(_Strict):
    unwatch: str


class _Request(_Strict):
    method: str
    target: str
    headers: _Headers = {}
    body: Raw | UnsetType = UNSET
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class _RequestFrame(_Strict):
    id: _Id
    request: _Request


class _Send(_Strict):
    send: str
    data: Raw


_members = msgspec.json.Decoder(dict[str, Raw])
_any_text = msgspec.json.Decoder(str)
_any_id: msgspec.json.Decoder[Identifier] = msgspec.json.Decoder(_Id)
_watch_shape = msgspec.json.Decoder(_Watch)
_unwatch_shape = msgspec.json.Decoder(_Unwatch)
_request_shape = msgspec.json.Decoder(_RequestFrame)
_send_shape = msgspec.json.Decoder(_Send)


def parse(text: str | bytes, *, limits: Limits) -> Frame:
    """The one frame that ``text`` is. Its length is the caller's to bound (``Limits.max_message``).

    Raises ``Rejected`` for what is not UTF-8 or JSON, is nested deeper than ``MAX_DEPTH``, has no
    verb or several, has a member that the verb does not know or of a wrong type, a header that is
    not allowed, or is a request where ``limits`` allow none.
    """
    raw, members = _open(text)
    verbs = _READERS.keys() & members.keys()
    if len(verbs) != 1:
        names = ", ".join(_READERS)
        raise Rejected(_bad(f"A frame has exactly one of: {names}."), id=_identifier(members))
    (verb,) = verbs
    try:
        return _READERS[verb](raw, limits)
    except Problem as problem:
        refused = problem
    except msgspec.MsgspecError as wrong:
        refused = _bad(f"{wrong}.")
    raise Rejected(refused, on=_echo(members[verb], verb), id=_identifier(members))


def _open(text: str | bytes) -> tuple[bytes, dict[str, Raw]]:
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        raw.decode()  # Raw members are not looked into, so their text is checked here
        if _too_deep(raw):
            raise Rejected(_bad(f"A frame is nested at most {MAX_DEPTH} levels deep."))
        return raw, _members.decode(raw)
    except UnicodeError:
        raise Rejected(_bad("A frame is UTF-8 text.")) from None
    except msgspec.ValidationError:
        raise Rejected(_bad("A frame is a JSON object.")) from None
    except msgspec.DecodeError as wrong:
        raise Rejected(_bad(f"{wrong}.")) from None


# Possessive, and content with an unterminated string, so that no input is read twice.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def _too_deep(raw: bytes) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _TOKEN.finditer(raw):
        token = found[0]
        if token in {b"[", b"{"}:
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif token in {b"]", b"}"}:
            depth -= 1
    return False


def _bad(detail: str) -> Problem:
    return Problem(400, "Bad frame", detail)


def _echo(value: Raw, verb: str) -> str | None:
    if verb == "request":
        return None
    try:
        target = _any_text.decode(value)
    except msgspec.MsgspecError:
        return None
    return target if len(target) <= MAX_ECHO else None


def _identifier(members: Mapping[str, Raw]) -> Identifier | None:
    try:
        return _any_id.decode(members["id"])
    except (KeyError, msgspec.MsgspecError):
        return None


# -- what a client sends: its sense ------------------------------------------------------------


def _read_watch(raw: bytes, limits: Limits) -> Watch:
    shape = _watch_shape.decode(raw)
    if shape.etag is not None and shape.offset is not None:
        raise _bad("A watch has an `etag` (a resource) or an `offset` (a stream), not both.")
    for name, cursor in (("etag", shape.etag), ("offset", shape.offset)):
        # Nothing but safe: apps have tags that RFC 9110, 8.8.3 does not know, and they come back here.
        if cursor is not None and not _is_field_value(cursor):
            raise _bad(f"`{name}` is not what the server sent.")
    return Watch(shape.watch, shape.etag, shape.offset, _lines(shape.headers, limits), shape.patch)


def _read_unwatch(raw: bytes, _limits: Limits) -> Unwatch:
    return Unwatch(_unwatch_shape.decode(raw).unwatch)


def _read_request(raw: bytes, limits: Limits) -> Request:
    if not limits.requests:
        raise Problem(403, "Requests are off", "Send it over HTTP; a server allows it with requests=True.")
    frame = _request_shape.decode(raw)
    request = frame.request
    if not _METHOD.fullmatch(request.method) or request.method in {"CONNECT", "TRACE"}:
        raise _bad("`method` is a method of HTTP in capitals, but not CONNECT or TRACE.")
    lines = _lines(request.headers, limits)
    body, media_type = _body(request)
    for name, value in lines:
        if name == b"content-type":
            media_type = value.decode("latin-1")
    others = tuple(line for line in lines if line[0] != b"content-type")
    return Request(frame.id, request.method, request.target, others, body, media_type)


def _read_send(raw: bytes, _limits: Limits) -> Send:
    shape = _send_shape.decode(raw)
    return Send(shape.send, bytes(shape.data))


_READERS: Mapping[str, Callable[[bytes, Limits], Frame]] = {
    "watch": _read_watch,
    "unwatch": _read_unwatch,
    "request": _read_request,
    "send": _read_send,
}


def _body(request: _Request) -> tuple[bytes | None, str | None]:
    """The body's bytes and the media type that they have where no header says another."""
    given = [body for body in (request.body, request.text, request.base64) if body is not UNSET]
    if len(given) > 1:
        raise _bad("A request has one of `body` (JSON), `text` and `base64`.")
    if isinstance(request.body, Raw):
        return bytes(request.body), "application/json"
    if isinstance(request.text, str):
        return request.text.encode(), "text/plain; charset=utf-8"
    if isinstance(request.base64, str):
        try:
            return b64decode(request.base64, validate=True), "application/octet-stream"
        except ValueError:
            raise _bad("`base64` is not base64 (RFC 4648, section 4).") from None
    return None, None


_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
# RFC 9110, 5.5: visible characters, spaces and tabs inside only; obs-text as Latin-1.
_FIELD_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


def _is_field_value(value: str) -> bool:
    return _FIELD_VALUE.fullmatch(value) is not None


def _lines(headers: _Headers, limits: Limits) -> Lines:
    """``headers`` as lower-case header lines, or a ``Problem`` that names the field at fault."""
    lines: list[tuple[bytes, bytes]] = []
    for given, values in headers.items():
        name = given.lower()
        if not _FIELD_NAME.fullmatch(given):
            raise _bad(f"{given[:64]!r} is not a field name (RFC 9110, section 5.1).")
        if not _is_allowed(name, limits):
            raise _bad(f"A frame may not set the header {name!r}; the server allows it with socket_headers=.")
        for value in [values] if isinstance(values, str) else values:
            if not _is_field_value(value):
                raise _bad(f"The value of the header {name!r} is not a field value (RFC 9110, section 5.5).")
            lines.append((name.encode(), value.encode("latin-1")))
    if len(lines) > MAX_LINES:
        raise _bad(f"A frame has at most {MAX_LINES} header lines.")
    return tuple(lines)


def _is_allowed(name: str, limits: Limits) -> bool:
    return name in ALLOWED_HEADERS or name.startswith("if-") or name in limits.socket_headers


# -- what a client writes ----------------------------------------------------------------------


def watch_frame(
    target: str,
    etag: str | None = None,
    headers: HeaderValues | None = None,
    patch: bool = False,
) -> str:
    """The frame that watches ``target``; ``etag`` is what the client has, ``patch``: it takes patches."""
    frame: dict[str, Any] = {"watch": target}
    if etag is not None:
        frame["etag"] = etag
    if headers:
        frame["headers"] = dict(headers)
    if patch:
        frame["patch"] = True
    return _json(frame)


def unwatch_frame(target: str) -> str:
    """The frame that ends the watch of ``target``."""
    return _json({"unwatch": target})


def request_frame(
    id: Identifier,  # noqa: A002
    method: str,
    target: str,
    headers: HeaderValues | None = None,
    *,
    body: bytes | None = None,
    text: str | None = None,
    base64: str | None = None,
) -> str:
    """The frame of a request, with at most one of ``body`` (JSON), ``text`` and ``base64``."""
    request: dict[str, Any] = {"method": method, "target": target}
    if headers:
        request["headers"] = dict(headers)
    if body is not None:
        request["body"] = Raw(body)
    if text is not None:
        request["text"] = text
    if base64 is not None:
        request["base64"] = base64
    return _json({"id": id, "request": request})


def _json(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()
