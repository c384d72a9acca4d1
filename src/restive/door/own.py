"""Restive's own URIs below ``prefix`` (design 4.3): ``live``, ``client.js``, ``changed``, ``health``, …

What is not known here is the app's.
"""

from __future__ import annotations

import hmac

import anyio.to_thread
import msgspec

from ..errors import Problem
from ..http.fields import Fields, get, media_matches
from ..http.origin import check_unsafe
from ..http.targets import check
from ..transports.answers import merged, respond
from ..transports.outlet import Receive, Send
from ..transports.refusals import counts
from .core import Core, Scope
from .many import Many, read_body
from .script import serve_script

METHODS = {
    "live": ("GET", "POST"),
    "client.js": ("GET", "HEAD"),
    "changed": ("POST",),
    "health": ("GET", "HEAD"),
    "health/live": ("GET", "HEAD"),
    "health/ready": ("GET", "HEAD"),
    "metrics": ("GET", "HEAD"),
}
"""The URIs, and what may be done with them."""

JSON_FIELDS: Fields = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class _Announcement(msgspec.Struct, forbid_unknown_fields=True):
    changed: list[str]
    below: bool = False


class Own:
    """Serves Restive's own URIs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._many = Many(core)

    def name(self, scope: Scope) -> str | None:
        """Which of Restive's own URIs this is, one of ``METHODS``, or None."""
        path: str = scope["path"]
        prefix = self._core.settings.prefix
        if prefix not in path:
            return None
        root: str = scope.get("root_path") or ""
        if root and path.startswith(root):
            path = path[len(root) :]
        name = path.removeprefix(f"{prefix}/")
        if name == path or name not in METHODS:
            return None
        if name == "changed" and self._core.settings.announce_token is None:
            return None
        return None if name == "metrics" and not self._core.live.observation.metrics else name

    async def serve(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises ``Problem``."""
        method = scope["method"]
        if method == "OPTIONS":
            await self._preflight(scope, send)
        elif method not in METHODS[name]:
            allow = ", ".join(METHODS[name])
            raise Problem(405, detail=f"Use {allow}.", headers={"Allow": allow})
        elif name == "live":
            self._guard(scope)
            await self._many.serve(scope, receive, send)
        elif name == "client.js":
            await serve_script(self._core, scope, send)
        elif name == "changed":
            await self._changed(scope, receive, send)
        else:
            status, fields, data = await self._told(name, scope)
            await respond(send, status, fields, b"" if method == "HEAD" else data)

    async def _told(self, name: str, scope: Scope) -> tuple[int, Fields, bytes]:
        """The answer of what is only read. Raises ``Problem``."""
        live = self._core.live
        if name == "metrics":
            return await self._metrics(scope)
        if name == "health/live":
            return 200, JSON_FIELDS, msgspec.json.encode({"live": True})
        said: dict[str, object] = {"ready": live.ready}
        if name == "health":
            await live.observation.probe(lambda: live.backend)
            backend = live.observation.backend()
            said = {"live": True, **said, "refused": dict(counts), "backend": backend}
        return 200 if live.ready else 503, JSON_FIELDS, msgspec.json.encode(said)

    async def _metrics(self, scope: Scope) -> tuple[int, Fields, bytes]:
        from ..telemetry.prometheus import exposition  # loads prometheus_client

        live, fields = self._core.live, tuple(scope["headers"])
        token = self._core.settings.metrics_token
        if token is not None:
            self._authorize(fields, token, "metrics_token")
        await live.observation.probe(lambda: live.backend)
        accept = get(fields, b"accept") or ""
        data, content_type = await anyio.to_thread.run_sync(exposition, accept)
        own = (b"content-type", content_type.encode("latin-1")), (b"cache-control", b"no-store")
        return 200, own, data

    def _guard(self, scope: Scope) -> None:
        own, others = self._core.settings.public_url, self._core.settings.allow_origins
        check_unsafe(scope["method"], tuple(scope["headers"]), public_url=own, allow_origins=others)

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

    async def _changed(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._core.settings
        fields: Fields = tuple(scope["headers"])
        self._authorize(fields, settings.announce_token or "", "announce_token")
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

    def _authorize(self, fields: Fields, token: str, setting: str) -> None:
        scheme, _, given = (get(fields, b"authorization") or "").partition(" ")
        good = hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != "bearer" or not good:
            raise Problem(
                401, detail=f"Send the {setting} as a bearer token.", headers={"WWW-Authenticate": "Bearer"}
            )
