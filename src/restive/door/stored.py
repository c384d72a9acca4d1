"""Plain reads that the hub answers, as a shared cache would (RFC 9111, design 6): the app sleeps on.

Only while something here watches the resource, whose looks keep the response fresh. Many who ask for
one that is stale wait for one look; whatever cannot be answered is passed to the app as ever.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from ..errors import Problem
from ..http.fields import Fields
from ..http.key import RequestKey
from ..http.reuse import Asked, Reuse, Stored, asked, matches, reuse
from ..http.validators import not_modified_fields
from ..hub.variant import Variant
from ..transports.answers import body
from ..transports.outlet import Message, Send
from .core import Core, Scope
from .plain import monitor_fields
from .watching import Watching

MAX_REQUESTS = 256
"""Requests of which it is remembered what they ask for: a client repeats its own."""

MAX_REMEMBERED_BYTES = 2048

MAX_MADE = 8
"""Heads of answers that are kept for the next request in the same second."""


class Request(NamedTuple):
    """What one GET or HEAD asks for."""

    key: RequestKey
    asked: Asked
    names: frozenset[bytes]


class Reads:
    """Answers GET and HEAD from what the hub of this loop holds."""

    def __init__(self, core: Core, watching: Watching) -> None:
        self._core = core
        self._watching = watching
        self._requests: dict[tuple[object, ...], Request | None] = {}

    def ready(self, scope: Scope) -> tuple[Message, Message] | None:
        """The answer, where it is known now. Asked of every request, so what nobody watches costs little."""
        hub = self._core.live.current_hub()
        if hub is None or not hub.may_hold(scope["path"], scope.get("root_path") or ""):
            return None
        request = self._request(scope)
        variant = None if request is None else hub.stored(request.key, request.names)
        if request is None or variant is None or variant.stored is None or not variant.known:
            return None
        stored, now = variant.stored, hub.now()
        found = reuse(stored, request.asked, now)
        if found is Reuse.WHOLE or found is Reuse.UNMODIFIED:
            return self._answer(stored, found, "hit", scope, now)
        return None

    async def serve(self, scope: Scope, send: Send) -> bool:
        """Where it was not ready, let it be answered by a look for all who ask now. False: the app has to.

        Raises ``Problem`` 504 for ``only-if-cached``.
        """
        hub = self._core.live.current_hub()
        if hub is None or not hub.may_hold(scope["path"], scope.get("root_path") or ""):
            return False
        request = self._request(scope)
        variant = None if request is None else hub.stored(request.key, request.names)
        if request is None or variant is None or variant.stored is None:
            return False
        if request.asked.only_if_cached:
            raise Problem(504, detail="Nothing is held that could answer this. Ask without only-if-cached.")
        if variant.known and reuse(variant.stored, request.asked, hub.now()) is Reuse.UNFIT:
            return False
        stored = await _looked_at(variant, request)
        now = hub.now()
        found = Reuse.STALE if stored is None else reuse(stored, request.asked, now)
        if stored is None or found is Reuse.STALE or found is Reuse.UNFIT:
            return False
        for message in self._answer(stored, found, "fwd=stale; collapsed", scope, now):
            await send(message)
        return True

    def _request(self, scope: Scope) -> Request | None:
        """What is asked for, None where it is no plain read that may be answered here."""
        if scope["method"] not in {"GET", "HEAD"}:
            return None
        if self._core.settings.key:  # the answer depends on more than the request
            return self._read(scope)
        name = (
            scope["path"], scope.get("raw_path"), scope.get("query_string"), scope.get("root_path"),
            scope.get("scheme"), tuple(scope.get("server") or ()), tuple(map(tuple, scope["headers"])),
        )  # fmt: skip
        try:
            return self._requests[name]
        except KeyError:
            pass
        found = self._read(scope)
        size = len(scope.get("query_string") or b"") + sum(len(value) for _, value in scope["headers"])
        if size <= MAX_REMEMBERED_BYTES:
            if len(self._requests) >= MAX_REQUESTS:
                self._requests.clear()
            self._requests[name] = found
        return found

    def _read(self, scope: Scope) -> Request | None:
        fields: Fields = tuple(scope["headers"])
        wanted = asked(fields)
        try:
            if wanted is None or self._watching.asked(scope)[0] is not None:
                return None
            key = self._core.key(scope)
        except Problem:
            return None  # an odd request is judged where it is served
        # A path that is not in normal form is another one to the app.
        if unquote(key.path) not in {scope["path"], f"{key.root_path}{scope['path']}"}:
            return None
        return Request(key, wanted, frozenset(name for name, _ in fields))

    def _answer(
        self, stored: Stored, found: Reuse, how: str, scope: Scope, now: float
    ) -> tuple[Message, Message]:
        status = 200 if found is Reuse.WHOLE else 304
        age = stored.age_at(now)
        name = f"{status} {int(age)} {how}"
        headers = stored.made.get(name)
        if headers is None:
            if len(stored.made) >= MAX_MADE:
                stored.made.clear()  # those of seconds that are over
            said = b"restive; %b; ttl=%d" % (how.encode(), stored.lifetime - age)
            fields = self._fields(stored, status, scope)
            headers = stored.made[name] = (*fields, (b"age", b"%d" % age), (b"cache-status", said))
        data = stored.body if status == 200 and scope["method"] == "GET" else b""
        # A list of its own: outer middleware may add to it.
        return {"type": "http.response.start", "status": status, "headers": list(headers)}, body(data)

    def _fields(self, stored: Stored, status: int, scope: Scope) -> Fields:
        """The fields that the app's own answer would have, but for those that depend on the time."""
        names = dict(stored.fields)
        fields = stored.fields
        if self._core.is_watchable(names.get(b"content-type", b"")):
            root: str = scope.get("root_path") or ""
            fields = (*fields, *monitor_fields(self._core, scope, root, 200, fields))
        if b"etag" not in names:
            fields = (*fields, (b"etag", stored.etag.encode("latin-1")))
        if status == 304:
            return not_modified_fields(fields)
        return (*fields, (b"content-length", b"%d" % len(stored.body)))


async def _looked_at(variant: Variant, request: Request) -> Stored | None:
    """What a look finds that is made for all who ask now; None where it is not for this request."""
    reader = variant.ask()
    stored = None if reader is None else await reader
    if stored is None or not matches(stored, request.key, request.names):
        return None
    return stored
