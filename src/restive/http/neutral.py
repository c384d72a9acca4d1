"""Which request fields go: those on which no representation depends, and those of one hop or one request.

What is not in the key is not in the request (design 2.1), so a field that wrongly stays costs a
rendering, and one that wrongly goes could only make a look see less. Fields nobody knows stay: they
count as credentials. What ``Connection`` names stays too, unless it is listed here: no ASGI server
takes it away from the app, and a client must not be able to strip an identity that its proxy added.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase

from ..errors import SettingError
from .fields import OWS, Fields, is_field_name, split_list
from .live import LIVE_TYPES
from .once import once

__all__ = ["DROPPED", "HARMLESS", "NEUTRAL", "Neutral", "is_harmless", "shapes"]

NEUTRAL = (
    # the client's software and its connection
    *("user-agent", "accept-encoding", "accept-charset", "sec-*", "dnt", "save-data", "priority"),
    *("upgrade-insecure-requests", "purpose", "x-purpose", "x-moz", "alt-used", "early-data", "referer"),
    # the way here
    *("via", "forwarded", "x-forwarded-for", "x-original-forwarded-for", "x-real-ip", "x-client-ip"),
    *("x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "cf-connecting-ipv6", "fly-client-ip"),
    *("fastly-client-ip", "x-azure-clientip", "x-envoy-external-address", "cdn-loop", "max-forwards"),
    # ids of one request and its trace
    *("traceparent", "tracestate", "baggage", "x-request-id", "x-correlation-id", "request-id", "x-trace-id"),
    *("b3", "x-b3-*", "x-amzn-trace-id", "x-amz-cf-id", "x-cloud-trace-context", "x-azure-ref", "cf-ray"),
    *("grpc-trace-bin", "uber-trace-id", "x-datadog-*", "newrelic", "sentry-trace", "x-vercel-id"),
    *("elastic-apm-traceparent", "fly-request-id", "x-request-start", "x-queue-start"),
    # what is asked of caches
    *("cache-control", "pragma"),
)
"""Request fields on which no representation depends (``*`` at the end: a prefix); ``neutral=`` adds some."""

DROPPED = (
    *("host", "connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "te", "trailer"),
    *("transfer-encoding", "expect", "range", "if-*", "prefer", "last-event-id", "sec-websocket-*"),
    "content-*",
)
"""Request fields that never belong to a look: of one hop, of the body, of a condition."""

# No credentials, though they stay in key and request, since a representation may depend on them.
_KNOWN = (
    *("accept", "accept-*", "a-im", "origin", "date", "idempotency-key", "access-control-request-*"),
    *("x-requested-with", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"),
    *("x-forwarded-scheme", "x-forwarded-server", "x-forwarded-ssl"),
)

# On which no response depends that says `public` or `s-maxage`, but for what it names in Vary: who asks,
# as a client or an authenticating proxy says it, and what is negotiated. Shared caches rely on it too.
_UNKEYED = (
    *("authorization", "cookie", "x-api-key", "x-auth-token", "x-access-token"),
    *("x-csrf-token", "x-csrftoken", "x-xsrf-token", "accept", "accept-*"),
    *("remote-*", "x-remote-*", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups"),
    *("x-forwarded-preferred-username", "x-forwarded-access-token", "x-forwarded-client-cert"),
    *("x-auth-request-*", "x-authentik-*", "x-webauth-*", "x-pomerium-*", "tailscale-user-*", "cf-access-*"),
    *("x-amzn-oidc-*", "x-goog-authenticated-user-*", "x-goog-iap-jwt-assertion", "x-ms-client-principal*"),
)

_PORTS = {"http": ":80", "https": ":443"}


def _matcher(patterns: Collection[str]) -> Callable[[bytes], bool]:
    """Whether a lower-case name is one of ``patterns``: a set and one ``startswith``, nothing to grow."""
    names = frozenset(pattern.encode("ascii") for pattern in patterns if not pattern.endswith("*"))
    prefixes = tuple({pattern[:-1].encode("ascii") for pattern in patterns if pattern.endswith("*")})
    return lambda name: name in names or name.startswith(prefixes)


is_harmless = _matcher((*NEUTRAL, *DROPPED, *_KNOWN))
"""Whether the field (lower-case name) says nothing of who asks; one that nobody knows may."""

HARMLESS = frozenset(
    b"host connection accept accept-encoding accept-language user-agent referer origin dnt priority "
    b"sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site "
    b"sec-fetch-user sec-gpc upgrade-insecure-requests cache-control pragma if-none-match "
    b"if-modified-since x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip x-request-id "
    b"traceparent tracestate via".split()
)
"""The usual ones of those, which are told at once."""

_is_unkeyed = _matcher(_UNKEYED)


def shapes(name: bytes) -> bool:
    """Whether the field (lower-case name) could shape a shared response that names it in no ``Vary``.

    ``X-Forwarded-Host`` does where an app builds links with it, and so may any field that nobody knows.
    """
    return not _is_unkeyed(name)


class Neutral:
    """The rule of one app: which request fields and cookies are in no key and no look.

    ``neutral`` are field names beyond ``NEUTRAL`` (``x-foo-*`` is a prefix), ``ignore_cookies`` globs
    of cookie names. Raises ``SettingError`` for what is neither.
    """

    __slots__ = ("_cookies", "_goes")

    def __init__(self, neutral: Collection[str] = (), ignore_cookies: Collection[str] = ()) -> None:
        for name in neutral:
            if not is_field_name(name) or "*" in name[:-1] or name == "*":
                raise SettingError(f"neutral= takes field names, with * at the end at most, not {name!r}.")
        if "" in ignore_cookies:
            raise SettingError("ignore_cookies= takes names of cookies; one of them is empty.")
        self._goes = _matcher((*NEUTRAL, *DROPPED, *(name.lower() for name in neutral)))
        self._cookies = tuple(ignore_cookies)

    def goes(self, name: bytes) -> bool:
        """Whether the field ``name`` (lower-case) is in no key and no look."""
        return self._goes(name)

    def select(self, fields: Fields, scheme: str, authority: str) -> Fields:
        """What a look at ``scheme://authority`` has of a request's ``fields``, sorted by name."""
        goes = self._goes
        kept = []
        cookies = []
        for name, value in fields:
            if goes(name):
                continue
            if name == b"cookie":
                cookies.append(value)
            elif name == b"origin" and _is_own(value, scheme, authority):
                continue  # a GET of the same origin has no Origin, its WebSocket handshake has
            else:
                kept.append((once(name), value))
        kept = _plain_accept(kept)
        if cookies and (jar := self._jar(cookies)):
            kept.append((b"cookie", jar))
        kept.sort(key=_name)
        return tuple(kept)

    def _jar(self, lines: list[bytes]) -> bytes:
        """One Cookie of all lines (RFC 9113, 8.2.3) without the ignored ones."""
        value = b"; ".join(lines)
        if not self._cookies:
            return value
        pairs = [pair.strip() for pair in value.split(b";")]
        return b"; ".join(pair for pair in pairs if pair and not self._is_ignored(pair))

    def _is_ignored(self, pair: bytes) -> bool:
        name = pair.partition(b"=")[0].strip().decode("latin-1")
        return any(fnmatchcase(name, pattern) for pattern in self._cookies)


def _name(field: tuple[bytes, bytes]) -> bytes:
    return field[0]


def _is_own(origin: bytes, scheme: str, authority: str) -> bool:
    port = _PORTS.get(scheme, "")
    given = origin.decode("latin-1").lower().removesuffix(port)
    return given == f"{scheme}://{authority.lower().removesuffix(port)}"


def _plain_accept(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """``fields`` with an Accept that asks for a representation, not a watch; ``*/*`` asks for nothing."""
    lines = [value for name, value in fields if name == b"accept"]
    if not lines:
        return fields
    rest = [field for field in fields if field[0] != b"accept"]
    value = b", ".join(lines).decode("latin-1")
    plain = _without_live(value).strip(OWS)
    if plain not in {"", "*/*"}:
        rest.append((b"accept", plain.encode("latin-1")))
    return rest


def _without_live(accept: str) -> str:
    lower = accept.lower()
    if not any(name in lower for name in LIVE_TYPES):
        return accept
    kept = (e for e in split_list(accept) if e.partition(";")[0].strip(OWS).lower() not in LIVE_TYPES)
    return ", ".join(kept)
