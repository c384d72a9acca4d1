"""uvicorn's HTTP protocol, whose connections the app may take over."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from ...http.fields import Fields
from ..bare import Bare
from ..files import Admitting
from ..takeover import NAME, OpenStream
from .handshakes import EarlySockets
from .socket import WebSocket
from .streams import writable

__all__ = ["Http"]

HEARD_OUT = 0.5
"""Seconds in which a connection that has asked for nothing yet still may, when the server stops."""


class Http(Admitting, EarlySockets):
    """uvicorn's HTTP protocol, whose responses can be taken over: an ``HttpTakeover``."""

    _stopping = False

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, but what comes with a handshake in one segment is not lost."""
        if self.refusal is not None or self._early(data):
            return
        try:
            self.feed(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._should_upgrade():
                self._unsupported_upgrade_warning()
                return
            if self._stopping:
                self.transport.close()
                return
            self.handle_websocket_upgrade()
            self.let_go()
            protocol = cast("asyncio.Protocol", self.transport.get_protocol())
            if isinstance(protocol, WebSocket):
                protocol.introduction, self.introduction = self.introduction, None
            if early := data[upgrade.args[0] :]:
                protocol.data_received(early)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {NAME: self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """The head of a request is whole."""
        super().on_headers_complete()
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops. A client that has just come may have asked already: it is not cut off unheard."""
        self._stopping = True
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(HEARD_OUT, self._unasked)
        else:
            super().shutdown()

    def _unasked(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def _early(self, data: bytes) -> bool:
        """Whether ``data`` needs not to be parsed."""
        if self._stopping:
            self._arriving = self._whole = None
            return False
        return self.answered(data) or self.streamed(data) or self.opened(data)

    def carries(self, send: Any) -> bool:
        """Whether ``send`` is this response's own."""
        return getattr(send, "__self__", None) is self.cycle

    def respond(self, protocol: Bare, status: int, fields: Fields, reopen: OpenStream | None = None) -> bool:
        """Write the head of a chunked response and hand the transport to ``protocol``."""
        cycle = self.cycle
        if not self._is_free() or not writable(fields):
            return False
        cycle.response_started = cycle.response_complete = True  # the ASGI call ends without a response
        scope = cycle.scope
        asked = get_client_addr(scope), scope["method"], get_path_with_query_string(scope)
        if reopen is not None:
            self.keep(reopen)
        self.stream(protocol, status, fields, asked)
        if self._stopping:  # the server has asked its connections to stop already
            self.loop.call_soon(protocol.drain)
        return True

    def _is_free(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return not (
            cycle is None  # a handshake came behind this request, and the connection is a socket's
            or self.transport.is_closing()
            or cycle.disconnected
            or cycle.response_started
            or cycle.more_body
            or cycle.scope["http_version"] != "1.1"
            or cycle.scope["method"] == "HEAD"
            or self.pipeline
        )
