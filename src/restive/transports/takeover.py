"""Taking a connection over from its server: what a server offers in the ASGI scope, and how to ask for it.

Where it is offered, Restive answers the request itself and puts a protocol of its own on the bare
transport. The ASGI call returns, and what it held is freed (design section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from ..http.fields import Fields
from .bare import Bare

__all__ = ["NAME", "HttpTakeover", "SocketTakeover", "offered"]

NAME = "restive.takeover"


class SocketTakeover(Protocol):
    """A WebSocket handshake that was not answered yet."""

    def carries(self, send: Any) -> bool:
        """As of an ``HttpTakeover``."""
        ...

    deflate: bool
    """Whether the client offers permessage-deflate in a form that needs no context."""

    def accept(self, protocol: Bare, subprotocol: str | None, *, deflate: bool) -> bool:
        """Answer 101 and hand the transport to ``protocol``; false where it is not to be had."""
        ...


class HttpTakeover(Protocol):
    """A request that was read to its end, and whose response has not begun."""

    def carries(self, send: Any) -> bool:
        """Whether ``send`` goes straight to the server: a middleware that has put its own in between has
        something to say about the response, and must see it."""
        ...

    def respond(self, protocol: Bare, status: int, fields: Fields) -> bool:
        """Write the head of a chunked response and hand the transport to ``protocol``.

        False where that cannot be: the client is gone, speaks HTTP/1.0 or has sent another request.
        """
        ...


def offered(scope: Mapping[str, Any], send: Any) -> Any:
    """What the server offers for this request, None where it offers nothing or ``send`` is not its own."""
    extensions = cast("Mapping[str, Any]", scope.get("extensions") or {})
    found = extensions.get(NAME)
    return found if found is not None and found.carries(send) else None
