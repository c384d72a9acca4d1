"""Names that nobody can guess and that sort by the time they were made."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

__all__ = ["Identities", "is_identity", "new_identity", "time_of"]

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TIME, RANDOM = 10, 26
_FORM = re.compile(f"[{ALPHABET}]{{{TIME + RANDOM}}}")


def new_identity(now: float, random: Callable[[int], bytes]) -> str:
    """36 letters and digits: the milliseconds of ``now`` (Unix time), then 128 random bits."""
    return _digits(int(now * 1000), TIME) + _digits(int.from_bytes(random(16)), RANDOM)


class Identities:
    """Names that also sort by their order where they are made within one millisecond of one process."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._lock = threading.Lock()
        self._last = ""

    def new(self, now: float) -> str:
        """The next name, made at ``now`` (Unix time)."""
        with self._lock:
            found = new_identity(now, self._random)
            if found[:TIME] == self._last[:TIME]:
                # A step of 96 random bits is as hard to guess; the 130 bits of the form have room for it.
                step = 1 + int.from_bytes(self._random(12))
                found = found[:TIME] + _digits(_number(self._last[TIME:]) + step, RANDOM)
            self._last = found
        return found


def is_identity(text: str) -> bool:
    """Whether ``text`` has the form of such a name."""
    return _FORM.fullmatch(text) is not None


def time_of(identity: str) -> float:
    """When it was made (Unix time); 0 for what is no such name."""
    if not is_identity(identity):
        return 0.0
    return _number(identity[:TIME]) / 1000


def _number(digits: str) -> int:
    number = 0
    for letter in digits:
        number = number << 5 | ALPHABET.index(letter)
    return number


def _digits(number: int, count: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))
