"""Names that nobody can guess and that sort by the time they were made."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["is_identity", "new_identity", "time_of"]

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TIME, RANDOM = 10, 26
_FORM = re.compile(f"[{ALPHABET}]{{{TIME + RANDOM}}}")


def new_identity(now: float, random: Callable[[int], bytes]) -> str:
    """36 letters and digits: the milliseconds of ``now`` (Unix time), then 128 random bits."""
    return _digits(int(now * 1000), TIME) + _digits(int.from_bytes(random(16)), RANDOM)


def is_identity(text: str) -> bool:
    """Whether ``text`` has the form of such a name."""
    return _FORM.fullmatch(text) is not None


def time_of(identity: str) -> float:
    """When it was made (Unix time); 0 for what is no such name."""
    if not is_identity(identity):
        return 0.0
    milliseconds = 0
    for letter in identity[:TIME]:
        milliseconds = milliseconds << 5 | ALPHABET.index(letter)
    return milliseconds / 1000


def _digits(number: int, count: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))
