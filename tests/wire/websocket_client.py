"""Frames of a client, made from RFC 6455 alone; and what a reader makes of bytes in any pieces."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from restive.wire.websocket import Failure, Message, Reader

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    size: int | None = None,
    form: int | None = None,
) -> bytes:
    """One frame. ``size`` is what its head claims, ``form`` the octets that say so (0, 2 or 8)."""
    size = len(payload) if size is None else size
    if form is None:
        form = 0 if size < 126 else 2 if size < 65_536 else 8
    short = {0: size, 2: 126, 8: 127}[form]
    head = bytes((fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short))
    head += size.to_bytes(form, "big") if form else b""
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    octets = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + octets.to_bytes(len(payload), "big")


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def packed(data: bytes, *, final: bool = False) -> bytes:
    """The payload of a message that permessage-deflate has made smaller (RFC 7692, 7.2.1)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = deflate.compress(data)
    if final:  # a last block, and the empty one whose tail is left out (7.2.3.4)
        return out + deflate.flush() + b"\x00"
    return (out + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def read(
    pieces: Iterable[bytes], *, most: int = 65_536, fragments: int = 1024, deflate: bool = False
) -> tuple[list[Message], int | None]:
    """The messages that come of ``pieces``, and the code of the failure that ended them."""
    reader = Reader(most, fragments, deflate=deflate)
    messages: list[Message] = []
    for piece in pieces:
        try:
            for message in reader.feed(piece):
                messages.append(message)  # noqa: PERF402 - what came before a failure counts
        except Failure as failure:
            return messages, failure.code
    return messages, None


def octets(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]
