"""Requests that come again in the same bytes, answered before there is an ASGI call.

The same bytes, come in at the same address, are the same request. What the first of them was answered
with by memory may be asked for again without parsing, scope, task and call; whether it still holds is
asked each time. Only where the application says that nothing of the user's would have run in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string
from uvicorn.server import ServerState

from ..takeover import Known, Read

__all__ = ["EarlyReads"]

MAX_REQUESTS = 1024
"""Requests that one server knows by their bytes; the oldest goes first."""

MAX_BYTES = 2048
"""Bytes of the longest of them."""

SHORT = 16_384
"""Bytes of the longest body that is kept behind its head, to be written with it."""

FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})
"""Fields which, among those that the server adds by itself, change how a response is sent."""


class Origin(NamedTuple):
    """What a request is made of besides its bytes."""

    server: tuple[str, int | None] | None
    scheme: str | None
    trusted: bool
    """Whether its ``X-Forwarded-*`` are believed."""


class Repeated(NamedTuple):
    """A request that may come again."""

    read: Read
    origin: Origin
    client: Any
    """Whom its proxy named as its client; None: nobody."""
    target: str
    """As in the access log."""


class Reads:
    """The requests that one server knows by their bytes."""

    def __init__(self, config: Config) -> None:
        app: Any = config.loaded_app
        self._proxy = app if type(app) is ProxyHeadersMiddleware else None
        self.outermost = app if self._proxy is None else self._proxy.app
        """The outermost application that is the user's."""
        self.known: dict[bytes, Repeated] = {}
        self.handshakes: dict[bytes, Any] = {}
        """Those of ``handshakes``."""
        self.streams: dict[bytes, Any] = {}
        """Those of ``streams``."""

    def keep(self, data: bytes, repeated: Repeated) -> None:
        """Know the request ``data`` again."""
        if len(self.known) >= MAX_REQUESTS:
            del self.known[next(iter(self.known))]
        self.known[data] = repeated

    def trusts(self, client: tuple[str, int] | None) -> bool:
        """Whether what a proxy at this address says of its client is believed."""
        return self._proxy is not None and (client[0] if client else None) in self._proxy.trusted_hosts


_servers: WeakKeyDictionary[ServerState, Reads] = WeakKeyDictionary()


def reads_of(state: ServerState, config: Config) -> Reads:
    """Those of the server that has this state."""
    reads = _servers.get(state)
    if reads is None:
        reads = _servers[state] = Reads(config)
    return reads


class EarlyReads(HttpToolsProtocol):
    """A connection, as far as it answers early."""

    _between = True
    """The parser is behind the end of a message and before the next one."""
    _arriving: bytes | None = None
    """What is parsed now, where it could be one whole request."""
    _whole: bytes | None = None
    """The request of the last cycle, where it came in one piece and alone."""
    _origin: Origin | None = None

    def __init__(self, config: Config, server_state: ServerState, *rest: Any, **named: Any) -> None:
        super().__init__(config, server_state, *rest, **named)
        self._reads = reads_of(server_state, config)

    # An HttpTakeover's

    @property
    def outermost(self) -> Any:
        """The outermost application that is the user's."""
        return self._reads.outermost

    def again(self, scope: Any, read: Read) -> None:
        """Answer the request of ``scope`` with ``read()`` where it comes again."""
        cycle, data = self.cycle, self._whole
        if data is None or not self._between or scope is not cycle.scope or not cycle.keep_alive:
            return
        if scope["http_version"] != "1.1":
            return
        # Not the connection's own, where a proxy was believed.
        client = None if scope["client"] is self.client else scope["client"]
        self._reads.keep(data, Repeated(read, self._where(), client, get_path_with_query_string(scope)))

    # The parser's

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._between = False
        self._whole, self._arriving = self._arriving, None

    def on_message_complete(self) -> None:
        """A request was read to its end."""
        super().on_message_complete()
        self._between = not self.parser.should_upgrade()  # which is the end of what the parser takes

    # Answering

    def answered(self, data: bytes) -> bool:
        """Whether ``data`` was a request that could be answered at once. Else it is to be parsed."""
        self._arriving = None
        if not self._between:
            self._whole = None
            return False
        repeated = self._reads.known.get(data)
        if repeated is not None and repeated.origin == self._where():
            return self._may_answer() and self._answer_again(repeated)
        if len(data) <= MAX_BYTES and data.startswith(b"GET ") and data.endswith(b"\r\n\r\n"):
            self._arriving = data
        return False

    def _where(self) -> Origin:
        if self._origin is None:
            self._origin = Origin(self.server, self.scheme, self._reads.trusts(self.client))
        return self._origin

    def _may_answer(self) -> bool:
        """Nothing is under way here, and the server would take the request.

        The last cycle is done only when those of all earlier requests are.
        """
        cycle, limit = self.cycle, self.limit_concurrency
        return (
            (cycle is None or cycle.response_complete)  # type: ignore[redundant-expr]
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and (limit is None or (len(self.connections) < limit and len(self.tasks) < limit))
        )

    def _answer_again(self, repeated: Repeated) -> bool:
        try:
            known = repeated.read()
        except Exception:  # noqa: BLE001 - what fails here fails again in the ASGI call, which reports it
            return False
        if known is None:
            return False
        defaults = self.server_state.default_headers
        if known.written is None or known.written[0] is not defaults:
            known.written = (defaults, *written(known, defaults))
        _, data, rest = known.written
        if not data:
            return False
        if self.access_log:
            client = get_client_addr({"client": repeated.client or self.client})  # type: ignore[arg-type]
            self.access_logger.info(
                '%s - "%s %s HTTP/%s" %d', client, "GET", repeated.target, "1.1", known.status
            )
        self.transport.write(data)
        if rest:
            self.transport.write(rest)
        self.on_response_complete()
        return True


def written(known: Known, defaults: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """The response as uvicorn writes it, and what of it is not worth a copy; empty where it has to judge."""
    lines = [STATUS_LINE[known.status]]
    for name, value in (*defaults, *known.fields):
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            return b"", b""
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    if any(name.lower() in FRAMING for name, _ in defaults):
        return b"", b""
    lines.append(b"\r\n")
    if len(known.body) > SHORT:
        return b"".join(lines), known.body
    return b"".join([*lines, known.body]), b""
