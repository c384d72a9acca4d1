"""The front door of one app: an ASGI application round the app's own (design section 5).

A watch is served here; a plain read passes with validators, a write is announced; all else passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from ..errors import Problem
from ..http.cutting import CUT
from ..http.invalidation import is_safe
from ..http.preferences import prefer
from ..hub.hub import Hub
from ..hub.look import ASGIApp
from ..transports.answers import respond_problem
from ..transports.outlet import Message, Receive, Send
from .core import Core, Live, Scope
from .own import Own
from .plain import Passage
from .socket import Sockets
from .stored import Reads
from .streamed import Follows
from .unsafe import Writes
from .watching import Watching, names_live_type


class FrontDoor:
    """Decides what each request is."""

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self.app = app
        self._live = live
        self._core = Core(app, live)
        self._watching = Watching(self._core)
        self._own = Own(self._core)
        self._reads = Reads(self._core, self._watching)
        self._writes = Writes(self._core)
        self._sockets = Sockets(self._core, self)
        self._follows = Follows(self._core)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One ASGI call of type ``http`` or ``websocket``, to be awaited."""
        if "restive" in scope:  # what only looks may say
            scope = {name: value for name, value in scope.items() if name != "restive"}
        if scope["type"] == "websocket":
            serve = self._sockets.serve if self._own.name(scope) == "live" else self._core.app
            return serve(scope, receive, send)
        if self._follows.owns(scope):
            return self._follows.serve(scope, receive, send)
        fields, hub = dict(scope["headers"]), self._live.current_hub()
        if self._is_plain(scope, fields, hub):
            return self._read(scope, fields, receive, send, hub)
        return self._judge(scope, receive, send)

    def _is_plain(self, scope: Scope, fields: Mapping[bytes, bytes], hub: Hub | None) -> bool:
        """Whether this is a GET for the app at first sight, as nearly all are. ``fields``: by name."""
        path: str = scope["path"]
        if (
            scope["method"] != "GET"
            or b"prefer" in fields
            or self._core.settings.prefix in path
            or b"live=" in (scope.get("query_string") or b"")
            or (hub is not None and hub.may_hold(path, scope.get("root_path") or ""))
        ):
            return False
        accept = fields.get(b"accept")
        return accept is None or not (len(fields) < len(scope["headers"]) or names_live_type(accept))

    async def _judge(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is not plain."""
        ready = self._reads.ready(scope, send)
        if ready is not None:
            await send(ready[0])
            await send(ready[1])
            return
        try:
            passed = await self._watched(scope, receive, send)
            if passed is None:
                return
            scope, send = passed
            lock = None if is_safe(scope["method"]) else await self._writes.condition(scope)
        except Problem as problem:
            await respond_problem(send, problem, self._core.cors(scope))
            return
        hub = self._live.current_hub()
        if scope["method"] in {"GET", "HEAD"}:
            await self._read(scope, dict(scope["headers"]), receive, send, hub)
        else:
            await self._pass(scope, receive, send, hub, lock)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Send] | None:
        """Serve what is Restive's; else the request and the ``send`` that are the app's.

        Raises ``Problem`` before anything was sent, never after.
        """
        own = self._own.name(scope)
        if own is not None:
            await self._own.serve(own, scope, receive, send)
            return None
        if scope["method"] != "GET":
            if scope["method"] == "HEAD" and await self._reads.serve(scope, send):
                return None
            return scope, send
        asked, scope = self._watching.asked(scope)
        if asked is not None and await self._watching.serve(asked, scope, receive, send):
            return None
        if asked is None and await self._reads.serve(scope, send):
            return None
        if asked is not None or prefers_wait(scope):
            send = never_stored(send)
        return scope, send

    async def _read(
        self, scope: Scope, fields: Mapping[bytes, bytes], receive: Receive, send: Send, hub: Hub | None
    ) -> None:
        passage = Passage(self._core, scope, fields, send, hub)
        cast("dict[str, Any]", scope)[CUT] = passage.cut  # no copy: routers tell by it what they chose
        try:
            await self._core.app(scope, receive, passage.send)
        finally:
            if not passage.settled:
                await passage.settle()

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, hub: Hub | None, lock: asyncio.Lock | None
    ) -> None:
        if hub is not None:
            send = Foreground(hub, send)
        try:
            if is_safe(scope["method"]):
                await self._core.app(scope, receive, send)
            else:
                await self._writes.serve(scope, receive, send)
        finally:
            if isinstance(send, Foreground):
                send.over()
            if lock is not None:
                lock.release()


class Foreground:
    """A user's own request, to which looks give way until its response begins (design 2.4)."""

    __slots__ = ("_hub", "_send")

    def __init__(self, hub: Hub, send: Send) -> None:
        self._hub: Hub | None = hub
        self._send = send
        hub.foreground(+1)

    async def __call__(self, message: Message) -> None:
        """Send."""
        self.over()
        await self._send(message)

    def over(self) -> None:
        """The response has begun, or never will."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.foreground(-1)


def prefers_wait(scope: Scope) -> bool:
    """Whether the request says ``Prefer: wait``: no answer to it may be stored (design 4.2)."""
    if not any(name == b"prefer" for name, _ in scope["headers"]):
        return False
    return "wait" in prefer(tuple(scope["headers"]))


def never_stored(send: Send) -> Send:
    """The client's own GET in answer to a watch must not be stored (design 4.2)."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", ())
                if name.lower() != b"cache-control"
            ]
            message = {**message, "headers": [*kept, (b"cache-control", b"no-store")]}
        await send(message)

    return marked
