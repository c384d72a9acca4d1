"""uvicorn's HTTP protocol, whose connections the app may take over."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from ...http.fields import Fields
from ..bare import Bare
from ..files import Admitting
from ..takeover import NAME
from .handshakes import EarlySockets
from .socket import WebSocket

__all__ = ["Http"]


class Http(Admitting, EarlySockets):
    """uvicorn's HTTP protocol, whose responses can be taken over: an ``HttpTakeover``."""

    _stopping = False

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, but what comes with a handshake in one segment is not lost."""
        if self.refusal is not None or self.answered(data) or self.opened(data):
            return
        try:
            self.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._should_upgrade():
                self._unsupported_upgrade_warning()
                return
            self.handle_websocket_upgrade()
            protocol = cast("asyncio.Protocol", self.transport.get_protocol())
            if isinstance(protocol, WebSocket):
                protocol.introduction, self.introduction = self.introduction, None
            if early := data[upgrade.args[0] :]:
                protocol.data_received(early)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {NAME: self}  # type: ignore[dict-item]

    def shutdown(self) -> None:
        """The server stops."""
        self._stopping = True
        super().shutdown()

    def carries(self, send: Any) -> bool:
        """Whether ``send`` is this response's own."""
        return getattr(send, "__self__", None) is self.cycle

    def respond(self, protocol: Bare, status: int, fields: Fields) -> bool:
        """Write the head of a chunked response and hand the transport to ``protocol``."""
        cycle, transport = self.cycle, self.transport
        if not self._is_free() or any(
            HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) for name, value in fields
        ):
            return False
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b\r\n" % line for line in (*self.server_state.default_headers, *fields)]
        lines.append(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        transport.write(b"".join(lines))
        if self.access_log:
            self.access_logger.info(
                '%s - "%s %s HTTP/%s" %d',
                get_client_addr(cycle.scope),
                cycle.scope["method"],
                get_path_with_query_string(cycle.scope),
                cycle.scope["http_version"],
                status,
            )
        cycle.response_started = cycle.response_complete = True  # the ASGI call ends without a response
        self.server_state.total_requests += 1
        self.let_go()
        protocol.begin(transport, self.connections)  # type: ignore[arg-type]
        transport.set_protocol(protocol)
        if self._stopping:  # the server has asked its connections to stop already
            self.loop.call_soon(protocol.drain)
        return True

    def _is_free(self) -> bool:
        cycle = self.cycle
        return not (
            self.transport.is_closing()
            or cycle.disconnected
            or cycle.response_started
            or cycle.more_body
            or cycle.scope["http_version"] != "1.1"
            or cycle.scope["method"] == "HEAD"
            or self.pipeline
        )
