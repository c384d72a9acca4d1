"""Handshakes that come again in the same bytes but for their key, answered before there is an ASGI call.

As ``reads`` does with GETs: what the first of them led to is opened again, without parsing, task and call.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from typing import NamedTuple

from ..bare import Bare
from ..takeover import Open
from .reads import Origin, Reads
from .streams import EarlyStreams

__all__ = ["EarlySockets", "Introduction", "announce", "switching"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFLATE = (
    b"Sec-WebSocket-Extensions: permessage-deflate; "
    b"server_no_context_takeover; client_no_context_takeover\r\n"
)
KEY = b"\r\nsec-websocket-key:"
SIXTEEN_BYTES = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")

MAX_HANDSHAKES = 1024
"""Handshakes that one server knows by their bytes; the oldest goes first."""

log = logging.getLogger("uvicorn.error")
access = logging.getLogger("uvicorn.access")


def switching(
    key: bytes, subprotocol: str | None, defaults: list[tuple[bytes, bytes]], *, deflate: bool
) -> bytes:
    """The response that accepts a handshake (RFC 6455, section 4.2.2)."""
    proof = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"]
    lines.append(b"Sec-WebSocket-Accept: %b\r\n" % proof)
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode())
    if deflate:
        lines.append(DEFLATE)
    lines += [b"%b: %b\r\n" % line for line in defaults]
    return b"".join(lines) + b"\r\n"


def announce(client: tuple[str, int] | None, target: str) -> None:
    """Log that a socket was accepted, as uvicorn does."""
    address = f"{client[0]}:{client[1]}" if client else ""
    log.info('%s - "WebSocket %s" [accepted]', address, target)


def without_key(request: bytes) -> tuple[bytes, bytes] | None:
    """The bytes of a handshake without its key, and the key; None where it has not just one that is right.

    Nor where something follows the head: frames, which may end like one, are not to be lost.
    """
    if request.find(b"\r\n\r\n") != len(request) - 4:
        return None
    lower = request.lower()
    at = lower.find(KEY)
    if at < 0:
        return None
    start = at + len(KEY)
    end = request.find(b"\r\n", start)
    key = request[start:end].strip(b" \t")
    if SIXTEEN_BYTES.fullmatch(key) is None or lower.find(KEY, end) >= 0:
        return None
    return request[:start] + request[end:], key


class Repeated(NamedTuple):
    """A handshake that may come again."""

    open: Open
    origin: Origin
    subprotocol: str | None
    deflate: bool
    target: str
    """As in the log."""


class Introduction:
    """A handshake that is not known yet, told by its connection to what answers it."""

    def __init__(self, reads: Reads, name: bytes, origin: Origin) -> None:
        self._reads, self._name, self._origin = reads, name, origin

    @property
    def outermost(self) -> object:
        """The outermost application that is the user's."""
        return self._reads.outermost

    def keep(self, opens: Open, subprotocol: str | None, target: str, *, deflate: bool) -> None:
        """Know the handshake again."""
        known = self._reads.handshakes
        if len(known) >= MAX_HANDSHAKES:
            del known[next(iter(known))]
        known[self._name] = Repeated(opens, self._origin, subprotocol, deflate, target)


class EarlySockets(EarlyStreams):
    """A connection, as far as it opens sockets early."""

    introduction: Introduction | None = None
    """Of a handshake that is being parsed."""

    def opened(self, data: bytes) -> bool:
        """Whether ``data``, the first that came, was a handshake that is known. Else it is to be parsed."""
        self.introduction = None  # what was no handshake is not to be known by the next one that comes here
        if self._arriving is not data or self.cycle is not None:
            return False
        found = without_key(data)
        if found is None:
            return False
        name, key = found
        repeated = self._reads.handshakes.get(name)
        if repeated is None or repeated.origin != self._where():
            self.introduction = Introduction(self._reads, name, self._where())
            return False
        if self.transport.is_closing():
            return False
        protocol = repeated.open(self.client)
        if protocol is None:
            return False
        self._switch(protocol, key, repeated)
        return True

    def _switch(self, protocol: Bare, key: bytes, repeated: Repeated) -> None:
        transport, defaults = self.transport, self.server_state.default_headers
        transport.write(switching(key, repeated.subprotocol, defaults, deflate=repeated.deflate))
        if self.access_log:
            announce(self.client, repeated.target)
        self.let_go()
        protocol.begin(transport, self.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)
