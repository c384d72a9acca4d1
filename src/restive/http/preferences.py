"""What a request would rather have: Prefer (RFC 7240) and Accept (RFC 9110, 12.5.1).

Both are wishes: what is malformed in them is left out, never refused.
"""

from __future__ import annotations

import re

from .caching import delta_seconds
from .fields import OWS, TOKEN, Fields, get, media_type, split_list, split_parameters, unquote_string

__all__ = ["accepted", "prefer", "wait_seconds"]

_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def prefer(fields: Fields) -> dict[str, str]:
    """The preferences by lower-case name, without their parameters; of several the first counts.

    A preference without a value has "", which RFC 7240 makes the same as an empty one.
    """
    found: dict[str, str] = {}
    for preference in split_list(get(fields, b"prefer") or ""):
        parts = split_parameters(preference)
        if not parts:
            continue
        name, _, value = (part.strip(OWS) for part in parts[0].partition("="))
        if TOKEN.fullmatch(name) and (not value or TOKEN.fullmatch(value) or _QUOTED.fullmatch(value)):
            found.setdefault(name.lower(), unquote_string(value))
    return found


def wait_seconds(preferences: dict[str, str], most: float) -> float | None:
    """The seconds of ``wait``, at most ``most``; None where it is not there or no number of seconds."""
    seconds = delta_seconds(preferences.get("wait"))
    return None if seconds is None else min(seconds, most)


def accepted(value: str) -> list[tuple[str, float]]:
    """(media range in lower case, weight) of an Accept, in its order; a bad weight counts as 0."""
    found = []
    for element in split_list(value):
        media, *parameters = split_parameters(element) or [""]
        if name := media_type(media):
            found.append((name, _weight(parameters)))
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(OWS).lower() == "q":
            value = value.strip(OWS)
            return float(value) if _WEIGHT.fullmatch(value) else 0.0
    return 1.0
