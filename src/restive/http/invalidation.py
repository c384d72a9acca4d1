"""What a request has changed (design 2.2), and the announcement that says so.

RFC 9111, 4.4 (the target, same-origin Location and Content-Location), the target's ancestors, and
RFC 9875 (cache groups). One change too many costs a look; one too few leaves a watcher behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from ..errors import Problem
from .fields import Fields, get
from .origin import same_origin
from .targets import MAX_TARGET, normalize
from .targets import ancestors as paths_above

__all__ = ["Change", "cache_groups", "changed_by", "decode", "encode", "invalidated_groups", "is_safe"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH"})
_ORIGIN = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*+):)?+//([^/?#]*+)")

# A member of a structured field's list of strings; nobody reads its parameters (RFC 9651, 3.1, 3.3.3).
_STRING = r'"((?:[ !#-\[\]-~]|\\["\\])*+)"'
_VALUE = r'(?:"(?:[ !#-\[\]-~]|\\["\\])*+"|[^\s",;]++)'
_PARAMETERS = rf"(?: *+; *+[a-z*][a-z0-9_\-.*]*+(?:={_VALUE})?+)*+"
_MEMBER = re.compile(rf"{_STRING}{_PARAMETERS}[ \t]*+(,?)[ \t]*+")

_ESCAPED = re.compile(r"\\(.)")

_MAX_PAYLOAD = 4 * 1024 * 1024
_decoder = msgspec.json.Decoder(list[tuple[str, bool, str]])


@dataclass(frozen=True, order=True, slots=True)
class Change:
    """Something that may have changed: a path whatever the query, and all ``below`` it; or a cache group."""

    path: str = ""
    below: bool = False
    group: str = ""


def is_safe(method: str) -> bool:
    """Whether the method is defined as safe (RFC 9110, 9.2.1); an unknown one is not."""
    return method in _SAFE


def changed_by(
    method: str,
    target: str,
    authority: str,
    scheme: str,
    status: int | None,
    response_fields: Fields,
    *,
    ancestors: bool,
    root: str = "",
) -> tuple[Change, ...]:
    """What a request to ``target`` (the client's own, normal form) has changed.

    ``status`` is None where it was aborted or raised before it answered; ``ancestors`` adds the paths
    above the target, with and without a slash at the end, but neither ``/`` nor ``root``.
    """
    if is_safe(method) or (status is not None and not (200 <= status < 400 or status >= 500)):
        return ()
    path = target.partition("?")[0]
    found = [Change(path)]
    if method == "DELETE":
        found = [Change(path.rstrip("/") or "/", below=True)]
    if ancestors:
        for above in paths_above(path, root):
            found += (Change(above), Change(f"{above}/"))
    for name in (b"location", b"content-location"):
        named = _own_path(get(response_fields, name), path, authority, scheme)
        if named is not None:
            found.append(Change(named))
    found += (Change(group=group) for group in sorted(invalidated_groups(response_fields)))
    return tuple(dict.fromkeys(found))


def cache_groups(fields: Fields) -> frozenset[str]:
    """The groups that the response joins (RFC 9875, 2); none where the field is malformed."""
    return _strings(get(fields, b"cache-groups"))


def invalidated_groups(fields: Fields) -> frozenset[str]:
    """The groups that the response to an unsafe request invalidates (RFC 9875, 3); none where malformed."""
    return _strings(get(fields, b"cache-group-invalidation"))


def encode(changes: Iterable[Change]) -> bytes:
    """The announcement of ``changes``; ``decode`` reads it."""
    return msgspec.json.encode([(change.path, change.below, change.group) for change in changes])


def decode(payload: bytes) -> tuple[Change, ...]:
    """The changes of an announcement. Raises ``ValueError`` where it is none, or too long."""
    if len(payload) > _MAX_PAYLOAD:
        raise ValueError("The announcement is too long.")
    try:
        found = tuple(Change(*entry) for entry in _decoder.decode(payload))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("The announcement is no list of changes.") from error
    if not all(map(_is_sound, found)):
        raise ValueError("The announcement holds a change of nothing.")
    return found


def _is_sound(change: Change) -> bool:
    if not change.path:
        return bool(change.group) and not change.below
    fits = len(change.path) <= MAX_TARGET and change.path[0] == "/" and "?" not in change.path
    return fits and not change.group


def _own_path(reference: str | None, path: str, authority: str, scheme: str) -> str | None:
    """The path of a URI reference where it is of the same origin; relative to ``path``."""
    if not reference:
        return None
    reference = reference.partition("#")[0]
    origin = _ORIGIN.match(reference)
    if origin is not None:
        if not same_origin(f"{origin[1] or scheme}://{origin[2]}", authority):
            return None
        reference = reference[origin.end() :]
        reference = reference if reference.startswith("/") else f"/{reference}"
    try:
        return normalize(reference, path).partition("?")[0]
    except Problem:
        return None


def _strings(value: str | None) -> frozenset[str]:
    """The strings of a structured list but ""; none where any is something else (RFC 9651, 4.2)."""
    found: set[str] = set()
    at, value = 0, (value or "").strip(" ")
    while member := _MEMBER.match(value, at):
        found.add(_ESCAPED.sub(r"\1", member[1]))
        at = member.end()
        if not member[2]:
            return frozenset(found - {""} if at == len(value) else ())
    return frozenset()
