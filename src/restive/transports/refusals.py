"""What was refused for what a client did: counted by reason in this process, and told in the log.

A flood of refusals must not become a flood of lines: those beyond a pace are left out, and the next
line says how many.
"""

from __future__ import annotations

import logging
import time
from collections import Counter

from ..telemetry import metrics

__all__ = ["CLOSED", "Pace", "count", "counts", "refused"]

log = logging.getLogger("restive.transports")

BURST, PER_SECOND = 20, 1.0
"""Log lines at once, and over time."""

counts: Counter[str] = Counter()
"""How often each reason ended a connection or a request since this process began."""

CLOSED = {1002: "protocol", 1003: "protocol", 1007: "protocol", 1008: "flood", 1009: "message"}
"""The reason for which a socket was closed with a code, where that was its client's doing."""

QUIET = frozenset({"first-byte", "stall"})
"""Reasons that ordinary clients give as well: browsers connect in advance, phones lose their network."""


class Pace:
    """``burst`` at once and ``rate`` per second over time. ``now`` is any clock in seconds."""

    __slots__ = ("_burst", "_credit", "_rate", "_since")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = self._credit = burst
        self._rate, self._since = rate, now

    def allows(self, now: float) -> bool:
        """Whether one more is within the pace; it counts then."""
        self._credit = min(self._burst, self._credit + (now - self._since) * self._rate)
        self._since = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class _Lines:
    """The log lines of this process."""

    def __init__(self) -> None:
        self._pace = Pace(BURST, PER_SECOND, time.monotonic())
        self._unsaid = 0

    def tell(self, reason: str, peer: str, detail: str) -> None:
        if not self._pace.allows(time.monotonic()):
            self._unsaid += 1
            return
        level = logging.INFO if reason in QUIET else logging.WARNING
        more, self._unsaid = self._unsaid, 0
        beside = f" (and {more} more since the last line)" if more else ""
        log.log(level, "%s was refused (%s): %s%s", peer or "A client", reason, detail, beside)


_lines = _Lines()


def count(reason: str, times: int = 1) -> None:
    """Count refusals of which the log is told in another way."""
    counts[reason] += times
    metrics.refused.of(reason).value += times


def refused(reason: str, peer: str, detail: str) -> None:
    """Count that ``peer``, a client's address, was refused, and tell the log.

    ``reason`` is one word of a small set, by which it is counted; ``detail`` says what the limit is. Neither
    holds anything that the client has sent.
    """
    count(reason)
    _lines.tell(reason, peer, detail)
