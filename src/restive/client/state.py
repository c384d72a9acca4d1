"""One state of a watched resource, and when two of them are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["State", "same", "same_tag"]


@dataclass(frozen=True, slots=True)
class State:
    """One state of a watched resource.

    ``data`` is what the representation holds: decoded JSON, a ``str`` for other text, ``bytes`` for
    anything else, None for an empty one (204, or JSON ``null``). ``etag`` is its entity tag as in the
    header: give it to ``watch(url, etag=…)`` to resume later. ``text`` is the text where it is text and
    not JSON. ``fetch`` says that the client fetched the state by a GET of its own, since the server had
    announced it without its content (too big, or binary).
    """

    data: Any
    etag: str | None = None
    text: str | None = None
    fetch: bool = False


def same_tag(a: str | None, b: str | None) -> bool:
    """Weak comparison (RFC 9110 8.8.3.2); no tag is like no other."""
    return a is not None and b is not None and a.removeprefix("W/") == b.removeprefix("W/")


def same(a: State, b: State) -> bool:
    """Equal tag and equal content: tags of apps can be coarse, so that the tag alone does not decide."""
    if a.etag is not None and b.etag is not None and not same_tag(a.etag, b.etag):
        return False
    return _content(a) == _content(b)


def _content(state: State) -> bytes:
    # Encoded, because to Python 1 == True == 1.0.
    return state.data if isinstance(state.data, bytes) else msgspec.json.encode(state.data)
