"""Opening a socket (design 4.3): who may, under which subprotocol, and what its frames may reach."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from ..errors import Problem
from ..http.fields import Fields, get
from ..http.key import RequestKey
from ..http.origin import allowed
from ..http.targets import check, scope_target
from ..hub.watch import Sink, Watch
from ..transports.answers import PROBLEM_FIELDS, body
from ..transports.bare import Bare
from ..transports.outlet import Receive, Send
from ..transports.takeover import SocketTakeover, offered
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
        self._reaches: WeakValueDictionary[Any, Reach] = WeakValueDictionary()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake, and run the socket until it is closed."""
        try:
            subprotocol = self._admit(scope)
            peer = self._core.enter(scope)
        except Problem as problem:
            await receive()  # websocket.connect
            await self._refuse(scope, send, problem)
            return
        taken = False
        try:
            taken = self._take(scope, send, peer, subprotocol)
            if not taken:
                await receive()
                await send({"type": "websocket.accept", "subprotocol": subprotocol})
                await self._run(scope, peer, receive, send)
        finally:
            if not taken:
                self._core.leave(peer)

    async def _run(self, scope: Scope, peer: str, receive: Receive, send: Send) -> None:
        reach = Reach(self._core, self._app, scope)
        socket = Socket(self._core.live.hub(), peer, self._core.limits, reach)
        self._core.cookies.add(socket, reach.cookies)
        try:
            await socket.serve(receive, send)
        finally:
            self._core.cookies.remove(socket, reach.cookies)

    def _take(self, scope: Scope, send: Send, peer: str, subprotocol: str | None) -> bool:
        """Put the socket on the bare transport, where the server offers it."""
        takeover: SocketTakeover | None = offered(scope, send)
        if takeover is None:
            return False
        from ..transports.bare_socket import BareSocket  # loads websockets, for its unmasking

        core, deflate = self._core, takeover.deflate
        reach = self._reach(scope)
        socket = BareSocket(core.live.hub(), peer, core.limits, reach, deflate=deflate)
        if not takeover.accept(socket, subprotocol, deflate=deflate):
            return False
        core.cookies.add(socket, reach.cookies)
        # Where a socket's requests are, or a look depends on the client, it is not known by its bytes.
        if not (core.settings.requests or core.settings.key) and core.live.is_outermost(takeover.outermost):
            takeover.again(scope, partial(self._open, reach, deflate), subprotocol)
        return True

    def _open(self, reach: Reach, deflate: bool, client: tuple[str, int] | None) -> Bare | None:
        """One more socket like another, None where it is to be refused."""
        from ..transports.bare_socket import BareSocket

        core = self._core
        try:
            peer = core.enter({"client": client})
        except Problem:
            return None
        socket = BareSocket(core.live.hub(), peer, core.limits, reach, deflate=deflate)
        core.cookies.add(socket, reach.cookies)
        return socket

    def _reach(self, scope: Scope) -> Reach:
        """What the frames reach; sockets whose requests no look can tell apart share one."""
        if self._core.settings.requests:  # they are made with all of the fields
            return Reach(self._core, self._app, scope)
        lean = self._lean(scope)
        name = tuple(lean.values())
        found = self._reaches.get(name)
        if found is None:
            found = self._reaches[name] = Reach(self._core, self._app, lean)
        return found

    def _lean(self, scope: Scope) -> dict[str, Any]:
        """The scope without what no look has."""
        core, key = self._core, self._core.key(scope)
        client = scope.get("client")
        return {
            "type": "websocket",
            "scheme": scope.get("scheme"),
            "server": tuple(scope["server"]) if scope.get("server") else None,
            "client": (client[0], 0) if client and "client" in core.settings.key else None,
            "root_path": scope.get("root_path") or "",
            "path": scope["path"],
            "raw_path": scope.get("raw_path"),
            "query_string": b"",
            "headers": ((b"host", key.authority.encode("latin-1")), *key.fields),
        }

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


MOST_KEYS = 256
"""Targets whose keys one reach remembers."""


class Reach:
    """What a socket's frames reach: the ``Desk`` of the socket's shell."""

    def __init__(self, core: Core, app: ASGIApp, scope: Scope) -> None:
        self._core = core
        self._app = app
        self._scope = scope
        self._base = scope_target({**scope, "query_string": b""})
        self._keys: dict[str, RequestKey] = {}
        self.cookies = pairs(tuple(scope["headers"]))
        """The cookies that the sockets carry."""

    def gone(self, connection: Bare) -> None:
        """A connection that was put on the bare transport is over."""
        self._core.leave(connection.peer)
        self._core.cookies.remove(connection, self.cookies)

    def _key(self, wanted: messages.Watch) -> RequestKey:
        """The key of a watch; those of the same target share it."""
        if wanted.headers:
            return self._core.key(self._scope, wanted.target, wanted.headers)
        key = self._keys.get(wanted.target)
        if key is None:
            key = self._core.key(self._scope, wanted.target)
            if len(self._keys) < MOST_KEYS:
                self._keys[wanted.target] = key
        return key

    def resolve(self, target: str) -> str:
        """The normal form of a target, relative to where the socket was opened. Raises ``Problem``."""
        key = self._keys.get(target)
        if key is not None and key.target == target:
            return key.target  # judged before; and so all sockets keep the same string
        return check(target, self._base)

    def watch(self, outlet: Sink, wanted: messages.Watch) -> Watch:
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
            key=self._key(wanted),
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
