"""Many resources on one response, at ``/-/live`` (design 4.2): an event stream, NDJSON or a long poll.

They are named in the query, or by watch frames in the body. What is no frame or no target refuses the whole
request; a watch that may not begin is refused on the response, and the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Problem
from ..http.key import RequestKey
from ..http.live import LiveRequest, live_of_many, multi
from ..http.targets import check, scope_target
from ..hub.watch import Event, Refusal, Sink, Watch
from ..transports import longpoll
from ..transports.forms import FRAMED_EVENT_STREAM, LINES
from ..transports.outlet import Outlet, Receive, Send
from ..transports.stream import Stream
from ..transports.takeover import offered
from ..wire import messages
from .core import Core, Scope
from .streamed import watch_frame

__all__ = ["MAX_BODY", "Many", "read_body"]

MAX_BODY = 1_048_576
"""Bytes of watch frames in one request."""


class Many:
    """Serves the watches of many resources for one front door."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises ``Problem`` before anything was sent."""
        asked = live_of_many(scope.get("query_string") or b"", tuple(scope["headers"]))
        if asked is None:
            raise Problem(
                400, "Which transport?",
                "Open a WebSocket here, or add live=sse, live=ndjson or live=long-poll, and watch=/path for "
                "each resource.",
            )  # fmt: skip
        frames = await self._wanted(scope, receive)
        peer: str | None = self._core.enter(scope)
        try:
            assert peer is not None
            if asked.mode == "long-poll":
                await self._long_poll(asked, peer, scope, frames, receive, send)
            elif await self._stream(asked, peer, scope, frames, receive, send):
                peer = None
        finally:
            if peer is not None:
                self._core.leave(peer)

    async def _wanted(self, scope: Scope, receive: Receive) -> Mapping[str, messages.Watch]:
        """The frames by their target, of which there is one each."""
        if scope["method"] == "POST":
            wanted = self._frames(await read_body(receive, MAX_BODY))
        else:
            wanted = [
                messages.Watch(target, etag=etag) for target, etag in multi(scope.get("query_string") or b"")
            ]
        if not 1 <= len(wanted) <= self._core.settings.max_watches:
            raise Problem(
                400, "Nothing to watch" if not wanted else "Too many watches",
                f"Name 1 to {self._core.settings.max_watches} resources: ?live=sse&watch=/a&watch=/b",
            )  # fmt: skip
        base = scope_target({**scope, "query_string": b""})
        return {check(frame.target, base): frame for frame in wanted}

    def _frames(self, data: bytes) -> list[messages.Watch]:
        limits = messages.Limits(socket_headers=self._core.settings.socket_headers)
        frames = []
        for line in data.splitlines():
            if not line.strip():
                continue
            try:
                frame = messages.parse(line, limits=limits)
            except messages.Rejected as rejected:
                raise rejected.problem from None
            if not isinstance(frame, messages.Watch):
                raise Problem(400, "Not a watch", 'Send watch frames, one a line: {"watch": "/orders/3"}')
            frames.append(frame)
        return frames

    async def _stream(
        self,
        asked: LiveRequest,
        peer: str,
        scope: Scope,
        frames: Mapping[str, messages.Watch],
        receive: Receive,
        send: Send,
    ) -> bool:
        """Whether the stream goes on without this call."""
        core = self._core
        form = FRAMED_EVENT_STREAM if asked.mode == "sse" else LINES
        stream = Stream(
            core.live.hub(), form, peer, core.retry_ms, core.cors(scope),
            takeover=offered(scope, send), caller=core,
        )  # fmt: skip
        await stream.serve(lambda outlet: self._begin(outlet, scope, frames), receive, send, single=False)
        return stream.taken

    async def _long_poll(
        self,
        asked: LiveRequest,
        peer: str,
        scope: Scope,
        frames: Mapping[str, messages.Watch],
        receive: Receive,
        send: Send,
    ) -> None:
        settings = self._core.settings
        await longpoll.serve_many(
            self._core.live.hub(),
            peer,
            lambda outlet: self._begin(outlet, scope, frames),
            receive,
            send,
            wait=min(settings.wait if asked.wait is None else asked.wait, settings.max_wait),
            preference=asked.spelling == "header",
            extra=self._core.cors(scope),
        )

    def _begin(self, outlet: Outlet, scope: Scope, frames: Mapping[str, messages.Watch]) -> Sequence[Watch]:
        """Raises ``Problem`` where the only watch is refused."""
        keys = {target: self._core.key(scope, target, frame.headers) for target, frame in frames.items()}
        watches: list[Watch] = []
        for target, frame in frames.items():
            try:
                watches.append(watch_frame(self._core, outlet, keys[target], frame))
            except Problem as problem:
                if len(frames) == 1:
                    raise
                watches.append(Refused(outlet, keys[target], problem))
        return watches


class Refused(Watch):
    """A watch that was not begun: that is all it has to tell."""

    __slots__ = ("_problem",)

    def __init__(self, sink: Sink, key: RequestKey, problem: Problem) -> None:
        Watch.__init__(self, sink, key, None)
        self._problem = problem
        sink.ready(self)

    def take(self) -> list[Event]:
        """Why, once."""
        if self.over:
            return []
        self.over = True
        return [Refusal(self._problem.document())]


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body of a request. Raises ``Problem`` 413, or 400 where it was cut off."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.disconnect":
            raise Problem(400, "Incomplete request")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise Problem(413, detail=f"At most {limit} bytes.")
        if not message.get("more_body", False):
            return b"".join(chunks)
