"""Which origins may open a socket or send unsafe requests with a browser's cookies (design 4.3)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from ..errors import Problem
from .fields import Fields, get, get_all

__all__ = ["SAFE", "allowed", "check_unsafe", "same_origin"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Of the methods of Restive's own URIs."""

DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def _authority(scheme: str, authority: str) -> str:
    authority = authority.lower()
    port = DEFAULT_PORTS.get(scheme)
    return authority.removesuffix(f":{port}") if port else authority


def _parts(origin: str) -> tuple[str, str]:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "", ""
    return parts.scheme.lower(), _authority(parts.scheme.lower(), parts.netloc)


def same_origin(origin: str, authority: str) -> bool:
    """Whether ``origin`` names the host that the request was sent to.

    Only the authority is compared: behind a proxy that ends TLS the scheme is not ours to know.
    """
    scheme, found = _parts(origin)
    return scheme in {"http", "https"} and bool(found) and found == _authority(scheme, authority)


def allowed(
    fields: Fields, authority: str, *, public_url: str | None, allow_origins: Collection[str]
) -> bool:
    """Whether the request with these fields may use the user's cookies.

    Same-origin by Sec-Fetch-Site or by Origin, or an origin that is listed; ``null`` never. A request
    with neither Origin nor cookie is no browser's.
    """
    origins = get_all(fields, b"origin")
    if len(origins) > 1 or "null" in origins:
        return False
    if get(fields, b"sec-fetch-site") == "same-origin":
        return True
    if not origins:
        return get(fields, b"cookie") is None
    origin = origins[0]
    known = {_parts(each) for each in (*allow_origins, *([public_url] if public_url else []))}
    return same_origin(origin, authority) or _parts(origin) in known - {("", "")}


def check_unsafe(
    method: str, fields: Fields, *, public_url: str | None, allow_origins: Collection[str]
) -> None:
    """Refuse a page of another origin that changes something with the user's cookies (S24).

    Raises ``Problem`` (403). A page could not forge Sec-Fetch-Site; ``none`` is the user's own doing.
    """
    if method in SAFE or get(fields, b"cookie") is None or get(fields, b"sec-fetch-site") == "none":
        return
    authority = get(fields, b"host") or ""
    if not allowed(fields, authority, public_url=public_url, allow_origins=allow_origins):
        detail = (
            "With a cookie this takes Sec-Fetch-Site: same-origin, or an Origin that is the app's own "
            "or in allow_origins=."
        )
        raise Problem(403, "This origin is not allowed", detail)
