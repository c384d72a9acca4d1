"""Who shares a rendering (design 2.1): what a shared cache could reuse without asking, and nothing more.

Where a response can be read in two ways the answer is the one that shares less.
"""

from __future__ import annotations

from collections.abc import Collection

from .caching import cache_control
from .fields import OWS, TOKEN, Fields, get, split_list
from .freshness import lifetime
from .key import RequestKey
from .neutral import HARMLESS, is_harmless, shapes

__all__ = [
    "has_credentials",
    "per_watcher",
    "private_by_default",
    "selects",
    "shaping",
    "shareable",
    "shares",
    "vary",
]

_STATUSES = frozenset({200, 203, 204, 404, 410})
_SAYS_CACHING = frozenset({b"cache-control", b"expires", b"cdn-cache-control", b"surrogate-control"})


def shareable(status: int, fields: Fields) -> bool:
    """Whether a shared cache could reuse the response for another requester without asking.

    It says ``s-maxage`` > 0, or ``public`` and an explicit lifetime > 0; and none of ``no-cache``,
    ``private``, ``no-store`` (qualified too), ``Set-Cookie`` and ``Vary: *``.
    """
    if status not in _STATUSES:
        return False
    said = cache_control(fields)
    if said.has("private") or said.has("no-store") or said.has("no-cache"):
        return False
    if not (said.has("public") or said.has("s-maxage")):
        return False
    return not per_watcher(fields) and lifetime(fields) is not None


def per_watcher(fields: Fields) -> bool:
    """Whether not even an equal request shares the response: it sets a cookie, or varies by ``*``."""
    return any(name == b"set-cookie" for name, _ in fields) or vary(fields) is None


def vary(fields: Fields) -> frozenset[bytes] | None:
    """The request fields (lower-case) that selected the response; None for ``*`` or what is no name."""
    value = get(fields, b"vary")
    if value is None:
        return frozenset()
    names = split_list(value)
    if any(name == "*" or not TOKEN.fullmatch(name) for name in names):
        return None
    return frozenset(name.lower().encode("latin-1") for name in names)


def selects(names: frozenset[bytes], a: RequestKey, b: RequestKey) -> bool:
    """Whether a response to ``a`` that varies by ``names`` is the one for ``b`` too (RFC 9111, 4.1).

    The two are of one URI, and of one client and certificate where the key has them.
    """
    if _resource(a) != _resource(b):
        return False
    return all(_line(a.fields, name) == _line(b.fields, name) for name in names)


def shares(names: frozenset[bytes], a: RequestKey, b: RequestKey) -> bool:
    """Whether one shareable response that varies by ``names`` is for the watchers of ``a`` and of ``b``.

    Stricter than a shared cache, since either request may be the one of the next look: whoever sends a
    field that the app reads without naming it in Vary would shape what the others get.
    """
    return selects(names, a, b) and shaping(a) == shaping(b)


def shaping(key: RequestKey) -> Fields:
    """The fields of a request that could shape a response without any cache knowing of it."""
    return tuple(line for line in key.fields if shapes(line[0]))


def has_credentials(names: Collection[bytes]) -> bool:
    """Whether a request with fields of these (lower-case) ``names`` may say who asks: one is not harmless."""
    if b"cookie" in names or b"authorization" in names:
        return True
    return not (HARMLESS.issuperset(names) or all(map(is_harmless, names)))


def private_by_default(request_names: Collection[bytes], response_names: Collection[bytes]) -> bool:
    """Whether a response of a watchable type leaves with ``Cache-Control: private, no-cache`` added.

    It says nothing of caching, and answers a request with credentials or sets a cookie.
    The names of their fields are lower-case.
    """
    if not _SAYS_CACHING.isdisjoint(response_names):
        return False
    return b"set-cookie" in response_names or has_credentials(request_names)


def _resource(key: RequestKey) -> tuple[object, ...]:
    return key.target, key.place


def _line(fields: Fields, name: bytes) -> tuple[str, ...] | None:
    """The field's lines joined and the blanks round each element trimmed; None where it is not there."""
    value = get(fields, name)
    return None if value is None else tuple(element.strip(OWS) for element in split_list(value))
