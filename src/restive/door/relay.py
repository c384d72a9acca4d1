"""A request over the socket (design 4.3): a frame becomes an ASGI call, its response a frame."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

from ..errors import Problem
from ..http.fields import Fields, get, lowered, media_type
from ..http.invalidation import is_safe
from ..http.live import LIVE_TYPES
from ..hub.rendering import Rendering
from ..transports.outlet import Message, Receive, Send
from ..wire import messages
from .core import RELAYED, Core, Scope

ASGIApp = Callable[[Any, Receive, Send], Awaitable[None]]

HANDSHAKE_FIELDS = frozenset(
    b"connection upgrade keep-alive proxy-connection te trailer transfer-encoding accept-encoding "
    b"content-length content-type range expect".split()
)


class Relay:
    """One request over a socket."""

    def __init__(self, core: Core, scope: Scope, wanted: messages.Request) -> None:
        self._core = core
        self._scope = scope
        self._wanted = wanted
        self._status = 0
        self._fields: Fields = ()
        self._chunks: list[bytes] = []
        self._size = 0
        self._truncated = False
        self._asked = False
        self._answered = asyncio.Event()

    async def run(self, app: ASGIApp) -> bytes:
        """The frame that answers the request. Raises what the app raises before it has answered."""
        task = asyncio.ensure_future(app(self._request(), self._receive, self._send))
        waiter = asyncio.ensure_future(self._answered.wait())
        try:
            await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
        if task.done() and not self._answered.is_set():
            await task
            return self._problem(Problem(500, detail="The app gave no whole response."))
        self._leave(task)
        return self._frame()

    def _leave(self, task: asyncio.Future[None]) -> None:
        """What the app still does behind its response goes on; an endless read does not."""
        if self._truncated and is_safe(self._wanted.method):
            task.cancel()
        self._core.tasks.add(task)
        task.add_done_callback(_noted(self._core.tasks))

    def _request(self) -> dict[str, Any]:
        scope, wanted = self._scope, self._wanted
        path, _, query = wanted.target.partition("?")
        replaced = {name for name, _ in wanted.headers} | HANDSHAKE_FIELDS
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name not in replaced and not name.startswith((b"sec-websocket-", b"if-"))
        ]
        headers += wanted.headers
        if wanted.body is not None:
            headers.append((b"content-length", str(len(wanted.body)).encode()))
            if wanted.media_type:
                headers.append((b"content-type", wanted.media_type.encode("latin-1")))
        request: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": wanted.method,
            "scheme": {"ws": "http", "wss": "https"}.get(scope.get("scheme") or "ws", "http"),
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": scope.get("root_path") or "",
            "headers": headers,
            "client": scope.get("client"),
            "server": scope.get("server"),
            "extensions": {},
            RELAYED: True,
        }
        request.update({name: scope[name] for name in ("app", "state") if name in scope})
        if "state" in request:
            request["state"] = dict(request["state"])
        return request

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._wanted.body or b"", "more_body": False}
        await self._answered.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._answered.is_set():
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._fields = lowered(message.get("headers", ()))
            kind = media_type(get(self._fields, b"content-type"))
            if kind in LIVE_TYPES or kind.startswith("multipart/"):
                self._cut()
        elif message["type"] == "http.response.body":
            self._take(message)

    def _take(self, message: Message) -> None:
        data = message.get("body", b"")
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._core.settings.max_message:
            self._cut()
        elif not message.get("more_body", False):
            self._answered.set()

    def _cut(self) -> None:
        self._truncated = True
        self._answered.set()

    def _frame(self) -> bytes:
        data = b"".join(self._chunks)
        headers = _headers(self._fields)
        answer = _Answer(self._wanted.id, self._status, headers)
        if self._truncated:
            return answer.truncated()
        if not data:
            return answer.json(None)
        # What a watch of it would hold: JSON, text, or neither.
        found = Rendering(self._status, self._fields, data, "")
        if found.fetch:
            return answer.truncated()
        return answer.json(found.compact) if found.text is None else answer.text(found.text)

    def _problem(self, problem: Problem) -> bytes:
        return messages.response(
            self._wanted.id, problem.status, {"content-type": Problem.media_type}, problem.body()
        )


class _Answer:
    """The frame that answers a request, but for its body."""

    def __init__(self, name: int | str, status: int, headers: Mapping[str, str | list[str]]) -> None:
        self._name, self._status, self._headers = name, status, headers

    def json(self, data: bytes | None) -> bytes:
        return messages.response(self._name, self._status, self._headers, data)

    def text(self, text: str) -> bytes:
        return messages.response(self._name, self._status, self._headers, text=text)

    def truncated(self) -> bytes:
        return messages.response(self._name, self._status, self._headers, truncated=True)


def _headers(fields: Fields) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for name, value in fields:
        text, said = value.decode("latin-1"), found.get(name.decode("latin-1"))
        if said is None:
            found[name.decode("latin-1")] = text
        else:
            found[name.decode("latin-1")] = [*said, text] if isinstance(said, list) else [said, text]
    return found


def _noted(tasks: set[asyncio.Future[None]]) -> Callable[[asyncio.Future[None]], None]:
    """Take a task off the list and its exception, if any, off the log's hands."""

    def done(task: asyncio.Future[None]) -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()

    return done
