"""Opening a socket (design 4.3): who may, under which subprotocol, and what its frames may reach."""

from __future__ import annotations

import asyncio
import logging

from ..errors import Problem
from ..http.fields import Fields, get
from ..http.origin import allowed
from ..http.targets import check, scope_target
from ..hub.watch import Watch
from ..transports.answers import PROBLEM_FIELDS, body
from ..transports.outlet import Outlet, Receive, Send
from ..transports.websocket import SUBPROTOCOL, Socket
from ..wire import messages
from .cookies import pairs
from .core import Core, Scope
from .relay import ASGIApp, Relay

log = logging.getLogger("restive.door")


class Sockets:
    """Opens and serves sockets for one front door. ``app`` is what requests over a socket go to."""

    def __init__(self, core: Core, app: ASGIApp) -> None:
        self._core = core
        self._app = app

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake, and run the socket until it is closed."""
        await receive()  # websocket.connect
        try:
            subprotocol = self._admit(scope)
            peer = self._core.enter(scope)
        except Problem as problem:
            await self._refuse(scope, send, problem)
            return
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            await self._run(scope, peer, receive, send)
        finally:
            self._core.leave(peer)

    async def _run(self, scope: Scope, peer: str, receive: Receive, send: Send) -> None:
        settings = self._core.settings
        limits = messages.Limits(
            max_message=settings.max_message,
            max_watches=settings.max_watches,
            max_requests=settings.max_requests,
            max_errors=settings.max_errors,
            message_rate=settings.message_rate,
            requests=settings.requests,
            socket_headers=settings.socket_headers,
            hello=settings.hello,
            linger=settings.linger,
            lifetime=settings.socket_lifetime,
            retry=settings.retry,
        )
        socket = Socket(self._core.live.hub(), peer, limits, Reach(self._core, self._app, scope))
        carried = pairs(tuple(scope["headers"]))
        self._core.cookies.add(socket, carried)
        try:
            await socket.serve(receive, send)
        finally:
            self._core.cookies.remove(socket, carried)

    def _admit(self, scope: Scope) -> str | None:
        """The subprotocol to accept with. Raises ``Problem``."""
        fields: Fields = tuple(scope["headers"])
        settings, host = self._core.settings, get(fields, b"host") or ""
        if not allowed(fields, host, public_url=settings.public_url, allow_origins=settings.allow_origins):
            origin = get(fields, b"origin")
            log.warning(
                "Socket refused: Origin %r is not Host %r. public_url= or allow_origins= allow it.",
                origin,
                host,
            )
            raise Problem(403, "Origin not allowed", "This page may not open a socket here.")
        self._core.key(scope)  # an odd Host or target is refused before anything is accepted
        offered: list[str] = list(scope.get("subprotocols") or ())
        if offered and SUBPROTOCOL not in offered:
            raise Problem(400, "Unknown subprotocol", f"Offer {SUBPROTOCOL}, or none.")
        return SUBPROTOCOL if offered else None

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": problem.title})
            return
        extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        data = problem.body()
        headers = [*PROBLEM_FIELDS, *extra, (b"content-length", str(len(data)).encode())]
        await send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
        await send({**body(data), "type": "websocket.http.response.body"})


class Reach:
    """What one socket's frames reach: the ``Desk`` of ``transports.websocket``."""

    def __init__(self, core: Core, app: ASGIApp, scope: Scope) -> None:
        self._core = core
        self._app = app
        self._scope = scope
        self._base = scope_target({**scope, "query_string": b""})

    def resolve(self, target: str) -> str:
        """The normal form of a target, relative to where the socket was opened. Raises ``Problem``."""
        return check(target, self._base)

    def watch(self, outlet: Outlet, wanted: messages.Watch) -> Watch:
        """Begin a watch. Raises ``Problem``."""
        if wanted.offset is not None:
            raise Problem(400, "Not a stream", f"{wanted.target} is a resource: its cursor is `etag`.")
        return self._core.watch(
            outlet,
            self._scope,
            cursor=wanted.etag,
            target=wanted.target,
            headers=wanted.headers,
            patch=wanted.patch,
        )

    async def request(self, wanted: messages.Request) -> bytes:
        """Make a request as the socket's client; the frame that answers it."""
        if not self._core.live.may_watch(wanted.target.partition("?")[0]):
            problem = Problem(403, "Not reachable", "targets= leaves this path out of sockets.")
            return messages.response(wanted.id, 403, {"content-type": Problem.media_type}, problem.body())
        relay = Relay(self._core, self._scope, wanted)
        try:
            return await relay.run(self._app)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("A request over the socket raised: %s %s", wanted.method, wanted.target)
            return messages.response(
                wanted.id, 500, {"content-type": Problem.media_type}, Problem(500).body()
            )
