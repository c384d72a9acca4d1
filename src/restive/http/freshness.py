"""How long a response is fresh, whether it is final, and when to ask again.

Explicit lifetimes only: heuristic freshness (RFC 9111, 4.2.2) never counts. No clock in here;
``now`` is an argument where a date has to be compared with it.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from .caching import CacheControl, cache_control, delta_seconds
from .fields import Fields, get, get_all

__all__ = ["freshness_lifetime", "http_date", "is_final", "lifetime", "retry_after"]


def lifetime(fields: Fields) -> float | None:
    """Seconds for which the response may be reused from now on without asking, always > 0.

    ``s-maxage``, else ``max-age``, else ``Expires`` less ``Date``, and less ``Age``. None where the
    response says none of them, ``no-cache`` or ``no-store``, or where nothing is left of it.
    """
    said = cache_control(fields)
    if said.has("no-cache") or said.has("no-store"):
        return None
    seconds = _explicit(said, fields)
    if not seconds:
        return None
    left = seconds - (delta_seconds(get(fields, b"age")) or 0.0)
    return left if left > 0 else None


def freshness_lifetime(fields: Fields) -> float | None:
    """Seconds for which the response is fresh in all (RFC 9111, 4.2.1); None where it says nothing of it."""
    return _explicit(cache_control(fields), fields)


def is_final(fields: Fields, final_after: float) -> bool:
    """Whether the response is ``immutable`` (RFC 8246) and fresh for at least ``final_after`` seconds."""
    if not cache_control(fields).has("immutable"):
        return False
    left = lifetime(fields)
    return left is not None and left >= final_after


def retry_after(fields: Fields, now: float) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, from ``now`` (Unix time); None where it says nothing."""
    values = get_all(fields, b"retry-after")
    if not values:
        return None
    seconds = delta_seconds(values[0].strip())
    if seconds is not None:
        return seconds
    date = http_date(values[0])
    return None if date is None else max(0.0, date - now)


def http_date(value: str | None) -> float | None:
    """The Unix time of an HTTP-date (RFC 9110, 5.6.7) in any of its three forms; None where it is none."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value.strip())
        return (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _explicit(said: CacheControl, fields: Fields) -> float | None:
    for name in ("s-maxage", "max-age"):
        seconds = said.seconds(name)
        if seconds is not None:
            return seconds
    expires, date = http_date(get(fields, b"expires")), http_date(get(fields, b"date"))
    return None if expires is None or date is None else expires - date
