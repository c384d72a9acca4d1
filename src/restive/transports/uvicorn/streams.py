"""Requests of event streams that come again in the same bytes, opened before there is an ASGI call.

As ``reads`` does with plain GETs, where what is held tells the new client a state at once.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from ...http.fields import Fields
from ..bare import Bare
from ..takeover import Opened, OpenStream
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

    def keep(self, opens: OpenStream) -> None:
        """Answer the request that is answered now with ``opens()`` where it comes again.

        Only where no other has come behind it, so that these are its bytes.
        """
        data, scope = self._whole, self.cycle.scope
        # A proxy that was believed has named a client of its own.
        if data is None or not self._between or scope["client"] is not self.client:
            return
        known = self._reads.streams
        if len(known) >= MAX_STREAMS and data not in known:
            del known[next(iter(known))]
        known[data] = Repeated(opens, self._where(), get_path_with_query_string(scope))

    def streamed(self, data: bytes) -> bool:
        """Whether ``data``, the first that came, asked for a stream that is known."""
        repeated = self._reads.streams.get(data)
        if repeated is None or self._arriving is not data or self.cycle is not None:
            return False
        if repeated.origin != self._where() or not self._may_answer():
            return False
        opened = self._reopened(repeated.open)
        if opened is None:
            return False
        client = get_client_addr({"client": self.client})
        self.stream(opened.protocol, 200, opened.fields, (client, "GET", repeated.target))
        opened.begin()
        return True

    def _reopened(self, opens: OpenStream) -> Opened | None:
        """What answers the request, None where the app has to be called."""
        try:
            opened = opens(self.client)
        except Exception:  # noqa: BLE001 - what fails here fails again in the ASGI call, which reports it
            return None
        if opened is not None and not writable(opened.fields):
            opened.protocol.dismiss()
            return None
        return opened

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
