"""Header and trailer fields (RFC 9110, section 5) as ASGI hands them over.

Names are lower-case bytes, values are latin-1. Every matcher here is linear in its input, and a
value that breaks the syntax is cut up as far as it can be, never refused: who asks decides.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

__all__ = [
    "Field",
    "Fields",
    "get",
    "get_all",
    "is_field_name",
    "is_field_value",
    "lowered",
    "media_matches",
    "media_type",
    "named",
    "split_list",
    "split_parameters",
    "unquote_string",
    "without",
]

Field = tuple[bytes, bytes]

Fields = tuple[Field, ...]
"""ASGI raw headers: (lower-case name, value) in the order in which they came."""

OWS = " \t"
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_QUOTED = r'"(?:[^"\\]++|\\.)*+"?+'
_ELEMENT = re.compile(rf'(?:[^",]++|{_QUOTED})++', re.DOTALL)
_PARAMETER = re.compile(rf'(?:[^";]++|{_QUOTED})++', re.DOTALL)
_MEDIA = re.compile(rf"{TOKEN.pattern}/{TOKEN.pattern}")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_lower: set[tuple[bytes, ...]] = set()
"""Names of fields that are known to be in lower case."""
_MAX_LOWER = 1000


def lowered(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The headers of an ASGI response message as fields; apps write names as they like."""
    return tuple([(bytes(name).lower(), bytes(value)) for name, value in headers])


def named(headers: Iterable[Field]) -> tuple[list[Field], dict[bytes, bytes]]:
    """The headers of an ASGI response message, and their values by name: of several lines the last.

    Names are in lower case, as an app's nearly always are, which is remembered; values are as they came.
    """
    given = list(headers)
    try:
        values = dict(given)
        if len(values) == len(given) and tuple(values) in _lower:
            return given, values
    except TypeError:  # they are bytearrays
        pass
    fields = list(lowered(given))
    values = dict(fields)
    if len(values) == len(given) and len(_lower) < _MAX_LOWER:
        _lower.add(tuple(values))
    return fields, values


def get(fields: Fields, name: bytes) -> str | None:
    """All lines of the field ``name`` (lower-case), joined by ``", "``; None where there is none."""
    lines = [value for field, value in fields if field == name]
    if not lines:
        return None
    return (lines[0] if len(lines) == 1 else b", ".join(lines)).decode("latin-1")


def get_all(fields: Fields, name: bytes) -> list[str]:
    """Each line of the field ``name`` (lower-case) by itself, in order."""
    return [value.decode("latin-1") for field, value in fields if field == name]


def without(fields: Fields, names: Collection[bytes]) -> Fields:
    """The fields but those of the lower-case ``names``."""
    return tuple(field for field in fields if field[0] not in names)


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated list (RFC 9110, 5.6.1), trimmed, the empty ones left out.

    A comma within a quoted string separates nothing; a string that never ends takes the rest.
    """
    parts = _ELEMENT.findall(value) if '"' in value else value.split(",")
    return [part for part in (raw.strip(OWS) for raw in parts) if part]


def split_parameters(value: str) -> list[str]:
    """What the semicolons of ``value`` separate, as ``split_list`` does for commas."""
    parts = _PARAMETER.findall(value) if '"' in value else value.split(";")
    return [part for part in (raw.strip(OWS) for raw in parts) if part]


def unquote_string(value: str) -> str:
    """What a quoted string says; any other value as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def media_type(value: str | None) -> str:
    """``type/subtype`` in lower case, without parameters; "" where ``value`` names none."""
    if not value:
        return ""
    found = value.partition(";")[0].strip(OWS).lower()
    return found if _MEDIA.fullmatch(found) else ""


def media_matches(content_type: str | None, patterns: Collection[str]) -> bool:
    """Whether the media type is one of ``patterns``: ``text/*``, ``application/*+json``, …"""
    found = media_type(content_type)
    return bool(found) and any(fnmatchcase(found, pattern.lower()) for pattern in patterns)


def is_field_name(name: str) -> bool:
    """Whether ``name`` is a field name (RFC 9110, 5.1): a token, in any case."""
    return TOKEN.fullmatch(name) is not None


def is_field_value(value: str) -> bool:
    """Whether ``value`` is a field value (RFC 9110, 5.5): latin-1, no control but HTAB, trimmed."""
    return _VALUE.fullmatch(value) is not None
