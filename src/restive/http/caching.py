"""Cache-Control (RFC 9111, section 5.2), read so that doubt is always resolved to the stricter side.

Names in any case, values quoted or not; ``no-cache="x"`` and ``private="x"`` count as the unqualified
directives; of duplicates the strictest counts; of a malformed directive every word counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from .fields import TOKEN, Fields, get, split_list, unquote_string

__all__ = ["MAX_SECONDS", "CacheControl", "cache_control", "delta_seconds"]

_MAX_REMEMBERED = 128
"""Characters of the longest value of which it is remembered what it says: an app repeats its own."""

MAX_SECONDS = 2**31
"""A longer time is taken as this long (RFC 9111, 1.2.2)."""

_DIGITS = re.compile(r"[0-9]+")
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BEGUN = re.compile(r'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)


def delta_seconds(value: str | None) -> float | None:
    """The seconds that ``value`` says (RFC 9111, 1.2.2); None where it is not a number of digits."""
    if value is None or not _DIGITS.fullmatch(value):
        return None
    digits = value.lstrip("0")
    return float(MAX_SECONDS) if len(digits) > 10 else float(min(int(digits or "0"), MAX_SECONDS))


class CacheControl:
    """The directives of one message."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    def has(self, name: str) -> bool:
        """Whether the directive ``name`` (lower-case) is there, with or without a value."""
        return name in self._values

    def seconds(self, name: str) -> float | None:
        """The least number of seconds that the directive ``name`` (lower-case) says.

        None where it is not there; 0 where a value is no number, which is how RFC 9111, 4.2.1 reads it.
        """
        values = self._values.get(name)
        if values is None:
            return None
        return min(delta_seconds(value) or 0.0 for value in values)

    def most_seconds(self, name: str) -> float:
        """The greatest number of seconds that the directive ``name`` (lower-case) says, else 0.

        For directives of which more is stricter: a value that is no number counts as ``MAX_SECONDS``.
        """
        found = (delta_seconds(value) for value in self._values.get(name, ()))
        return max((float(MAX_SECONDS) if seconds is None else seconds for seconds in found), default=0.0)


_NOTHING = CacheControl({})


def cache_control(fields: Fields) -> CacheControl:
    """What the Cache-Control of a message says."""
    value = get(fields, b"cache-control")
    if value is None:
        return _NOTHING
    return _remembered(value) if len(value) <= _MAX_REMEMBERED else _parsed(value)


def _parsed(value: str) -> CacheControl:
    found: dict[str, list[str]] = {}
    for element in _elements(value):
        for name, argument in _directives(element):
            found.setdefault(name, []).append(argument)
    return CacheControl(found)


_remembered = lru_cache(maxsize=256)(_parsed)


def _elements(value: str) -> list[str]:
    if not all(_BEGUN.findall(value)):  # a string that never ends must not swallow a no-store
        return split_list(value.replace('"', ","))
    return split_list(value)


def _directives(element: str) -> list[tuple[str, str]]:
    """The directive in ``element``; where it breaks the syntax, every word of it as one without a value."""
    name = TOKEN.match(element)
    if name is not None:
        rest = element[name.end() :]
        if not rest:
            return [(name[0].lower(), "")]
        argument = rest[1:]
        if rest[0] == "=" and (TOKEN.fullmatch(argument) or _QUOTED.fullmatch(argument)):
            return [(name[0].lower(), unquote_string(argument))]
    return [(word.lower(), "") for word in TOKEN.findall(element)]
