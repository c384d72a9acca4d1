"""Taking a connection over from its server: what a server offers in the ASGI scope, and how to ask for it.

Where it is offered, Restive answers the request itself and puts a protocol of its own on the bare
transport. The ASGI call returns, and what it held is freed (design section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from ..http.fields import Fields
from .bare import Bare

__all__ = [
    "NAME",
    "HttpTakeover",
    "Known",
    "Open",
    "OpenStream",
    "Opened",
    "Read",
    "SocketTakeover",
    "offered",
]

NAME = "restive.takeover"


class Known:
    """A whole response that is known without the app, and is written again while it holds."""

    __slots__ = ("body", "fields", "status", "written")

    def __init__(self, status: int, fields: Fields, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.written: tuple[object, bytes, bytes] | None = None
        """For the server: the bytes that it makes of it, behind what they depend on besides."""


Read = Callable[[], "Known | None"]
"""The response, now, to a request that is known; None where the app has to be called."""


Open = Callable[["tuple[str, int] | None"], "Bare | None"]
"""The protocol of one more socket for a handshake that is known, given its client's address; None where the
app has to be called."""


class Opened(NamedTuple):
    """One more stream: its protocol, the fields of its head, and what writes its first events behind that."""

    protocol: Bare
    fields: Fields
    begin: Callable[[], None]


OpenStream = Callable[["tuple[str, int] | None"], "Opened | None"]
"""As ``Open``, for a request of an event stream; None also where it cannot tell a state at once. What it
raises, the app's call does as well."""


class SocketTakeover(Protocol):
    """A WebSocket handshake that was not answered yet."""

    outermost: Any
    """As of an ``HttpTakeover``."""

    def again(self, scope: Any, opens: Open, subprotocol: str | None) -> None:
        """Where the handshake of ``scope`` comes again, ``opens`` what is put on its transport.

        Its key is another then, and perhaps its client; all else is the same.
        """
        ...

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

    outermost: Any
    """The application that the server calls, without what the server itself has put round it."""

    def again(self, scope: Any, read: Read) -> None:
        """Where the request of ``scope`` comes again, ``read()`` answers it before there is an ASGI call.

        Only for what calls nothing of the user's on its way in. The server knows a request by its bytes
        and where it came in; it may forget it.
        """
        ...

    def carries(self, send: Any) -> bool:
        """Whether ``send`` goes straight to the server: a middleware that has put its own in between has
        something to say about the response, and must see it."""
        ...

    def respond(self, protocol: Bare, status: int, fields: Fields, reopen: OpenStream | None = None) -> bool:
        """Write the head of a chunked response and hand the transport to ``protocol``.

        Where the request comes again, ``reopen`` opens the stream that answers it; as with ``again``.
        False where that cannot be: the client is gone, speaks HTTP/1.0 or has sent another request.
        """
        ...


def offered(scope: Mapping[str, Any], send: Any) -> Any:
    """What the server offers for this request, None where it offers nothing or ``send`` is not its own."""
    extensions = cast("Mapping[str, Any]", scope.get("extensions") or {})
    found = extensions.get(NAME)
    return found if found is not None and found.carries(send) else None
