"""What the parts of the front door share: settings, the hub of this loop, and how a watch begins."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

from ..errors import Problem
from ..http.fields import Fields, get, media_matches
from ..http.invalidation import Change
from ..http.key import Neutral, RequestKey, look_scope, request_key
from ..http.once import once
from ..http.origin import same_origin
from ..hub.following import Follower
from ..hub.hub import Hub
from ..hub.look import ASGIApp
from ..hub.under_way import UnderWay
from ..hub.watch import Sink, Watch
from ..settings import UNWATCHABLE, Settings
from ..telemetry.observation import Observation
from ..telemetry.probing import Probed
from ..transports.refusals import count
from ..wire.frames import Limits
from .cookies import CookieIndex

log = logging.getLogger("restive.door")

Scope = Mapping[str, Any]
K = TypeVar("K")
V = TypeVar("V")

RELAYED = "restive.relayed"
"""In a scope: the request came over a socket, so its response replaces no cookie of the browser's."""

MAX_REMEMBERED = 1000
"""Entries of a table that grows with what apps say."""


class Remembered(dict[K, V]):
    """What a function makes of each of the first arguments that it meets: apps repeat theirs."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        if len(self) < MAX_REMEMBERED:
            self[key] = value
        return value


class StreamIndex(Protocol):
    """Which paths are streams, and how one is followed."""

    def match(self, path: str) -> object | None:
        """What is declared at a path in the app (decoded), if it is a stream's."""
        ...

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Read a stream from an offset on; ``path`` is its normal form without the root path.

        "-1" is the start, "now" the end. Called on an event loop, on which ``wake`` says that there may be
        more; not from inside any method of the follower.
        """
        ...


class Live(Protocol):
    """What the front door needs of ``Restive``."""

    settings: Settings
    draining: bool
    """The server stops: no watch begins any more."""
    restricted: bool
    """Whether ``may_watch`` and ``is_never`` say anything."""
    under_way: UnderWay
    """The unsafe requests that run in this process."""

    @property
    def streams(self) -> StreamIndex | None:
        """The streams, where any is declared."""
        ...

    @property
    def ready(self) -> bool:
        """Whether new clients are welcome: false from the first signal to stop on."""
        ...

    @property
    def observation(self) -> Observation:
        """Health and metrics."""
        ...

    @property
    def backend(self) -> Probed:
        """The backend. Raises ``BackendError`` or ``SettingError`` where there can be none."""
        ...

    def hub(self) -> Hub:
        """The hub of the running loop, made on first use."""
        ...

    def current_hub(self) -> Hub | None:
        """The hub of the running loop, where there is one."""
        ...

    def changed(self, *targets: str, below: bool = False) -> None:
        """Announce a change of ``targets``. Raises ``Problem`` for what is none."""
        ...

    def announce(self, changes: Iterable[Change]) -> None:
        """Tell every hub of this process and every other process."""
        ...

    def is_outermost(self, app: Any) -> bool:
        """Whether a call of ``app`` reaches the front door with nothing of the user's in between."""
        ...

    def is_never(self, endpoint: Any) -> bool:
        """Whether ``never`` takes out the app's function that answered."""
        ...

    def may_watch(self, path: str) -> bool:
        """Whether ``never`` and ``targets=`` leave this path watchable."""
        ...


class Core:
    """Shared by all parts of one front door."""

    def __init__(self, app: ASGIApp, live: Live) -> None:
        self.app = app
        self.live = live
        self.settings = live.settings
        self.neutral = Neutral(neutral=live.settings.neutral, ignore_cookies=live.settings.ignore_cookies)
        self.cookies = CookieIndex()
        self.tasks: set[asyncio.Future[None]] = set()
        """What goes on behind answers; kept from the garbage collector."""
        self._connections: Counter[str] = Counter()
        self.watchable: Remembered[bytes, bool] = Remembered(self._is_watchable)
        """By Content-Type: whether such representations can be watched as they are."""
        self.monitor: Remembered[str, Fields] = Remembered(self._monitor_fields)
        """By root path: the Link that says where resources below it are watched, and the Vary beside it."""

    @cached_property
    def limits(self) -> Limits:
        """What one socket may cost."""
        settings = self.settings
        return Limits(
            max_message=settings.max_message,
            max_watches=settings.max_watches,
            max_requests=settings.max_requests,
            max_errors=settings.max_errors,
            message_rate=settings.message_rate,
            requests=settings.requests,
            socket_headers=settings.socket_headers,
            hello=settings.hello,
            linger=settings.linger,
            lifetime=settings.socket_lifetime,
            retry=settings.retry,
        )

    def gone(self, connection: Sink) -> None:
        """A stream that was put on the bare transport is over."""
        self.leave(connection.peer)

    def _is_watchable(self, content_type: bytes) -> bool:
        kind = content_type.decode("latin-1")
        return media_matches(kind, self.settings.watchable) and not media_matches(kind, UNWATCHABLE)

    def _monitor_fields(self, root: str) -> Fields:
        link = f'<{root}{self.settings.prefix}/live>; rel="monitor"'.encode("latin-1", "replace")
        return (b"link", link), (b"vary", b"Accept, Prefer")

    @cached_property
    def retry_ms(self) -> Callable[[], int]:
        """Gives the milliseconds after which a client comes back when the server stops, jittered."""
        retry = self.settings.retry
        return lambda: round(retry * (0.5 + random.random()) * 1000)  # noqa: S311 - it only spreads load

    def peer_of(self, scope: Scope) -> str:
        """The address that a connection is counted for."""
        client = scope.get("client")
        return once(str(client[0])) if client else ""

    def has_room(self, peer: str) -> bool:
        """Whether this address may have one more live connection."""
        return self._connections[peer] < self.settings.max_connections

    def enter(self, scope: Scope) -> str:
        """Count one more live connection. Raises ``Problem`` 429 or 503; ``leave`` is its opposite."""
        peer = self.peer_of(scope)
        if self.live.draining:
            raise Problem(503, detail="The server is stopping. Come back.", headers={"Retry-After": "1"})
        if not self.has_room(peer):
            count("connections")
            log.warning(
                "%s has %d live connections: refused (max_connections)", peer, self._connections[peer]
            )
            raise Problem(
                429,
                "Too many connections",
                "This address has too many live connections. Watch many resources over one socket.",
                headers={"Retry-After": "5"},
            )
        self._connections[peer] += 1
        return peer

    def leave(self, peer: str) -> None:
        """A live connection is over."""
        self._connections[peer] -= 1
        if not self._connections[peer]:
            del self._connections[peer]

    def key(self, scope: Scope, target: str | None = None, headers: Fields = ()) -> RequestKey:
        """The key of the GET that ``scope`` (or a frame on it) stands for. Raises ``Problem`` 400."""
        return request_key(scope, self.neutral, extra=self.settings.key, target=target, headers=headers)

    def watch(
        self,
        outlet: Sink,
        scope: Scope,
        *,
        cursor: str | None,
        target: str | None = None,
        headers: Fields = (),
        patch: bool = False,
        key: RequestKey | None = None,
    ) -> Watch:
        """Begin a watch. Raises ``Problem`` where it is not allowed or one too many.

        ``key`` is what ``self.key`` gives for the same arguments, where that is known.
        """
        key = key or self.key(scope, target, headers)
        if target is None:
            _refuse_detour(scope, key)
        return self.watch_key(outlet, key, cursor=cursor, patch=patch)

    def watch_key(self, outlet: Sink, key: RequestKey, *, cursor: str | None, patch: bool) -> Watch:
        """``watch`` of what is known by its key already."""
        if not self.live.may_watch(key.path):
            raise Problem(
                403, "Not watchable", f"{key.path} is not among the targets that may be watched. GET it."
            )
        return self.live.hub().watch(key, outlet, cursor=cursor, patch=patch, audience=self._audience(key))

    def _audience(self, key: RequestKey) -> str | None:
        if self.settings.audience is None:
            return None
        try:
            return self.settings.audience(look_scope(key, state=None, app=None, reason="audience"))
        except Exception:
            log.exception("audience= raised for %s; the watch shares nothing", key.path)
            return None

    def cors(self, scope: Scope) -> Fields:
        """What lets a page of an allowed origin read a live answer (design 4.2)."""
        fields: Fields = tuple(scope["headers"])
        origin = get(fields, b"origin")
        if origin is None or origin not in self.settings.allow_origins:
            return ()
        if same_origin(origin, get(fields, b"host") or ""):
            return ()
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", b"etag, location, retry-after, preference-applied, link"),
            (b"vary", b"origin"),
        )


def _refuse_detour(scope: Scope, key: RequestKey) -> None:
    """A watch reaches what a GET of the same URI reaches, so that a proxy's rules by path hold for it.

    A look has the normal form; a path with dot segments is another one to the app. Raises ``Problem`` 400.
    """
    path, root = scope["path"], scope.get("root_path") or ""
    if unquote(key.path) not in {path, f"{root}{path}"}:
        raise Problem(400, "Target not in normal form", f"Write {key.target}")
