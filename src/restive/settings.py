"""Every setting: its name, its safe default, its unit and one line that explains it.

The table in docs/settings.md is held against this file by a test. Where HTTP has a word
(Cache-Control, Vary, Retry-After, …) there is no setting.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from .errors import SettingError

Scope = Mapping[str, Any]
Audience = Callable[[Scope], "str | None"]
Changes = Callable[[Scope, int, Mapping[str, str]], Iterable[str]]
Owner = Callable[[Any], "str | None"]

WATCHABLE = ("application/json", "application/*+json", "application/xml", "application/*+xml", "text/*")
UNWATCHABLE = ("text/javascript", "text/css", "text/event-stream", "image/*")


def _setting(default: Any, line: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"line": line}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one ``Restive``; built from its keyword arguments."""

    prefix: str = _setting("/-", "Path below which Restive's own URIs lie.")
    backend: str = _setting(
        "auto", "URL of the backend: `auto`, `memory:`, `sqlite:///path`. Env: `RESTIVE_BACKEND`."
    )
    name: str = _setting(
        "", "The app's name in the backend; apps that share a store have different ones. Default: `restive`."
    )

    # Who shares a rendering (design 2.1)
    neutral: Collection[str] = _setting(
        (),
        "More request fields that no response depends on; no look has them. `x-foo-*` matches a prefix.",
    )
    ignore_cookies: Collection[str] = _setting(
        (), "Cookies (globs) that no response depends on; removed from every look."
    )
    key: Collection[Literal["client", "tls"]] = _setting(
        (), "What else a response depends on: `client` (its address), `tls` (its certificate)."
    )
    audience: Audience | None = _setting(
        None,
        "Function of the ASGI scope; watchers for which it returns the same string may share a rendering.",
    )

    # What has changed (design 2.2)
    ancestors: bool = _setting(
        True, "An unsafe request also changes the ancestors of its target, but not `/`."
    )
    changes: Changes | None = _setting(
        None, "Function (scope, status, response headers) that returns the changed paths; replaces the rule."
    )
    announce_token: str | None = _setting(
        None, "Bearer token of `POST /-/changed`; without it there is no such URI.", secret=True
    )
    announce_limit: int = _setting(100, "Most targets in one `POST /-/changed`.")

    # What can be seen from outside
    metrics: bool = _setting(
        False, "Whether `/-/metrics` exists, for Prometheus; whoever may reach it may read it."
    )
    metrics_token: str | None = _setting(
        None, "Bearer token of `/-/metrics`, which exists with it too.", secret=True
    )

    # When to look (design 1.3, 2.2, 2.4), in seconds
    settle: float = _setting(1.0, "Seconds after the last announcement at which one more look is made.")
    recheck: float = _setting(
        60.0, "Seconds within which every watched rendering is looked at again, jittered."
    )
    min_interval: float = _setting(0.05, "Seconds between two looks of one rendering, at least.")
    revalidate_floor: float = _setting(
        5.0, "Seconds; a shorter `max-age` or `s-maxage` is taken as this long."
    )
    fresh_max: float = _setting(
        60.0, "Seconds after a look for which `live.fresh` holds, where nothing was announced."
    )
    final_after: float = _setting(
        31_536_000.0, "Seconds; an `immutable` response with at least this lifetime is final."
    )
    look_timeout: float = _setting(10.0, "Seconds after which a look is cancelled.")
    look_concurrency: int = _setting(8, "Looks at once in one process.")
    look_rate: float = _setting(100.0, "Looks per second and principal.")
    max_representation: int = _setting(1_048_576, "Bytes; a larger representation is announced by `fetch`.")
    max_variants: int = _setting(100, "Renderings of one path per principal.")

    # What may be watched
    targets: Callable[[str], bool] | None = _setting(
        None, "Function of a path: may it be watched? Default: all but those of `live.never`."
    )
    watchable: Collection[str] = _setting(
        WATCHABLE, "Media types (globs) that get an ETag and a `monitor` link."
    )
    absent: Literal["end", "wait"] = _setting("end", "`wait`: a 404 is a state, not the end of the watch.")

    # Connections
    public_url: str | None = _setting(
        None, "Origin under which browsers know the app, where it differs from the Host."
    )
    allow_origins: Collection[str] = _setting(
        (), "Origins that may open sockets and read live answers with credentials."
    )
    socket_headers: Collection[str] = _setting((), "More fields that a frame's `headers` may hold.")
    requests: bool = _setting(
        False, "Requests over the socket. The proxy's rules by path do not apply to them."
    )
    max_message: int = _setting(65_536, "Bytes of one message from a client.")
    max_fragments: int = _setting(
        1024, "Frames of one message from a client, on the fast path; also on the app's own sockets."
    )
    max_watches: int = _setting(200, "Watches of one connection.")
    max_requests: int = _setting(16, "Requests in flight on one socket.")
    max_errors: int = _setting(20, "Frames not understood, after which the socket is closed with 1008.")
    message_rate: float = _setting(
        100.0, "Messages per second from one socket, over time; a burst may be longer."
    )
    max_connections: int = _setting(
        10_000, "Live connections (sockets, streams, long polls) per client address and process."
    )
    linger: float = _setting(30.0, "Seconds that a socket without a watch stays open.")
    hello: float = _setting(10.0, "Seconds within which a new socket must send its first watch.")
    socket_lifetime: float = _setting(3600.0, "Seconds that a socket lives at most, jittered.")
    heartbeat: float = _setting(
        15.0, "Seconds between comments on an idle event stream and empty lines on NDJSON."
    )
    first_byte: float = _setting(
        10.0,
        "Seconds from a connection to the first byte of its first request, on the fast path. 0: no limit.",
    )
    headers_time: float = _setting(
        10.0, "Seconds within which a request's header fields must be whole, on the fast path. 0: no limit."
    )
    body_idle: float = _setting(
        30.0,
        "Seconds that the app waits for the next byte of a request's body, on the fast path. 0: no limit.",
    )
    max_header_bytes: int = _setting(
        65_536, "Bytes of a request's line, header fields and trailers, on the fast path. 0: no limit."
    )
    max_headers: int = _setting(
        100, "Header fields and trailers of a request, on the fast path. 0: no limit."
    )
    stall: float = _setting(60.0, "Seconds after which a client that takes nothing is disconnected.")
    wait: float = _setting(30.0, "Seconds that a long poll waits where it names no time.")
    max_wait: float = _setting(120.0, "Seconds that a long poll waits at most.")
    drain: float = _setting(
        5.0, "Seconds over which clients are sent away when the server drains; 200 per second go in any case."
    )
    drain_delay: float = _setting(
        0.0, "Seconds after SIGTERM in which only `/-/health` says 503, so that a balancer sends nobody more."
    )
    retry: float = _setting(1.5, "Seconds after which clients reconnect when the server drains, jittered.")

    # Streams (design 3)
    max_append: int = _setting(8 * 1024**2, "Bytes of the body of one append to a stream.")
    max_append_items: int = _setting(10_000, "Messages in one append to a stream of JSON.")
    max_append_depth: int = _setting(64, "Levels of arrays and objects in one message of a stream of JSON.")
    stream_page: int = _setting(1_000, "Items in one answer to a reader of a stream; of large ones fewer.")
    stream_producers: int = _setting(
        1_000, "Producers that each stream remembers; who was silent for longest is forgotten first."
    )

    # Operations (design 4.4)
    max_upload: int = _setting(10 * 1024**3, "Bytes of one submission's body.")
    report_interval: float = _setting(0.1, "Seconds between two stored reports of one operation.")
    retention: float = _setting(86_400.0, "Seconds that a finished operation is kept.")
    lease: float = _setting(
        15.0, "Seconds that a runner may be silent before its operation counts as interrupted."
    )
    max_queued: int = _setting(
        1_000, "Operations that wait in one process; one more is answered 503 with Retry-After."
    )
    engine: Any = _setting(
        "threads",
        "Where functions run: `threads`, `processes`, `loky`, an `Executor` or a function that makes one, "
        "a Celery app, a Dask client.",
    )
    workers: int = _setting(0, "Workers of each engine, threads or processes; 0: one per CPU, at least 2.")
    coroutines: int = _setting(100, "Operations of `async def` that run at once, all on one event loop.")
    stop_grace: float = _setting(
        5.0,
        "Seconds that a function has to end after cancel or timeout; then its process is killed, "
        "and a thread is given up.",
    )
    drain_operations: float = _setting(5.0, "Seconds that running operations get at shutdown.")
    owner_running: int = _setting(
        0, "Operations of one owner that run at once in one process; 0: as many as there are workers."
    )
    owner_queued: int = _setting(
        100, "Operations of one owner that wait in one process; one more is answered 429. 0: no limit."
    )
    owner_bytes: int = _setting(
        0,
        "Bytes that the uploads, parts and results of one owner may fill; more is answered 429. 0: no limit.",
    )
    parts: str | None = _setting(
        None, "Folder or `fsspec` URL for finished parts and long results. Default: the state folder."
    )
    webhook_secret: str | None = _setting(
        None,
        "Secret that signs webhooks (Standard Webhooks, `whsec_` and base64); `webhook=` needs it.",
        secret=True,
    )
    webhook_networks: Collection[str] = _setting(
        (), "Networks (CIDR) that webhooks may reach although they are not public."
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type in {"float", "int"} and (
                not isinstance(value, int | float) or isinstance(value, bool) or value < 0
            ):
                raise SettingError(f"{f.name}= takes a number that is not negative, not {value!r}.")
            if str(f.type).startswith("Collection") and isinstance(value, str):
                raise SettingError(f"{f.name}= takes a list of strings: write [{value!r}].")
        if not isinstance(self.metrics, bool):
            raise SettingError(f"metrics= takes True or False, not {self.metrics!r}.")
        if self.metrics_token is not None and not self.metrics_token:
            raise SettingError("metrics_token= is empty: leave it away, or give a token.")
        if not self.prefix.startswith("/") or self.prefix.endswith("/"):
            raise SettingError(
                f"prefix= is a path that starts with / and does not end with it, not {self.prefix!r}."
            )
        if "*" in self.allow_origins:
            raise SettingError(
                "allow_origins= names each origin; '*' would let any page read with a user's cookies."
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from keyword arguments; an unknown name is refused with the nearest known one.

        Raises ``SettingError``. ``RESTIVE_BACKEND`` is used where no ``backend`` is given.
        """
        known = {f.name for f in fields(cls)}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else " docs/settings.md lists them all."
                raise SettingError(f"There is no setting {name!r}.{hint}")
        values = dict(given)
        if "backend" not in values and os.environ.get("RESTIVE_BACKEND"):
            values["backend"] = os.environ["RESTIVE_BACKEND"]
        return cls(**values)


def table() -> list[tuple[str, str, str]]:
    """(name, default, line) of every setting, for the documentation and its test."""
    rows = []
    for f in fields(Settings):
        default = "" if f.default is MISSING else repr(f.default)
        rows.append((f.name, default, f.metadata["line"]))
    return rows
