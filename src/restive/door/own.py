"""Restive's own URIs below ``prefix``: ``live``, ``health`` and ``changed`` (design 4.3).

What is not known here is the app's.
"""

from __future__ import annotations

import hmac

import msgspec

from ..errors import Problem
from ..http.fields import Fields, get, media_matches
from ..http.origin import allowed
from ..http.targets import check
from ..transports.answers import merged, respond
from ..transports.outlet import Receive, Send
from ..transports.refusals import counts
from .core import Core, Scope
from .watching import Watching, read_body

JSON_FIELDS: Fields = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class _Announcement(msgspec.Struct, forbid_unknown_fields=True):
    changed: list[str]
    below: bool = False


class Own:
    """Serves Restive's own URIs."""

    def __init__(self, core: Core, watching: Watching) -> None:
        self._core = core
        self._watching = watching

    def name(self, scope: Scope) -> str | None:
        """Which of Restive's own URIs this is: ``live``, ``health``, ``changed``, or None."""
        path: str = scope["path"]
        prefix = self._core.settings.prefix
        if prefix not in path:
            return None
        root: str = scope.get("root_path") or ""
        if root and path.startswith(root):
            path = path[len(root) :]
        name = path.removeprefix(f"{prefix}/")
        if name == path or name not in {"live", "health", "changed"}:
            return None
        return None if name == "changed" and self._core.settings.announce_token is None else name

    async def serve(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises ``Problem``."""
        method = scope["method"]
        if method == "OPTIONS":
            await self._preflight(scope, send)
        elif name == "live" and method in {"GET", "POST"}:
            self._guard(scope)
            await self._watching.serve_many(scope, receive, send)
        elif name == "health" and method in {"GET", "HEAD"}:
            await self._health(send, head=method == "HEAD")
        elif name == "changed" and method == "POST":
            await self._changed(scope, receive, send)
        else:
            allow = {"live": "GET, POST", "health": "GET, HEAD", "changed": "POST"}[name]
            raise Problem(405, detail=f"Use {allow}.", headers={"Allow": allow})

    def _guard(self, scope: Scope) -> None:
        """An unsafe request with a browser's cookies must come from a page that may send it (S24)."""
        if scope["method"] == "GET":
            return
        fields: Fields = tuple(scope["headers"])
        settings = self._core.settings
        if get(fields, b"sec-fetch-site") == "none":
            return
        authority = get(fields, b"host") or ""
        if not allowed(
            fields, authority, public_url=settings.public_url, allow_origins=settings.allow_origins
        ):
            raise Problem(403, "Origin not allowed", "Add the page's origin to allow_origins=.")

    async def _preflight(self, scope: Scope, send: Send) -> None:
        granted = self._core.cors(scope)
        if not granted:
            raise Problem(403, "Origin not allowed", "Add the page's origin to allow_origins=.")
        asked = get(tuple(scope["headers"]), b"access-control-request-headers") or ""
        fields: Fields = (
            *granted,
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", asked.encode("latin-1")),
            (b"access-control-max-age", b"600"),
        )
        await respond(send, 204, fields)

    async def _health(self, send: Send, *, head: bool) -> None:
        ready = self._core.live.ready
        data = msgspec.json.encode({"live": True, "ready": ready, "refused": dict(counts)})
        await respond(send, 200 if ready else 503, JSON_FIELDS, b"" if head else data)

    async def _changed(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._core.settings
        fields: Fields = tuple(scope["headers"])
        self._authorize(get(fields, b"authorization") or "", settings.announce_token or "")
        if not media_matches(get(fields, b"content-type"), ("application/json",)):
            raise Problem(415, detail='Send JSON: {"changed": ["/orders/3"]}')
        data = await read_body(receive, settings.max_message)
        try:
            wanted = msgspec.json.decode(data, type=_Announcement)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Problem(400, "Bad announcement", f'Send {{"changed": ["/orders/3"]}}: {error}') from None
        if not 1 <= len(wanted.changed) <= settings.announce_limit:
            raise Problem(400, "Bad announcement", f"Name 1 to {settings.announce_limit} targets.")
        self._core.live.changed(*[check(target) for target in wanted.changed], below=wanted.below)
        await respond(send, 204, merged((), self._core.cors(scope)))

    def _authorize(self, authorization: str, token: str) -> None:
        scheme, _, given = authorization.partition(" ")
        good = hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not good:
            raise Problem(
                401,
                detail="Send the announce_token as a bearer token.",
                headers={"WWW-Authenticate": "Bearer"},
            )
