"""A plain GET on its way through: an entity tag, 304, and privacy by default (design 2.1, 4.1).

Nothing is held back that could be long: a body without a length passes as soon as it proves to come
in pieces, and the head of a slow one is not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from ..http.fields import Fields, get, lowered
from ..http.sharing import private_by_default, shareable
from ..http.validators import decoded, make_tag, none_match, not_modified_fields, weaken
from ..transports.answers import body, start
from ..transports.outlet import Message, Send
from .core import RELAYED, Core, Scope

MAX_TAGGED = 1_048_576
"""Bytes of the largest response that is held for a moment to give it a tag."""


class Passage:
    """The ``send`` of one GET or HEAD."""

    __slots__ = (
        "_chunks",
        "_core",
        "_fields",
        "_flush",
        "_held",
        "_request",
        "_root",
        "_scope",
        "_send",
        "_size",
    )

    def __init__(self, core: Core, scope: Scope, send: Send) -> None:
        self._core = core
        self._scope = scope
        # Routers write their own root path into the scope.
        self._root: str = scope.get("root_path") or ""
        self._send = send
        self._request: Fields = tuple(scope["headers"])
        self._fields: Fields = ()
        self._held: Message | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._flush: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """Take one of the app's messages."""
        if self._flush is not None:
            await self._flush
            self._flush = None
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._held is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            await self._take(message)
        else:  # an extension of the server's, such as a path to send: not ours to hold
            await self._release()
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        self._fields = lowered(message.get("headers", ()))
        headers = list(self._fields)
        names, status = dict(headers), message["status"]
        if b"set-cookie" in names and RELAYED not in self._scope:
            self._core.cookies.answered(self._request, self._fields)
        watchable = self._core.is_watchable(names.get(b"content-type", b""))
        if watchable:
            self._add(headers, names, status)
        message = {**message, "headers": headers}
        if not (watchable and status == 200 and self._scope["method"] == "GET" and _may_tag(names)):
            await self._send(message)
            return
        self._held = message
        if b"content-length" not in names:
            # Whole in its first message? That shows at once or not at all.
            asyncio.get_running_loop().call_soon(self._flush_head)

    def _add(self, headers: list[tuple[bytes, bytes]], names: Collection[bytes], status: int) -> None:
        """Privacy by default, and where the resource can be watched."""
        if private_by_default(self._request, names):
            headers.append((b"cache-control", b"private, no-cache"))
        headers += monitor_fields(self._core, self._scope, self._root, status, self._fields)

    def _flush_head(self) -> None:
        if self._held is not None and not self._chunks:
            self._flush = asyncio.ensure_future(self._release())

    async def _release(self) -> None:
        """Send what was held as it is."""
        held, self._held = self._held, None
        if held is None:
            return
        await self._send(held)
        if self._chunks:
            await self._send(body(b"".join(self._chunks), more=True))

    async def _take(self, message: Message) -> None:
        self._chunks.append(message.get("body", b""))
        self._size += len(self._chunks[-1])
        more = message.get("more_body", False)
        if not more:
            await self._finish()
        elif self._size > MAX_TAGGED or get(self._fields, b"content-length") is None:
            await self._release()

    async def _finish(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        headers: list[tuple[bytes, bytes]] = held["headers"]
        coding = get(self._fields, b"content-encoding")
        plain = data if coding is None else decoded(data, coding, MAX_TAGGED * 8)
        if plain is not None:
            tag = make_tag(plain) if coding in {None, "identity"} else weaken(make_tag(plain))
            headers.append((b"etag", tag.encode()))
            asked = get(self._request, b"if-none-match")
            if asked is not None and none_match(asked, tag):
                await self._send(start(304, not_modified_fields(tuple(headers))))
                await self._send(body(b""))
                return
        await self._send(held)
        await self._send(body(data))

    async def settle(self) -> None:
        """The app's call is over: nothing stays held."""
        if self._flush is not None:
            await self._flush
        if self._held is not None:
            await self._release()


def monitor_fields(core: Core, scope: Scope, root: str, status: int, fields: Fields) -> Fields:
    """What is added to a response of a watchable type to say where the resource can be watched."""
    live = core.live
    if status != 200 or not live.may_watch(scope["path"]) or live.is_never(scope.get("endpoint")):
        return ()
    link = (b"link", core.monitor_link(root))
    # A shared cache is told of no negotiation that the query spelling does not need.
    if any(name == b"cache-control" for name, _ in fields) and shareable(status, fields):
        return (link,)
    return link, (b"vary", b"Accept, Prefer")


def _may_tag(names: Mapping[bytes, bytes]) -> bool:
    """Whether the response may get a tag: none of the app's own, whole, and not known to be long."""
    if b"etag" in names or b"content-range" in names:
        return False
    length = names.get(b"content-length", b"0")
    return length.isdigit() and int(length) <= MAX_TAGGED
