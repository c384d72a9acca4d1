"""Numbers for the messages of a JetStream stream that are never given twice, whatever the server loses.

JetStream counts on from the last message that it still has: after a loss of power without fsync, or a
restored backup, a sequence is given again. So each life of the server begins with a message that lists
where the earlier ones began; ``number`` counts from the time in microseconds at which a life began.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

__all__ = ["MOST", "Lives"]

LEAP = 10**9
MOST = 256
"""Lives that are remembered; what is older counts as of the first of them."""


@dataclass(frozen=True, slots=True)
class Lives:
    """When each life began: ``firsts`` its first sequence, ``starts`` the number of that sequence."""

    firsts: tuple[int, ...]
    starts: tuple[int, ...]
    server: str
    """Who served the last of them."""

    def number(self, sequence: int) -> int:
        """The number of the message with that sequence, unlike that of any message ever."""
        life = max(0, bisect_right(self.firsts, sequence) - 1)
        return self.starts[life] + sequence - self.firsts[life]

    def sequence(self, number: int) -> int | None:
        """The sequence of the message with that number; None where the server has lost that message."""
        life = max(0, bisect_right(self.starts, number) - 1)
        sequence = self.firsts[life] + number - self.starts[life]
        lost = life + 1 < len(self.firsts) and sequence >= self.firsts[life + 1]
        return None if lost or sequence < 1 else sequence

    def next(self, server: str, micros: int, last: int, chance: float) -> bytes:
        """The message that begins the next life, on ``server``, where ``last`` is the last sequence now.

        Time runs ahead of the numbers. Where the clock was set back, ``chance`` (below 1) takes its place.
        """
        begun = zip(self.firsts, self.starts, strict=True)
        least = max(self.number(last), self.starts[-1])
        start = micros if micros > least else least + int((1 + chance) * LEAP)
        return encode(list(begun)[1 - MOST :], server, start)


def encode(begun: list[tuple[int, int]], server: str, start: int) -> bytes:
    """The message that begins a life: earlier lives, who serves it, and the number of its first sequence."""
    return json.dumps({"lives": begun, "server": server, "start": start}).encode()


def decode(data: bytes, sequence: int) -> Lives:
    """What a message that begins a life says; ``sequence`` is its own. Raises ``ValueError``."""
    said: Any = json.loads(data)
    try:
        begun = [(int(first), int(start)) for first, start in said["lives"]]
        begun.append((sequence, int(said["start"])))
        server = str(said["server"])
    except (KeyError, TypeError) as error:
        raise ValueError("no lives") from error
    if begun != sorted(begun) or [start for _, start in begun] != sorted({start for _, start in begun}):
        raise ValueError("lives out of order")
    return Lives(tuple(first for first, _ in begun), tuple(start for _, start in begun), server)
