"""The server's side of RFC 6455 without I/O: bytes in, messages out; and the frames that a server writes.

A ``Reader`` holds nothing between messages, so that an idle connection costs none of it. Whatever breaks
the protocol ends in a ``Failure`` with the close code that it asks for, and nothing is read after it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """``data`` with the mask of RFC 6455, section 5.3, taken off."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


apply_mask: Callable[[bytes, bytes], bytes] = _unmasked
with contextlib.suppress(ImportError):
    from websockets.speedups import apply_mask

__all__ = ["ACCEPTABLE", "Failure", "Message", "Opcode", "Reader", "close_frame", "deflated", "frame"]


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


FIN, RSV1, RSV23, MASKED = 0x80, 0x40, 0x30, 0x80
PROTOCOL_ERROR, BAD_DATA, TOO_BIG = 1002, 1007, 1009

ACCEPTABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
"""Close codes that a peer may send, beside 3000 to 4999 (section 7.4)."""

TAIL = b"\x00\x00\xff\xff"
"""What permessage-deflate leaves out at the end of a message (RFC 7692, section 7.2.1)."""


class Message(NamedTuple):
    """What came: a whole text or binary message, or a control frame; ``code`` is a close's, if it has one."""

    opcode: Opcode
    data: bytes
    code: int | None = None


class Failure(Exception):
    """The peer broke the protocol: close with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"{code} {reason}")


class _Head(NamedTuple):
    """One frame's head: its payload is ``start`` to ``end`` of the bytes held."""

    first: int
    mask: bytes
    start: int
    end: int


class Reader:
    """Reads what one client sends.

    ``most`` bounds a message in bytes, after inflation too, and ``fragments`` the frames that it may come
    in. ``deflate`` says whether permessage-deflate was agreed on, without context takeover.
    """

    __slots__ = (
        "_broken",
        "_fragments",
        "_held",
        "_need",
        "_opcode",
        "_packed",
        "_parts",
        "deflate",
        "fragments",
        "most",
    )

    def __init__(self, most: int, fragments: int, *, deflate: bool = False) -> None:
        self.most, self.fragments, self.deflate = most, fragments, deflate
        self._broken = False
        self._held: bytearray | None = None
        self._need = 0
        self._parts: bytearray | None = None
        self._opcode = Opcode.CONTINUATION
        self._packed = False
        self._fragments = 0

    @property
    def dispensable(self) -> bool:
        """Whether a new one would go on like this one."""
        return self.idle and not self._broken

    @property
    def idle(self) -> bool:
        """Whether no message and no frame is half read."""
        return self._held is None and self._parts is None

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with ``data``; nothing may be fed before all are taken.

        Raises ``Failure`` behind the last that was whole where the protocol is broken; whatever is fed
        then is not read.
        """
        if self._broken:
            return
        try:
            yield from self._messages(data)
        except Failure:
            self.stop()
            raise

    def stop(self) -> None:
        """Read nothing any more."""
        self._broken, self._held, self._parts = True, None, None

    def _messages(self, data: bytes) -> Iterator[Message]:
        if self._held is not None:
            self._held += data
            if len(self._held) < self._need:
                return  # so that no byte is looked at twice, however small the pieces
            data, self._held = bytes(self._held), None
        at, head = 0, self._head(data, 0)
        while head is not None and head.end <= len(data):
            payload = apply_mask(data[head.start : head.end], head.mask)
            at = head.end
            message = self._frame(head.first, payload)
            if message is not None:
                yield message
                if self._broken:
                    return
            head = self._head(data, at)
        if at < len(data):
            self._held = bytearray(data[at:])
            self._need = 0 if head is None else head.end - at

    def _head(self, data: bytes, at: int) -> _Head | None:
        """The head of the frame at ``at``, None while it is not whole."""
        left = len(data) - at
        if left < 2:
            return None
        first, second = data[at], data[at + 1]
        size, start = second & 0x7F, at + 2
        self._check_head(first, second, size)
        if size == 126:
            if left < 4:
                return None
            size, start = _size(data[at + 2 : at + 4]), at + 4
        elif size == 127:
            if left < 10:
                return None
            size, start = _size(data[at + 2 : at + 10]), at + 10
        if size + (0 if self._parts is None else len(self._parts)) > self.most and first & 0x08 == 0:
            raise Failure(TOO_BIG, f"a message has at most {self.most} bytes")
        if len(data) < start + 4:
            return None
        return _Head(first, data[start : start + 4], start + 4, start + 4 + size)

    def _check_head(self, first: int, second: int, size: int) -> None:
        opcode = first & 0x0F
        if first & RSV23 or (first & RSV1 and not (self.deflate and opcode in {1, 2})):
            raise Failure(PROTOCOL_ERROR, "a reserved bit is set")
        if not second & MASKED:
            raise Failure(PROTOCOL_ERROR, "a client's frame is masked")
        if opcode >= 8:
            if opcode > 10:
                raise Failure(PROTOCOL_ERROR, "an unknown opcode")
            if not first & FIN or size > 125:
                raise Failure(PROTOCOL_ERROR, "a control frame is whole and has at most 125 bytes")
        elif opcode > 2:
            raise Failure(PROTOCOL_ERROR, "an unknown opcode")
        elif (opcode == Opcode.CONTINUATION) is (self._parts is None):
            raise Failure(PROTOCOL_ERROR, "a fragment out of order")

    def _frame(self, first: int, payload: bytes) -> Message | None:
        opcode = first & 0x0F
        if opcode == Opcode.CLOSE:
            return _close(payload)
        if opcode >= Opcode.PING:
            return Message(Opcode(opcode), payload)
        if first & FIN and self._parts is None:
            return self._whole(Opcode(opcode), payload, packed=bool(first & RSV1))
        return self._fragment(first, payload)

    def _fragment(self, first: int, payload: bytes) -> Message | None:
        if self._parts is None:
            self._parts, self._fragments = bytearray(), 0
            self._opcode, self._packed = Opcode(first & 0x0F), bool(first & RSV1)
        self._fragments += 1
        if self._fragments > self.fragments:
            raise Failure(TOO_BIG, f"a message has at most {self.fragments} frames")
        self._parts += payload
        if not first & FIN:
            return None
        data, self._parts = bytes(self._parts), None
        return self._whole(self._opcode, data, packed=self._packed)

    def _whole(self, opcode: Opcode, data: bytes, *, packed: bool) -> Message:
        if packed:
            data = _inflated(data, self.most)
        if opcode is Opcode.TEXT:
            try:
                data.decode()
            except UnicodeDecodeError:
                raise Failure(BAD_DATA, "text is UTF-8") from None
        return Message(opcode, data)


def _size(field: bytes) -> int:
    """An extended payload length: the shortest form that holds it, of at most 63 bits."""
    size = int.from_bytes(field, "big")
    if not (126 <= size <= 0xFFFF if len(field) == 2 else 0xFFFF < size < 1 << 63):
        raise Failure(PROTOCOL_ERROR, "a length in another form than the shortest")
    return size


def _close(payload: bytes) -> Message:
    if not payload:
        return Message(Opcode.CLOSE, b"")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in ACCEPTABLE or 3000 <= code <= 4999):
        raise Failure(PROTOCOL_ERROR, "not a close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise Failure(BAD_DATA, "a reason is UTF-8") from None
    return Message(Opcode.CLOSE, payload[2:], code)


def _inflated(data: bytes, most: int) -> bytes:
    """One message inflated, with a bound on what comes out rather than on what goes in."""
    inflate = zlib.decompressobj(-15)
    try:
        out = inflate.decompress(data + TAIL, most + 1)
    except zlib.error:
        raise Failure(BAD_DATA, "this cannot be inflated") from None
    if len(out) > most:
        raise Failure(TOO_BIG, f"a message has at most {most} bytes")
    return out


def frame(opcode: int, payload: bytes, *, packed: bool = False) -> bytes:
    """One whole frame of a server: not masked."""
    first, size = FIN | opcode | (RSV1 if packed else 0), len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def deflated(opcode: int, payload: bytes) -> bytes:
    """The frame in compressed form, without context takeover: the same bytes serve everybody.

    The plain frame where compressing gains nothing.
    """
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    packed = packed[:-4]
    return frame(opcode, packed, packed=True) if len(packed) < len(payload) else frame(opcode, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close, without code and reason for None; a reason that is too long is cut."""
    if code is None:
        return frame(Opcode.CLOSE, b"")
    cut = reason.encode()[:123].decode(errors="ignore")
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + cut.encode())
