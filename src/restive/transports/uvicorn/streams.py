"""Requests of event streams that come again in the same bytes, opened before there is an ASGI call.

As ``reads`` does with plain GETs, where what is held tells the new client a state at once.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from ...http.fields import Fields
from ..bare import Bare
from ..takeover import OpenStream
from .limited import Limited
from .reads import EarlyReads, Origin

__all__ = ["EarlyStreams"]

MAX_STREAMS = 1024
"""Requests that one server knows by their bytes; the oldest goes first."""


class Repeated(NamedTuple):
    """A request that may come again."""

    open: OpenStream
    origin: Origin
    target: str
    """As in the access log."""


class EarlyStreams(EarlyReads, Limited):
    """A connection, as far as it opens streams: early, or for the app."""

    def again_open(self, scope: Any, opens: OpenStream) -> None:
        """Answer the request of ``scope`` with ``opens()`` where it comes again."""
        data = self._whole
        # A proxy that was believed has named a client of its own.
        if data is None or not self._between or scope["client"] is not self.client:
            return
        known = self._reads.streams
        if len(known) >= MAX_STREAMS:
            del known[next(iter(known))]
        known[data] = Repeated(opens, self._where(), get_path_with_query_string(self.cycle.scope))

    def streamed(self, data: bytes) -> bool:
        """Whether ``data``, the first that came, asked for a stream that is known."""
        repeated = self._reads.streams.get(data)
        if repeated is None or self._arriving is not data or self.cycle is not None:
            return False
        if repeated.origin != self._where() or self.transport.is_closing():
            return False
        opened = repeated.open(self.client)
        if opened is None:
            return False
        if not writable(opened.fields):
            opened.protocol.dismiss()
            return False
        client = get_client_addr({"client": self.client})
        self.stream(opened.protocol, 200, opened.fields, (client, "GET", repeated.target))
        opened.begin()
        return True

    def stream(self, protocol: Bare, status: int, fields: Fields, asked: tuple[str, str, str]) -> None:
        """Write the head of a chunked response and hand the transport to ``protocol``.

        ``asked`` is client, method and target, for the access log.
        """
        transport = self.transport
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b\r\n" % line for line in (*self.server_state.default_headers, *fields)]
        lines.append(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        transport.write(b"".join(lines))
        if self.access_log:
            self.access_logger.info('%s - "%s %s HTTP/%s" %d', *asked, "1.1", status)
        self.server_state.total_requests += 1
        self.let_go()
        protocol.begin(transport, self.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)

    def let_go(self) -> None:
        """Free what a connection holds that is no longer HTTP's: parser and cycle refer back to this."""
        self.release()
        self.connections.discard(self)
        self.parser = self.cycle = self.scope = self.headers = None  # type: ignore[assignment]


def writable(fields: Fields) -> bool:
    """Whether a head can have these fields."""
    return not any(HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) for name, value in fields)
