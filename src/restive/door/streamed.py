"""Requests of a stream's URI (design 3): live reads are followed here, all else is the app's router's.

On such a URI the query decides, by the Durable Streams protocol. Nothing is added to its answers, and a write
announces no other resource.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from urllib.parse import unquote, unquote_to_bytes

from ..errors import Problem
from ..http.fields import Fields, get
from ..http.key import RequestKey
from ..http.targets import scope_target
from ..hub.following import Follower, Following
from ..hub.watch import Sink, Watch
from ..transports.answers import respond_problem
from ..transports.forms import ITEM_EVENT_STREAM, LINES, Form, ItemEventStream
from ..transports.outlet import Receive, Send
from ..transports.stream import Stream
from ..transports.takeover import offered
from ..wire import durable, messages
from .core import Core, Scope, StreamIndex

__all__ = ["Follows", "follow", "joined", "watch_frame"]

OWN = frozenset({b"live", b"offset", b"cursor"})
"""Query parameters of the protocol; the rest is what the app's guards see."""

FORMS: dict[bytes, Form] = {b"sse": ITEM_EVENT_STREAM, b"ndjson": LINES}


class Follows:
    """Serves the streams of one front door."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def owns(self, scope: Scope) -> bool:
        """Whether the request is of a stream."""
        streams = self._core.live.streams
        return streams is not None and streams.match(_within(scope["path"], scope)) is not None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""
        asked = _parameters(scope.get("query_string") or b"")
        form = FORMS.get(asked.get(b"live", b"")) if scope["method"] == "GET" else None
        if form is None:
            await self._core.app(scope, receive, send)
            return
        try:
            await self._follow(form, asked, scope, receive, send)
        except Problem as problem:
            await respond_problem(send, problem, self._core.cors(scope))

    async def _follow(
        self, form: Form, asked: dict[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        core = self._core
        offset = _offset(asked, tuple(scope["headers"]))
        if form is ITEM_EVENT_STREAM:
            form = _in_time(asked.get(b"cursor"))
        key = core.key(scope, _guarded(scope_target(scope)))
        hub, peer = core.live.hub(), core.enter(scope)
        stream = Stream(
            hub, form, peer, core.retry_ms, core.cors(scope), takeover=offered(scope, send), caller=core
        )
        try:
            await stream.serve(lambda sink: [follow(core, sink, key, offset)], receive, send, single=True)
        finally:
            if not stream.taken:
                core.leave(peer)


def watch_frame(core: Core, sink: Sink, key: RequestKey, wanted: messages.Watch) -> Watch:
    """Begin the watch of a frame, of a resource or a stream. Raises ``Problem``."""
    streams = core.live.streams
    if streams is None or streams.match(unquote(path_in_app(key))) is None:
        if wanted.offset is not None:
            raise Problem(400, "Not a stream", f"{wanted.target} is a resource: its cursor is `etag`.")
        return core.watch_key(sink, key, cursor=wanted.etag, patch=wanted.patch)
    if wanted.etag is not None:
        raise Problem(400, "A stream", f"{wanted.target} is a stream: its cursor is `offset`.")
    return follow(core, sink, key, wanted.offset or "-1")


def follow(core: Core, sink: Sink, key: RequestKey, offset: str) -> Following:
    """Begin to follow a stream. Raises ``Problem`` where that is not allowed."""
    streams, hub = core.live.streams, core.live.hub()
    assert streams is not None
    path = path_in_app(key)
    return Following(
        sink,
        key,
        lambda guarded: core.watch_key(guarded, key, cursor=None, patch=False),
        lambda wake: streams.follow(path, offset, wake),
        hub.loop.call_soon,
    )


def joined(*indexes: StreamIndex | None) -> StreamIndex | None:
    """All of them as one; None where there is none."""
    found = [index for index in indexes if index is not None]
    return _Joined(found) if len(found) > 1 else found[0] if found else None


class _Joined:
    def __init__(self, indexes: Sequence[StreamIndex]) -> None:
        self._indexes = indexes

    def match(self, path: str) -> object | None:
        return next((found for each in self._indexes if (found := each.match(path)) is not None), None)

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        decoded = unquote(path)
        matching = (each for each in self._indexes if each.match(decoded) is not None)
        return next(matching).follow(path, offset, wake)


def path_in_app(key: RequestKey) -> str:
    """The path of a key without the root path, in normal form."""
    root = key.root_path.rstrip("/")
    return key.path[len(root) :] if root and key.path.startswith(f"{root}/") else key.path


def _within(path: str, scope: Scope) -> str:
    root = (scope.get("root_path") or "").rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _parameters(query: bytes) -> dict[bytes, bytes]:
    """The protocol's own parameters, unescaped. Raises nothing: what is odd is refused where it is used."""
    pairs = (part.partition(b"=") for part in query.split(b"&"))
    return {name: unquote_to_bytes(value) for name, _, value in pairs if name in OWN}


def _offset(asked: dict[bytes, bytes], fields: Fields) -> str:
    """Where to begin. An ``EventSource`` that reconnects repeats its URL, and says where it was beside it."""
    given = get(fields, b"last-event-id") or asked.get(b"offset", b"").decode("latin-1")
    if not given:
        raise Problem(400, "No offset", "A live read says where it begins: offset=-1 or now.")
    return given


def _guarded(target: str) -> str:
    """The GET that says whether a stream may be read: without the protocol's own parameters."""
    path, _, query = target.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0].encode() not in OWN]
    return f"{path}?{'&'.join(kept)}" if any(kept) else path


def _in_time(cursor: bytes | None) -> Form:
    """The event stream whose cursor is later than the client's."""
    if cursor is None:
        return ITEM_EVENT_STREAM
    now = time.time()
    after = durable.cursor_after(cursor.decode("latin-1"), now, random.random())  # noqa: S311 - spreads load
    ahead = after - durable.interval(now)
    return ItemEventStream(ahead) if ahead else ITEM_EVENT_STREAM
