"""The two addresses of a connection, without what asking for them would leave behind.

uvloop keeps both, once asked for, for as long as the transport lives: 300 bytes a client.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.trsock import TransportSocket

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

__all__ = ["Addressed", "addresses"]

Local = tuple[str, int | None] | None
Remote = tuple[str, int] | None


def addresses(transport: asyncio.Transport) -> tuple[Local, Remote]:
    """Those of the server and of the client, as uvicorn's scope has them."""
    held = transport.get_extra_info("socket")
    if type(held).__module__.startswith("uvloop") and held.family in {socket.AF_INET, socket.AF_INET6}:
        asked = socket.socket(held.family, socket.SOCK_STREAM, 0, held.fileno())
        try:
            local, remote = asked.getsockname(), asked.getpeername()
            return (local[0], local[1]), (remote[0], remote[1])
        except OSError:  # it is gone already
            pass
        finally:
            asked.detach()
    return get_local_addr(transport), get_remote_addr(transport)


class Addressed(HttpToolsProtocol):
    """uvicorn's protocol, which asks for them so."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server, self.client = addresses(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        _send_at_once(transport)


def _send_at_once(transport: asyncio.Transport) -> None:
    """Turn Nagle's algorithm off, as uvloop does; asyncio does not where uvicorn has made the listening
    socket itself, of which the protocol is not named."""
    held = transport.get_extra_info("socket")
    if isinstance(held, TransportSocket) and held.family in {socket.AF_INET, socket.AF_INET6}:
        with contextlib.suppress(OSError):  # it is gone already
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
