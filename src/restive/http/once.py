"""What thousands of clients say alike, kept as one object: targets, Hosts, addresses, names of fields.

Never what says who a client is: the last ``MOST`` values are kept when their clients have gone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["once"]

T = TypeVar("T", str, bytes, tuple[Any, ...])

MOST, LONGEST = 1024, 256


def once(value: T) -> T:
    """An object that equals ``value``: where it can be, the one that was given before."""
    return _kept(value) if len(value) <= LONGEST else value


@lru_cache(maxsize=MOST)
def _kept(value: Any) -> Any:
    return value
