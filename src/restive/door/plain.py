"""A plain GET on its way through: an entity tag, 304, and privacy by default (design 2.1, 4.1).

Nothing is held back that could be long: a body without a length passes as soon as it proves to come
in pieces, and the head of a slow one is not kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from ..errors import CutOff
from ..http.fields import Field, Fields, get, lowered, named
from ..http.sharing import private_by_default, shareable
from ..http.validators import decoded, none_match, not_modified_fields, tag_field
from ..hub.hub import Hub
from ..transports.answers import body, start
from ..transports.outlet import Message, Send
from .core import RELAYED, Core, Scope

MAX_TAGGED = 1_048_576
"""Bytes of the largest response that is held for a moment to give it a tag."""

PRIVATE = (b"cache-control", b"private, no-cache")


class Passage:
    """The ``send`` of one GET or HEAD."""

    __slots__ = (
        "_asked",
        "_chunks",
        "_core",
        "_cut",
        "_flush",
        "_held",
        "_hub",
        "_names",
        "_request",
        "_root",
        "_scope",
        "_send",
        "_size",
        "settled",
    )

    def __init__(
        self, core: Core, scope: Scope, asked: Mapping[bytes, bytes], send: Send, hub: Hub | None
    ) -> None:
        self._core = core
        self._scope = scope
        # Routers write their own root path into the scope.
        self._root: str = scope.get("root_path") or ""
        self._send = send
        self._request: Fields = tuple(scope["headers"])
        self._asked = asked  # the same by name: of several lines the last
        self._hub = hub  # until the response begins: looks give way to it (design 2.4)
        self._names: Mapping[bytes, bytes] = {}  # the fields that the app's response has, by name
        self._held: Message | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._flush: asyncio.Task[None] | None = None
        self._cut = False
        self.settled = False
        """Whether all is known to have been sent."""
        if hub is not None:
            hub.foreground(+1)

    async def send(self, message: Message) -> None:
        """Take one of the app's messages. Raises ``CutOff`` after ``cut``."""
        if self._cut:
            raise CutOff("The rest of the response will not come.")
        if self._hub is not None:
            self._hub.foreground(-1)
            self._hub = None
        if self._flush is not None:
            await self._flush
            self._flush = None
        kind = message["type"]
        if kind == "http.response.start":
            head = self._begin(message)
            if head is not None:
                await self._send(head)
        elif self._held is None:
            await self._send(message)
        elif kind != "http.response.body":
            # An extension of the server's, such as a path to send: not ours to hold.
            await self._release()
            await self._send(message)
        elif self._chunks or message.get("more_body", False):
            await self._take(message)
        else:
            head, message = self._whole(self._held, message)
            await self._send(head)
            await self._send(message)

    def cut(self) -> None:
        """The app has given its response up: nothing may end it properly."""
        self._cut = True

    def _begin(self, message: Message) -> Message | None:
        """The head as it leaves now, None where it is held."""
        core, scope = self._core, self._scope
        headers, names = named(message.get("headers", ()))
        self._names = names
        if b"set-cookie" in names and RELAYED not in scope:
            core.cookies.answered(self._request, lowered(headers))
        message = {**message, "headers": headers}
        if not core.watchable[bytes(names.get(b"content-type", b""))]:
            return message
        if private_by_default(self._asked, names):
            headers.append(PRIVATE)
        if message["status"] != 200:
            return message
        headers += monitor_fields(core, scope, self._root, headers, names)
        if scope["method"] != "GET" or not _may_tag(names):
            return message
        self._held = message
        if b"content-length" not in names:
            # Whole in its first message? That shows at once or not at all.
            asyncio.get_running_loop().call_soon(self._flush_head)
        return None

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
        """One of several pieces."""
        self._chunks.append(message.get("body", b""))
        self._size += len(self._chunks[-1])
        if not message.get("more_body", False):
            assert self._held is not None
            for part in self._whole(self._held, body(b"".join(self._chunks))):
                await self._send(part)
        elif self._size > MAX_TAGGED or b"content-length" not in self._names:
            await self._release()

    def _whole(self, held: Message, message: Message) -> tuple[Message, Message]:
        """The whole response with its tag, or the 304 that it comes to."""
        self._held, self.settled = None, True
        data, headers = message.get("body", b""), held["headers"]
        tag = tag_field(data) if b"content-encoding" not in self._names else coded_tag(data, headers)
        if tag is not None:
            headers.append((b"etag", tag))
            if b"if-none-match" in self._asked and self._is_known(tag):
                return start(304, not_modified_fields(headers)), body(b"")
        return held, message

    def _is_known(self, tag: bytes) -> bool:
        """Whether the client has it."""
        if self._asked[b"if-none-match"] == tag:
            return True
        return none_match(get(self._request, b"if-none-match") or "", tag.decode())

    async def settle(self) -> None:
        """The app's call is over: nothing stays held."""
        if self._hub is not None:  # it never began
            self._hub.foreground(-1)
            self._hub = None
        if self._flush is not None:
            await self._flush
        if self._held is not None:
            await self._release()


def monitor_fields(
    core: Core, scope: Scope, root: str, fields: Iterable[Field], names: Collection[bytes]
) -> Fields:
    """What is added to a 200 of a watchable type to say where the resource can be watched."""
    live = core.live
    if live.restricted and (not live.may_watch(scope["path"]) or live.is_never(scope.get("endpoint"))):
        return ()
    # A shared cache is told of no negotiation that the query spelling does not need.
    cacheable = b"cache-control" in names and shareable(200, lowered(fields))
    return core.monitor[root][:1] if cacheable else core.monitor[root]


def coded_tag(data: bytes, fields: Iterable[Field]) -> bytes | None:
    """The tag of what a coded body decodes to; None where it cannot be decoded."""
    coding = get(lowered(fields), b"content-encoding")
    plain = decoded(data, coding, MAX_TAGGED * 8)
    if plain is None:
        return None
    return tag_field(plain) if coding == "identity" else b"W/" + tag_field(plain)


def _may_tag(names: Mapping[bytes, bytes]) -> bool:
    """Whether the response may get a tag: none of the app's own, whole, and not known to be long."""
    if b"etag" in names or b"content-range" in names:
        return False
    length = bytes(names.get(b"content-length", b"0"))
    return length.isdigit() and int(length) <= MAX_TAGGED
