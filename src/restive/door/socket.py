"""Opening a socket (design 4.3): who may, under which subprotocol, and what its frames may reach."""

from __future__ import annotations

import asyncio
import logging

from ..errors import Problem
from ..http.fields import Fields, get
from ..http.key import RequestKey, sibling
from ..http.once import once
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
from .streamed import watch_frame

log = logging.getLogger("restive.door")


class Sockets:
    """Opens and serves sockets for one front door. ``app`` is what requests over a socket go to."""

    def __init__(self, core: Core, app: ASGIApp) -> None:
        self.core = core
        self.app = app
        self._reaches: dict[RequestKey, Reach] = {}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a handshake, and run the socket until it is closed."""
        try:
            subprotocol = self._admit(scope)
            peer = self.core.enter(scope)
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
                self.core.leave(peer)

    async def _run(self, scope: Scope, peer: str, receive: Receive, send: Send) -> None:
        reach = self._full(scope)
        socket = Socket(self.core.live.hub(), peer, self.core.limits, reach)
        self.core.cookies.add(socket, reach.cookies)
        try:
            await socket.serve(receive, send)
        finally:
            self.core.cookies.remove(socket, reach.cookies)

    def _take(self, scope: Scope, send: Send, peer: str, subprotocol: str | None) -> bool:
        """Put the socket on the bare transport, where the server offers it."""
        takeover: SocketTakeover | None = offered(scope, send)
        if takeover is None:
            return False
        from ..transports.bare_socket import BareSocket  # loads websockets, for its unmasking

        core, deflate = self.core, takeover.deflate
        base = self._base(scope)
        reach = self._full(scope) if core.settings.requests else self._reach(base)
        socket = BareSocket(core.live.hub(), peer, core.limits, reach, deflate=deflate)
        if not takeover.accept(socket, subprotocol, deflate=deflate):
            return False
        self._came(reach, base, socket)
        # Where a socket's requests are, or a look depends on the client, it is not known by its bytes.
        if not (core.settings.requests or core.settings.key) and core.live.is_outermost(takeover.outermost):
            takeover.again(scope, _Again(self, base, deflate), subprotocol)
        return True

    def open(self, base: RequestKey, deflate: bool, client: tuple[str, int] | None) -> Bare | None:
        """One more socket like another, None where it is to be refused."""
        from ..transports.bare_socket import BareSocket

        core, came = self.core, {"client": client}
        if core.live.draining or not core.has_room(core.peer_of(came)):
            return None  # the call that follows says why
        peer, reach = core.enter(came), self._reach(base)
        socket = BareSocket(core.live.hub(), peer, core.limits, reach, deflate=deflate)
        self._came(reach, base, socket)
        return socket

    def _base(self, scope: Scope) -> RequestKey:
        """The key of the socket's own path, from which its targets are resolved: all that a look may have."""
        return self.core.key(scope, once(scope_target({**scope, "query_string": b""})))

    def _reach(self, base: RequestKey) -> Reach:
        """What the frames reach; sockets whose requests no look can tell apart share one."""
        return self._reaches.get(base) or Reach(self, base)

    def _full(self, scope: Scope) -> Reach:
        """What they reach where they may be requests, which are made with all fields of the handshake."""
        return Reach(self, self._base(scope), tuple(scope["headers"]), scope)

    def _came(self, reach: Reach, base: RequestKey, socket: Bare) -> None:
        """One more socket is on the bare transport. Its reach goes with the last of them."""
        reach.sockets += 1
        if not self.core.settings.requests:
            self._reaches[base] = reach
        self.core.cookies.add(socket, reach.cookies)

    def gone(self, reach: Reach, base: RequestKey, connection: Bare) -> None:
        """A connection that was put on the bare transport is over."""
        reach.sockets -= 1
        if not reach.sockets:
            self._reaches.pop(base, None)
        self.core.leave(connection.peer)
        self.core.cookies.remove(connection, reach.cookies)

    def _admit(self, scope: Scope) -> str | None:
        """The subprotocol to accept with. Raises ``Problem``."""
        fields: Fields = tuple(scope["headers"])
        settings, host = self.core.settings, get(fields, b"host") or ""
        if not allowed(fields, host, public_url=settings.public_url, allow_origins=settings.allow_origins):
            origin = get(fields, b"origin")
            log.warning(
                "Socket refused: Origin %r is not Host %r. public_url= or allow_origins= allow it.",
                origin,
                host,
            )
            raise Problem(403, "Origin not allowed", "This page may not open a socket here.")
        self.core.key(scope)  # an odd Host or target is refused before anything is accepted
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


class _Again:
    """Opens one more socket like another; a thousand handshakes are known, so it holds little."""

    __slots__ = ("_base", "_deflate", "_door")

    def __init__(self, door: Sockets, base: RequestKey, deflate: bool) -> None:
        self._door, self._base, self._deflate = door, base, deflate

    def __call__(self, client: tuple[str, int] | None) -> Bare | None:
        return self._door.open(self._base, self._deflate, client)


MOST_KEYS = 256
"""Targets whose keys one reach remembers."""


class Reach:
    """What a socket's frames reach: the ``Desk`` of the socket's shell.

    There is one for each credential, so it holds little: ``base`` is the key of the socket's own path, of
    which the keys of its watches are made; only where requests may be sent is the whole ``scope`` kept.
    """

    __slots__ = ("_base", "_door", "_keys", "_scope", "cookies", "sockets")

    def __init__(
        self, door: Sockets, base: RequestKey, fields: Fields | None = None, scope: Scope | None = None
    ) -> None:
        self._door = door
        self._base = base
        self._scope = scope
        self._keys: RequestKey | dict[str, RequestKey] | None = None
        """Of what was watched: the first, or all of them by target."""
        self.cookies = pairs(base.fields if fields is None else fields)
        """The cookies that the sockets carry."""
        self.sockets = 0
        """How many are on the bare transport."""

    def gone(self, connection: Bare) -> None:
        """A connection that was put on the bare transport is over."""
        self._door.gone(self, self._base, connection)

    def _key(self, wanted: messages.Watch) -> RequestKey:
        """The key of a watch; those of the same target share it."""
        neutral = self._door.core.neutral
        if wanted.headers:
            return sibling(self._base, neutral, wanted.target, wanted.headers)
        key = self._known(wanted.target)
        if key is None:
            key = sibling(self._base, neutral, wanted.target)
            self._remember(key)
        return key

    def _known(self, target: str) -> RequestKey | None:
        keys = self._keys
        if isinstance(keys, dict):
            return keys.get(target)
        return keys if keys is not None and keys.target == target else None

    def _remember(self, key: RequestKey) -> None:
        if self._keys is None:
            self._keys = key
            return
        if isinstance(self._keys, RequestKey):
            self._keys = {self._keys.target: self._keys}
        if len(self._keys) < MOST_KEYS:
            self._keys[key.target] = key

    def resolve(self, target: str) -> str:
        """The normal form of a target, relative to where the socket was opened. Raises ``Problem``."""
        key = self._known(target)
        # Judged before, or else by any socket: so all keep the same string.
        return once(check(target, self._base.target)) if key is None else key.target

    def watch(self, outlet: Sink, wanted: messages.Watch) -> Watch:
        """Begin a watch. Raises ``Problem``."""
        return watch_frame(self._door.core, outlet, self._key(wanted), wanted)

    async def request(self, wanted: messages.Request) -> bytes:
        """Make a request as the socket's client; the frame that answers it."""
        if not self._door.core.live.may_watch(wanted.target.partition("?")[0]):
            problem = Problem(403, "Not reachable", "targets= leaves this path out of sockets.")
            return messages.response(wanted.id, 403, {"content-type": Problem.media_type}, problem.body())
        assert self._scope is not None  # else the session has refused it
        relay = Relay(self._door.core, self._scope, wanted)
        try:
            return await relay.run(self._door.app)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("A request over the socket raised: %s %s", wanted.method, wanted.target)
            return messages.response(
                wanted.id, 500, {"content-type": Problem.media_type}, Problem(500).body()
            )
