"""Watches of one resource over HTTP, in both spellings (design 4.2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ..errors import Problem
from ..http.fields import Fields, get, lowered, media_type
from ..http.live import LIVE_TYPES, LiveRequest, header_live, last_event_id, query_live
from ..http.targets import scope_target
from ..hub.watch import Sink, Watch
from ..transports import longpoll
from ..transports.forms import EVENT_STREAM, LINES, Form
from ..transports.outlet import Message, Receive, Send
from ..transports.stream import Stream, reopened
from ..transports.takeover import Opened, OpenStream, offered
from .core import Core, Scope


class Watching:
    """Serves watches over HTTP for one front door."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def asked(self, scope: Scope) -> tuple[LiveRequest | None, Scope]:
        """The watch that a GET asks for, and the request without it. Raises ``Problem`` 400."""
        query: bytes = scope.get("query_string") or b""
        if b"live=" in query:
            asked, rest = query_live(query)
            if asked is not None:
                # An EventSource that reconnects repeats its URL; what it had last is in the field.
                newer = last_event_id(tuple(scope["headers"])) if asked.mode == "sse" else None
                asked = asked if newer is None else replace(asked, etag=newer)
                return asked, {**scope, "query_string": rest}
        for name, value in scope["headers"]:
            if name == b"prefer" or (name == b"accept" and names_live_type(value)):
                return header_live(tuple(scope["headers"])), scope
        return None, scope

    async def serve(self, asked: LiveRequest, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve the watch. False: the client's own GET must be answered instead, never to be stored."""
        if asked.spelling == "header":
            if not self._may_watch(scope):
                return False
            if await Probe(self._core, asked).passes(scope, receive, send):
                return True
        peer: str | None = self._core.enter(scope)
        try:
            assert peer is not None
            if asked.mode == "long-poll":
                return await self._long_poll(asked, scope, peer, receive, send)
            form: Form = EVENT_STREAM if asked.mode == "sse" else LINES
            stream = self._stream(form, peer, scope, send, asked)
            await stream.serve(
                lambda outlet: [self._core.watch(outlet, scope, cursor=asked.etag)],
                receive,
                send,
                single=True,
            )
            if stream.taken:
                peer = None
            return True
        finally:
            if peer is not None:
                self._core.leave(peer)

    def _may_watch(self, scope: Scope) -> bool:
        try:
            return self._core.live.may_watch(scope_target(scope).partition("?")[0])
        except Problem:
            return False  # an odd target is the app's to judge

    def _stream(self, form: Form, peer: str, scope: Scope, send: Send, asked: LiveRequest) -> Stream:
        core, takeover = self._core, offered(scope, send)
        hub, extra = core.live.hub(), core.cors(scope)

        def reopen() -> OpenStream | None:
            # A watch by header fields asks the app first, and a look may depend on the client's address.
            if takeover is None or asked.spelling == "header" or core.settings.key:
                return None
            if not core.live.is_outermost(takeover.outermost):
                return None
            again = Again(core, form, asked, scope, extra)
            return again if again.tells() else None

        return Stream(hub, form, peer, core.retry_ms, extra, takeover=takeover, caller=core, reopen=reopen)

    async def _long_poll(
        self, asked: LiveRequest, scope: Scope, peer: str, receive: Receive, send: Send
    ) -> bool:
        settings = self._core.settings
        outcome = await longpoll.serve(
            self._core.live.hub(),
            peer,
            lambda outlet: self._core.watch(outlet, scope, cursor=asked.etag),
            receive,
            send,
            wait=min(settings.wait if asked.wait is None else asked.wait, settings.max_wait),
            preference=asked.spelling == "header",
            extra=self._core.cors(scope),
        )
        return isinstance(outcome, longpoll.Told)


class Again:
    """A request of a stream that its server knows again: what may have changed since is asked each time."""

    __slots__ = ("_core", "_cursor", "_extra", "_form", "_key", "_scope")

    def __init__(self, core: Core, form: Form, asked: LiveRequest, scope: Scope, extra: Fields) -> None:
        self._core, self._form, self._extra = core, form, extra
        self._cursor = asked.etag
        self._key = core.key(scope)
        self._scope = {name: scope.get(name) for name in ("path", "root_path")}

    def tells(self) -> bool:
        """Whether one more would be told something without a look: else there is no use in knowing it."""
        hub = self._core.live.current_hub()
        return hub is not None and hub.tells(self._key, self._cursor)

    def __call__(self, client: tuple[str, int] | None) -> Opened | None:
        """One more stream, None where the app has to be called; raises what the call would."""
        core, came = self._core, {"client": client}
        peer = core.peer_of(came)
        if core.live.draining or not core.has_room(peer) or not self.tells():
            return None  # the call that follows says why
        hub = core.live.hub()
        opened = reopened(hub, self._form, peer, core.retry_ms, self._extra, core, self._begin)
        core.enter(came)
        return opened

    def _begin(self, sink: Sink) -> Watch:
        return self._core.watch(sink, self._scope, cursor=self._cursor, key=self._key)


class Probe:
    """The client's own GET, for a header-spelled watch: an app that speaks the live type itself keeps it."""

    def __init__(self, core: Core, asked: LiveRequest) -> None:
        self._core = core
        self._asked = asked
        self._decided = asyncio.Event()
        self._own = False
        self._over = False

    async def passes(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Ask the app; True where it answered by itself, to the end."""

        async def judge(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._own = self._is_own(message)
            elif not message.get("more_body", False):
                self._over = True
            if self._own:
                await send(message)
            if self._own or self._over:
                self._decided.set()

        task = asyncio.ensure_future(self._run(scope, receive, judge))
        try:
            await self._decided.wait()
            if self._own:
                await task
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not self._own:
            # Its background work goes on beside the watch.
            self._core.tasks.add(task)
            task.add_done_callback(self._core.tasks.discard)
        return self._own

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked_once = False

        async def no_body() -> Message:
            # The watch reads the disconnect itself once it has begun.
            nonlocal asked_once
            if asked_once:
                await self._decided.wait()
                if not self._own:
                    return {"type": "http.disconnect"}
            asked_once = True
            return await receive()

        try:
            # A copy: routers write into the scope, from which the key of the watch is made.
            await self._core.app(dict(scope), no_body, send)
        except Exception:
            if self._own:
                raise
            # The look that follows meets the same and judges it.
        finally:
            self._decided.set()

    def _is_own(self, message: Message) -> bool:
        fields: Fields = lowered(message.get("headers", ()))
        if self._asked.mode == "long-poll":
            applied = get(fields, b"preference-applied") or ""
            return "wait" in {part.partition("=")[0].strip().lower() for part in applied.split(",")}
        return LIVE_TYPES.get(media_type(get(fields, b"content-type"))) == self._asked.mode


def names_live_type(accept: bytes) -> bool:
    """Whether an Accept could ask for a watch, so that the others need not be parsed."""
    lower = accept.lower()
    return b"event-stream" in lower or b"ndjson" in lower or b"jsonl" in lower
