"""May this request be answered from that stored response, now (RFC 9111)?

Stricter than a shared cache has to be: nothing stale is ever used (so ``max-stale`` widens nothing), no
freshness is guessed, and a field of which the app may not have said that the response depends on it
must not have been in the stored request where it is not in this one. No clock in here.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from .caching import cache_control, delta_seconds
from .fields import Fields, get, get_all, split_list, without
from .freshness import freshness_lifetime, http_date
from .key import RequestKey
from .sharing import per_watcher, selects, shaping, vary
from .validators import none_match, valid

__all__ = ["Asked", "Reuse", "Stored", "asked", "matches", "reuse", "store"]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade proxy-authenticate "
    b"proxy-authentication-info proxy-authorization".split()
)
"""RFC 9111, 3.1, with what RFC 9110, 7.6.1 adds."""

_REPLACED = frozenset({b"age", b"content-length"})

# A part of the representation, or a state that only the origin can compare (RFC 9111, 4.3.2); a wait.
_FORWARDED = frozenset(b"range if-range if-match if-unmodified-since prefer transfer-encoding".split())
_FORBIDDING = ("no-cache", "no-store", "private")

# Taken out of a key where they say nothing, not because no response could depend on them.
_NORMALISED = frozenset({b"host", b"accept", b"cookie", b"origin"})


class Reuse(Enum):
    """What a stored response can do for a request."""

    WHOLE = "answer it"
    UNMODIFIED = "answer it with 304"
    STALE = "nothing before it was validated"
    UNFIT = "nothing, by what the request asks of caches"


class Asked(NamedTuple):
    """What a GET or HEAD asks of caches."""

    max_age: float | None = None
    min_fresh: float = 0.0
    only_if_cached: bool = False
    none_match: str | None = None
    modified_since: float | None = None


class Stored:
    """A whole 200 that later requests may be answered with."""

    __slots__ = ("age", "at", "body", "etag", "fields", "lifetime", "made", "modified", "request", "vary")

    def __init__(
        self,
        request: RequestKey,
        fields: Fields,
        body: bytes,
        etag: str,
        *,
        lifetime: float,
        age: float,
        at: float,
    ) -> None:
        self.request = request
        """The request that was answered with it."""
        self.fields = fields
        self.body = body
        self.etag = etag
        self.vary = vary(fields) or frozenset()
        self.modified = http_date(get(fields, b"last-modified"))
        self.lifetime = lifetime
        self.age = age
        self.at = at
        """When it had ``age``, seconds of the clock that ``reuse`` is asked with."""
        self.made: dict[tuple[Reuse, bytes, int], Any] = {}
        """The answers made of it: for whoever makes them, for as long as they are the same."""

    def age_at(self, now: float) -> float:
        """Its current age (RFC 9111, 4.2.3)."""
        return self.age + now - self.at


def asked(fields: Fields) -> Asked | None:
    """What a GET or HEAD with ``fields`` asks of caches; None where only the app may answer it."""
    names = {name for name, _ in fields}
    if not names.isdisjoint(_FORWARDED) or (get(fields, b"content-length") or "0") != "0":
        return None
    said = cache_control(fields)
    if said.has("no-cache") or said.has("no-store"):
        return None
    pragma = "" if b"cache-control" in names else get(fields, b"pragma") or ""
    if "no-cache" in pragma.lower():  # RFC 9111, 5.4
        return None
    tags = get(fields, b"if-none-match")
    dates = get_all(fields, b"if-modified-since") if tags is None else []
    return Asked(
        said.seconds("max-age"),
        said.most_seconds("min-fresh"),
        said.has("only-if-cached"),
        tags,
        http_date(dates[0]) if len(dates) == 1 else None,
    )


def store(
    request: RequestKey,
    fields: Fields,
    body: bytes,
    etag: str,
    *,
    shared: bool,
    declared: float | None,
    requested: float,
    received: float,
    unix: float,
) -> Stored | None:
    """What a whole 200 to ``request`` is good for; None where no other request may have it.

    ``shared``: a shared cache could reuse it without asking (``sharing.shareable``). Else only for
    the same request, without credentials, where its route is declared fresh for ``declared`` seconds,
    and only as far as the response itself says nothing else. ``requested`` and ``received`` are of
    one monotonic clock, ``unix`` the Unix time at ``received``.
    """
    said = cache_control(fields)
    if per_watcher(fields) or any(said.has(name) for name in _FORBIDDING):
        return None
    if not shared and (declared is None or request.principal):
        return None
    given = get(fields, b"etag")
    # What has a coding has other tags on its way through the app.
    if (given is not None and not valid(given)) or get(fields, b"content-encoding") is not None:
        return None
    lifetime = freshness_lifetime(fields)
    if lifetime is None:
        lifetime = None if get(fields, b"expires") is not None else declared
    if not lifetime or lifetime < 0:
        return None
    age = _initial_age(fields, received - requested, unix)
    kept = _storable(fields)
    return Stored(request, kept, body, given or etag, lifetime=lifetime, age=age, at=received)


def matches(stored: Stored, request: RequestKey, names: frozenset[bytes]) -> bool:
    """Whether ``stored`` is of what ``request`` asks for (RFC 9111, 4.1). They are of the same URI.

    ``names`` are the fields that the client sent; those that are in no key were not in the stored request.
    """
    if names and not _same_dropped(stored.vary, request, names):
        return False
    return request == stored.request or (
        selects(stored.vary, stored.request, request) and _unshaped(stored.request, request)
    )


def reuse(stored: Stored, asked: Asked, now: float) -> Reuse:
    """What ``stored``, which matches the request, can do for it at ``now``."""
    age = stored.age_at(now)
    left = stored.lifetime - age
    if left <= 0:
        return Reuse.STALE
    if left < asked.min_fresh or (asked.max_age is not None and age > asked.max_age):
        return Reuse.UNFIT
    return Reuse.UNMODIFIED if _unmodified(stored, asked) else Reuse.WHOLE


def _unmodified(stored: Stored, asked: Asked) -> bool:
    """RFC 9110, 13.2.2, and RFC 9111, 4.3.2 but for its guesses from Date, which is too coarse."""
    if asked.none_match is not None:
        return none_match(asked.none_match, stored.etag)
    if asked.modified_since is None or stored.modified is None:
        return False
    return stored.modified <= asked.modified_since


def _same_dropped(names: frozenset[bytes], request: RequestKey, sent: frozenset[bytes]) -> bool:
    """Whether no field that the response varies by was in this request and left out of the stored one."""
    dropped = (names & sent) - _NORMALISED
    return not dropped or dropped <= {name for name, _ in request.fields}


def _unshaped(stored: RequestKey, request: RequestKey) -> bool:
    """Whether the stored request said nothing odd that this one does not say.

    Else whoever sends a field that the app reads without naming it in Vary (``X-Forwarded-Host``)
    would shape what others get. Origin goes both ways: CORS middleware often names it only when asked.
    """
    if not all(line in request.fields for line in shaping(stored)):
        return False
    return get(request.fields, b"origin") == get(stored.fields, b"origin")


def _initial_age(fields: Fields, delay: float, unix: float) -> float:
    """The corrected initial age (RFC 9111, 4.2.3); an Age that is none is ignored (5.1)."""
    ages = get_all(fields, b"age")
    age = (delta_seconds(ages[0].strip()) if ages else None) or 0.0
    date = http_date(get(fields, b"date"))
    return max(age + max(0.0, delay), 0.0 if date is None else unix - date)


def _storable(fields: Fields) -> Fields:
    named = {name.lower().encode("latin-1") for name in split_list(get(fields, b"connection") or "")}
    return without(fields, _HOP_BY_HOP | _REPLACED | named)
