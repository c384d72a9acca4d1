"""What the bodies of appends come to as items, and items as bodies of reads (protocol section 9).

JSON messages are stored as they were written, without line ends, which in JSON are but white space between
tokens; so one message is one line wherever it is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..errors import Problem
from ..http.fields import media_type
from .items import MAX_PAYLOAD

__all__ = ["ANY", "OCTETS", "encoded", "joined", "kind_of", "parted"]

ANY = "*/*"
"""What is declared where whoever creates a stream chooses its type."""

OCTETS = "application/octet-stream"

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_SPACE = b" \t\r\n"

_messages = msgspec.json.Decoder(list[msgspec.Raw])


def kind_of(content_type: str) -> Literal["json", "text", "bytes"]:
    """How a stream's items are sent over a transport that is text."""
    found = media_type(content_type)
    if found == "application/json":
        return "json"
    return "text" if found.startswith("text/") else "bytes"


def parted(body: bytes, content_type: str, *, most: int, depth: int) -> tuple[bytes, ...]:
    """The items that a body comes to. Raises ``Problem`` (400, 413).

    JSON: each element of an array, else the value itself, at most ``most`` and nested ``depth`` deep.
    Anything else: pieces that can be stored.
    """
    if kind_of(content_type) != "json":
        return _pieces(body, content_type)
    messages = _messages_of(body, depth)
    if len(messages) > most:
        raise Problem(413, detail=f"One append has at most {most} messages, not {len(messages)}.")
    for message in messages:
        if len(message) > MAX_PAYLOAD:
            raise _too_large(len(message))
    return messages


def _pieces(body: bytes, content_type: str) -> tuple[bytes, ...]:
    """The body in pieces that can be stored, those of a text without a character cut in two."""
    pieces, at = [], 0
    while at < len(body):
        end = at + MAX_PAYLOAD
        if kind_of(content_type) == "text" and end < len(body):
            end = next((end - back for back in range(4) if body[end - back] & 0xC0 != 0x80), end)
        pieces.append(body[at:end])
        at = end
    return tuple(pieces)


def _messages_of(body: bytes, depth: int) -> tuple[bytes, ...]:
    try:
        body.decode()  # of what is stored as it is, the text is checked here
        body = body.strip(_SPACE)
        if _is_deep(body, depth + body.startswith(b"[")):
            raise Problem(400, "Not such JSON", f"A message is nested at most {depth} deep.")
        msgspec.json.decode(body)
        body = body.translate(_NEWLINES)
        if not body.startswith(b"["):
            return (body,)
        return tuple(bytes(message).strip(_SPACE) for message in _messages.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "Not JSON", f"The body is not valid JSON: {error}") from None


def _is_deep(body: bytes, depth: int) -> bool:
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    level = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        level += 1 if bracket in b"[{" else -1
        if level > depth:
            return True
    return False


def encoded(item: Any, content_type: str) -> tuple[bytes, ...]:
    """The stored items that an item of the app's own code comes to.

    JSON as FastAPI would write it; for other types bytes, or text, which may be parted. Raises ``TypeError``
    and ``ValueError`` for what cannot be stored.
    """
    if kind_of(content_type) != "json":
        if not isinstance(item, str | bytes | bytearray | memoryview):
            raise TypeError(f"A stream of {content_type} takes bytes or str, not {type(item).__name__}.")
        given = item.encode() if isinstance(item, str) else bytes(item)
        return _pieces(given, content_type)
    from fastapi.encoders import jsonable_encoder

    text = json.dumps(jsonable_encoder(item), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    stored = text.encode()
    if len(stored) > MAX_PAYLOAD:
        raise ValueError(_too_large(len(stored)).detail)
    return (stored,)


def joined(items: Sequence[bytes], content_type: str) -> bytes:
    """The body of a read."""
    if kind_of(content_type) == "json":
        return b"[%b]" % b",".join(items)
    return b"".join(items)


def _too_large(size: int) -> Problem:
    return Problem(413, detail=f"One message has at most {MAX_PAYLOAD} bytes, not {size}.")
