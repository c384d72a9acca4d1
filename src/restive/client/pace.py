"""What an attempt does after it has delivered something: goes on listening, or asks again, and when."""

from __future__ import annotations

from collections.abc import Callable

from .attempt import Live, Phase, Waiting
from .carrier import Carrier
from .news import News, Snapshot, Unchanged
from .policy import Policy

__all__ = ["ONE_SHOT", "next_phase"]

ONE_SHOT = {"long-poll", "poll"}
"""Transports with one answer for each request."""

_AT_ONCE = 0.2
"""Seconds; a long poll that is answered faster, some times in a row, is slowed down …"""

_IN_A_ROW = 3
_SLOWER = 0.05
"""… by so many seconds each time, up to a second."""


def next_phase(
    carrier: Carrier, news: News, now: float, policy: Policy, random: Callable[[], float]
) -> Phase:
    """The phase of all that ride on ``carrier`` after ``news`` of one of them."""
    if carrier.transport == "websocket":
        return Live(None)  # its pings tell whether it lives
    if carrier.transport not in ONE_SHOT:
        return Live(now + policy.silence)
    if carrier.transport == "poll":
        again = news.again if isinstance(news, Snapshot | Unchanged) else None
        pause = policy.poll_interval if again is None else max(again, policy.backoff)
        return Waiting(now + pause * (0.9 + random() / 5))
    took = now - carrier.asked
    if isinstance(news, Unchanged) and took < policy.wait / 2:
        return Waiting(now + 1.0 + policy.delay(0, random()))
    carrier.quick = carrier.quick + 1 if took < _AT_ONCE else 0
    return Waiting(now + min(1.0, _SLOWER * max(0, carrier.quick - _IN_A_ROW)))
