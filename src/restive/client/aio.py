"""``AsyncClient``: requests as in httpx2, watches that never end by accident, operations.

A thin shell: `origin` does the work, one for each origin, made on its first watch.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .attempt import Want
from .document import OperationState
from .following import LIVE, Follow, Reading
from .operation import AsyncOperation, operation_url
from .origin import Origin
from .policy import Policy, rungs
from .reading import PAGE, Reader
from .socket import Handshake
from .watch import Watch, normal_target, socket_rungs

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncClient"]

LIVE_PATH = "/-/live"

_NOT_FOR_HANDSHAKES = {"host", "connection", "accept", "accept-encoding", "content-length", "upgrade"}


class AsyncClient:
    """An HTTP client whose GETs can be watched.

    ``base_url``, ``headers``, ``cookies`` and all further keyword arguments are those of
    ``httpx2.AsyncClient``; its own ``transport`` is called ``http_transport`` here. ``transport`` is how to
    watch: ``"auto"`` takes the best that delivers something (WebSocket, SSE, long poll, poll, in this order),
    remembers it for each origin and tries the better ones again later; or the name of one of them, or
    ``"ndjson"``. ``websocket_url`` is where the socket is, if not at ``/-/live`` of the origin (an app below
    a root path); several watches over HTTP share one request there.

    All in seconds: after ``patience`` a transport that delivered nothing is given up for the next one;
    ``poll_interval`` lies between two polls where the server names no time; ``connect_within`` is how long
    a watch may get nothing at all at its beginning before it raises ``Unreachable`` (None: for ever).
    ``policy`` holds the rest of the times.

    Use it in one event loop, as an async context manager or with ``aclose()``. Raises ``ImportError`` where
    httpx2 or websockets is not installed.
    """

    def __init__(
        self,
        base_url: httpx2.URL | str = "",
        *,
        headers: Any = None,
        cookies: Any = None,
        transport: str = "auto",
        websocket_url: str | None = None,
        patience: float | None = None,
        poll_interval: float | None = None,
        connect_within: float | None = 60.0,
        policy: Policy | None = None,
        http_transport: httpx2.AsyncBaseTransport | None = None,
        **options: Any,
    ) -> None:
        httpx2 = _libraries()
        self._rungs = rungs(transport)
        if http_transport is not None and websocket_url is None:
            # A transport of the user's own, such as ASGITransport, knows no sockets.
            self._rungs = tuple(rung for rung in self._rungs if rung != "websocket") or self._rungs
        times = {"patience": patience, "poll_interval": poll_interval}
        given = {name: value for name, value in times.items() if value is not None}
        self._policy = replace(policy or Policy(), connect_within=connect_within, **given)
        self._websocket_url = websocket_url
        self._socket_options = _socket_options(options)
        # A watch over HTTP holds a connection: the default bound would stop the hundred-and-first.
        options.setdefault("limits", httpx2.Limits(max_connections=None, max_keepalive_connections=20))
        self.http = httpx2.AsyncClient(
            base_url=base_url, headers=headers, cookies=cookies, transport=http_transport, **options
        )
        """The ``httpx2.AsyncClient`` underneath."""
        self._origins: dict[str, Origin] = {}

    # -- requests ----------------------------------------------------------------------------

    async def request(self, method: str, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.request``, whose exceptions it raises."""
        response: httpx2.Response = await self.http.request(method, url, **arguments)
        if "set-cookie" in response.headers:
            self._cookies_changed()
        return response

    async def get(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.get``."""
        return await self.request("GET", url, **arguments)

    async def head(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.head``."""
        return await self.request("HEAD", url, **arguments)

    async def options(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.options``."""
        return await self.request("OPTIONS", url, **arguments)

    async def post(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.post``."""
        return await self.request("POST", url, **arguments)

    async def put(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.put``."""
        return await self.request("PUT", url, **arguments)

    async def patch(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.patch``."""
        return await self.request("PATCH", url, **arguments)

    async def delete(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.AsyncClient.delete``."""
        return await self.request("DELETE", url, **arguments)

    # -- live --------------------------------------------------------------------------------

    def watch(
        self,
        url: httpx2.URL | str,
        *,
        etag: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        transport: str | None = None,
    ) -> Watch:
        """The states of ``url``, now and whenever it changes, by ``async for``.

        ``etag`` is the entity tag of the state that you have already: only a later one is given. ``headers``
        add to the client's (a WebSocket takes accept, accept-language and authorization; with others the
        watch goes over HTTP), ``params`` to the query, ``transport`` replaces the client's. See ``Watch``.
        Raises ``ValueError`` for an unknown transport.
        """
        request = self.http.build_request("GET", url, params=params)
        if request.url.scheme not in {"http", "https"} or not request.url.host:
            raise ValueError(f"A watch needs an http or https URL, or a client with base_url=; not {url!s}.")
        wanted = self._rungs if transport is None else rungs(transport)
        own = tuple(sorted((name.lower(), value) for name, value in (headers or {}).items()))
        target = normal_target(request.url.raw_path.decode("ascii"))

        def begin() -> tuple[Origin, Want]:
            origin = self._origin(request.url)
            return origin, Want(target, socket_rungs(wanted, origin, target, own), own, etag)

        return Watch(begin, etag)

    def follow(
        self,
        url: httpx2.URL | str,
        *,
        offset: str = "-1",
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        transport: str = "auto",
    ) -> Follow:
        """Every item of the stream at ``url``, in order and once, by ``async for``.

        ``offset`` is where to begin: "-1" is the start, "now" the end, else what ``Follow.offset`` was.
        ``transport`` is ``"sse"``, ``"long-poll"`` or ``"auto"``, which takes the first that delivers. See
        ``Follow``. Raises ``ValueError`` for an unknown transport.
        """
        known = {"auto": LIVE, "sse": LIVE[:1], "long-poll": LIVE[1:]}
        if transport not in known:
            raise ValueError(f"transport= of a stream is one of {', '.join(known)}; not {transport!r}.")
        request = self.http.build_request("GET", url, params=params)
        reading = Reading(self._policy, offset, known[transport])
        return Follow(self.http, request.url, headers or {}, reading, random.random)

    def operation(self, started: httpx2.Response | httpx2.URL | str) -> AsyncOperation:
        """The operation that a response started (202 with its Location), or the one at a URL.

        Raises ``httpx2.HTTPStatusError`` for a response that refuses it.
        """
        return AsyncOperation(self._reader(), operation_url(self.http, started))

    def operations(
        self, url: httpx2.URL | str, *, status: str | None = None, page: int = PAGE
    ) -> AsyncGenerator[OperationState]:
        """The documents of the operations that are listed at ``url``, newest first.

        ``status`` names the only one wanted; ``page`` is how many are asked for at once. Follows the links
        from page to page. Raises ``RequestRefused`` and ``Unreachable``.
        """
        return self._reader().listing(operation_url(self.http, url), status, page)

    def _reader(self) -> Reader:
        return Reader(self, self._policy, random.random)

    # -- the end -----------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End all watches (their readers get ``ClientError``) and close every connection."""
        for origin in self._origins.values():
            await origin.aclose()
        await self.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- origins -----------------------------------------------------------------------------

    def _origin(self, url: httpx2.URL) -> Origin:
        base = url.copy_with(raw_path=b"/", fragment=None)
        found = self._origins.get(str(base))
        if found is None:
            found = Origin(
                self.http,
                base,
                self._policy,
                lambda: self._handshake(base),
                self._live_path(base),
                random.random,
            )
            self._origins[str(base)] = found
        return found

    def _live_path(self, base: httpx2.URL) -> str:
        """That of ``websocket_url``, where it is on this origin."""
        given = self._websocket_url or ""
        own = "ws" + str(base).removeprefix("http").rstrip("/")
        return given.removeprefix(own).partition("?")[0] if given.startswith(own + "/") else LIVE_PATH

    async def _handshake(self, base: httpx2.URL) -> Handshake:
        request = self.http.build_request("GET", base.copy_with(raw_path=LIVE_PATH.encode()))
        origin = self._origins[str(base)]
        origin.cookie = request.headers.get("cookie")
        if self.http.auth is not None:
            flow = self.http.auth.async_auth_flow(request)
            request = await anext(flow)
            await flow.aclose()
        headers = [
            (name, value)
            for name, value in request.headers.multi_items()
            if name.lower() not in _NOT_FOR_HANDSHAKES
        ]
        default = "ws" + str(base.copy_with(raw_path=LIVE_PATH.encode())).removeprefix("http")
        url = self._websocket_url or default
        return Handshake(url, headers, self._socket_options(url))

    def _cookies_changed(self) -> None:
        """A socket carries the cookies of its handshake: where they were replaced, it is opened anew."""
        for origin in self._origins.values():
            request = self.http.build_request("GET", origin.base.copy_with(raw_path=LIVE_PATH.encode()))
            if request.headers.get("cookie") != origin.cookie:
                origin.reopen_socket()


def _libraries() -> Any:
    try:
        import httpx2
        import websockets  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'The client needs {error.name}, which is not installed: pip install "restive[client]"'
        ) from error
    return httpx2


def _socket_options(options: Mapping[str, Any]) -> Callable[[str], dict[str, Any]]:
    """The HTTP client's TLS and proxy, in the words of websockets."""
    proxy, verify, cert = options.get("proxy"), options.get("verify", True), options.get("cert")
    trust_env = options.get("trust_env", True)

    def given(url: str) -> dict[str, Any]:
        import httpx2

        found: dict[str, Any] = {"proxy": str(getattr(proxy, "url", proxy)) if proxy else trust_env or None}
        if url.startswith("wss:"):
            found["ssl"] = httpx2.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
        return found

    return given
