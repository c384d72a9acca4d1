"""Plain reads that the hub answers, as a shared cache would (RFC 9111, design 6): the app sleeps on.

Only while something here watches the resource, whose looks keep the response fresh. Many who ask for
one that is stale wait for one look; whatever cannot be answered is passed to the app as ever.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote
from weakref import ref

from ..errors import Problem
from ..http.fields import Fields
from ..http.key import RequestKey
from ..http.reuse import Asked, Reuse, Stored, asked, matches, reuse
from ..http.validators import not_modified_fields
from ..hub.variant import Variant
from ..transports.answers import body, start
from ..transports.outlet import Message, Send
from ..transports.takeover import Known, offered
from .core import Core, Scope
from .plain import monitor_fields
from .watching import Watching

MAX_REQUESTS = 256
"""Requests of which it is remembered what they ask for: a client repeats its own."""

MAX_REMEMBERED_BYTES = 2048

HIT, COLLAPSED = b"hit", b"fwd=stale; collapsed"
"""What ``Cache-Status`` says (RFC 9211)."""

MAX_MADE = 8
"""Heads of answers that are kept for the next request in the same second."""


class Request(NamedTuple):
    """What one GET or HEAD asks for."""

    key: RequestKey
    asked: Asked
    names: frozenset[bytes]
    path: str
    """As in the ASGI scope, and so ``root``."""
    root: str


class Reads:
    """Answers GET and HEAD from what the hub of this loop holds."""

    def __init__(self, core: Core, watching: Watching) -> None:
        self._core = core
        self._watching = watching
        self._requests: dict[tuple[object, ...], Request | None] = {}

    def ready(self, scope: Scope, send: Send) -> tuple[Message, Message] | None:
        """The answer, where it is known now. Asked of every request, so what nobody watches costs little."""
        hub = self._core.live.current_hub()
        if hub is None or not hub.may_hold(scope["path"], scope.get("root_path") or ""):
            return None
        request = self._request(scope)
        variant = None if request is None else hub.stored(request.key, request.names)
        known = None if request is None or variant is None else self.known(request, variant)
        if request is None or variant is None or known is None:
            return None
        if scope["method"] != "GET":
            return start(known.status, known.fields), body(b"")
        if not self._core.settings.key:  # else it is not known by its bytes
            takeover = offered(scope, send)
            if takeover is not None and self._core.live.is_outermost(takeover.outermost):
                takeover.again(scope, Again(self, request, variant))
        return start(known.status, known.fields), body(known.body)

    def find(self, request: Request) -> Variant | None:
        """The variant that ``request`` may be answered from, once it is known to be fresh."""
        hub = self._core.live.current_hub()
        return None if hub is None else hub.stored(request.key, request.names)

    def known(self, request: Request, variant: Variant) -> Known | None:
        """The response to ``request`` from ``variant``, which matches it; None where it is not known now."""
        stored = variant.stored
        if stored is None or not variant.known:
            return None
        now = variant.resource.hub.now()
        found = reuse(stored, request.asked, now)
        if found is Reuse.WHOLE or found is Reuse.UNMODIFIED:
            return self._answer(stored, found, HIT, request, now)
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
        known = self._answer(stored, found, COLLAPSED, request, now)
        await send(start(known.status, known.fields))
        await send(body(known.body if scope["method"] == "GET" else b""))
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
        names = frozenset(name for name, _ in fields)
        return Request(key, wanted, names, scope["path"], scope.get("root_path") or "")

    def _answer(self, stored: Stored, found: Reuse, how: bytes, request: Request, now: float) -> Known:
        age = stored.age_at(now)
        name = (found, how, int(age))
        known = stored.made.get(name)
        if known is None:
            if len(stored.made) >= MAX_MADE:
                stored.made.clear()  # those of seconds that are over
            said = b"restive; %b; ttl=%d" % (how, stored.lifetime - age)
            status = 200 if found is Reuse.WHOLE else 304
            fields = self._fields(stored, status, request)
            fields = (*fields, (b"age", b"%d" % age), (b"cache-status", said))
            known = stored.made[name] = Known(status, fields, stored.body if status == 200 else b"")
        return known

    def _fields(self, stored: Stored, status: int, request: Request) -> Fields:
        """The fields that the app's own answer would have, but for those that depend on the time."""
        names = dict(stored.fields)
        fields = stored.fields
        if self._core.watchable[names.get(b"content-type", b"")]:
            scope = {"path": request.path}
            fields = (*fields, *monitor_fields(self._core, scope, request.root, fields, names))
        if b"etag" not in names:
            fields = (*fields, (b"etag", stored.etag.encode("latin-1")))
        if status == 304:
            return not_modified_fields(fields)
        return (*fields, (b"content-length", b"%d" % len(stored.body)))


class Again:
    """A request that its server knows again: what may have changed since is asked each time, nothing else."""

    __slots__ = ("_edition", "_reads", "_request", "_variant")

    def __init__(self, reads: Reads, request: Request, variant: Variant) -> None:
        self._reads, self._request = reads, request
        self._variant = ref(variant)  # it goes with its last watch
        self._edition = variant.resource.edition

    def __call__(self) -> Known | None:
        """The response now, where it is known."""
        variant = self._variant()
        if variant is None or variant.resource.edition != self._edition:
            variant = self._reads.find(self._request)
            if variant is None:
                return None
            self._variant, self._edition = ref(variant), variant.resource.edition
        return self._reads.known(self._request, variant)


async def _looked_at(variant: Variant, request: Request) -> Stored | None:
    """What a look finds that is made for all who ask now; None where it is not for this request."""
    reader = variant.ask()
    stored = None if reader is None else await reader
    if stored is None or not matches(stored, request.key, request.names):
        return None
    return stored
