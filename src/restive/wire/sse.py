"""Server-sent events: the encoder that the server uses and the parser that the client uses.

The parser follows the WHATWG algorithm (HTML, 9.2.6 "Interpreting an event stream") to the letter, on bytes:
line ends are ASCII, so that lines may be cut before they are decoded. It acts on a lone CR at once and
swallows an LF that follows it in a later chunk; an event that the stream ends in the middle of is dropped.
Work is linear in the bytes fed, however they are cut, and memory is bounded by `max_event`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["COMMENT", "MEDIA_TYPE", "Parser", "SSEEvent", "event", "retry"]

MEDIA_TYPE = "text/event-stream"
COMMENT = b":\n\n"
"""What keeps an idle stream open: a comment, which every parser ignores."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_UNSAFE = re.compile(r"[\r\n\0]")
_BOM = b"\xef\xbb\xbf"
_MOST_DIGITS = 15
"""More digits of `retry` than this name no time that anybody waits (and `int` refuses thousands of them)."""


@dataclass(frozen=True, slots=True)
class SSEEvent:
    """One dispatched event.

    ``name`` is ``"message"`` where the stream named none; ``id`` is the last event ID at that moment, which
    an event without an ``id`` field inherits from those before it.
    """

    name: str
    data: str
    id: str


def event(data: bytes, *, name: str | None = None, id: str | None = None) -> bytes:  # noqa: A002 - the field's name
    r"""One event as bytes; ``data`` is UTF-8 and is split at ``\r\n``, ``\r`` and ``\n``, as parsers do.

    Raises ``ValueError`` where CR, LF or NUL would enter ``name`` or ``id``.
    """
    head = b""
    if name:
        head += b"event: " + _field(name) + b"\n"
    if id is not None:
        head += b"id: " + _field(id) + b"\n"
    if b"\n" not in data and b"\r" not in data:
        return b"%bdata: %b\n\n" % (head, data)
    return head + b"".join(b"data: %b\n" % line for line in _LINE_END.split(data)) + b"\n"


def retry(ms: int) -> bytes:
    """The field that tells a client after how many milliseconds to reconnect."""
    return b"retry: %d\n\n" % max(0, ms)


def _field(value: str) -> bytes:
    if _UNSAFE.search(value):
        raise ValueError(f"CR, LF and NUL cannot enter a field of an event: {value!r}")
    return value.encode()


class Parser:
    """Bytes in, events out; one for each response.

    ``last_event_id`` is the ID to resume from, ``retry`` the reconnection time in milliseconds that the
    stream last named, or None. ``max_event`` bounds, in bytes, what one event (or one line) may take.
    """

    def __init__(self, *, max_event: int = 16 * 1024 * 1024, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._max_event = max_event
        self._line = bytearray()  # the line that has not ended yet
        self._first_line = True  # only this one may begin with a BOM
        self._after_cr = False  # an LF that comes next belongs to the CR
        self._id = last_event_id  # becomes last_event_id when its block ends
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0  # bytes in _data, with a line feed each

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """The events that ``chunk`` completes.

        Raises ``ValueError`` for one that is too big; the parser is of no use after that.
        """
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *ended, rest = _LINE_END.split(chunk)
        events: list[SSEEvent] = []
        for line in ended:
            found = self._take(self._end_line(line))
            if found is not None:
                events.append(found)
        self._extend(rest)
        return events

    def _extend(self, piece: bytes) -> None:
        if self._size + len(self._line) + len(piece) > self._max_event:
            raise ValueError(f"An event of more than {self._max_event} bytes.")
        self._line += piece

    def _end_line(self, piece: bytes) -> bytes:
        if self._line or self._size + len(piece) > self._max_event:
            self._extend(piece)
            piece = bytes(self._line)
            self._line.clear()
        if self._first_line:
            self._first_line = False
            piece = piece.removeprefix(_BOM)
        return piece

    def _take(self, line: bytes) -> SSEEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")  # one space only
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._name = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits, and at least one
            digits = value.lstrip(b"0")
            self.retry = int(digits or b"0") if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
        return None  # a comment has an empty name; it is ignored as unknown fields are

    def _dispatch(self) -> SSEEvent | None:
        self.last_event_id = self._id
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        if not data:
            return None
        return SSEEvent(name or "message", b"\n".join(data).decode(errors="replace"), self.last_event_id)
