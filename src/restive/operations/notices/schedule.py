"""What an answer to a webhook means, and when to try again. Pure: clock and randomness are arguments."""

from __future__ import annotations

from typing import Literal

__all__ = ["ATTEMPTS", "Verdict", "retry_at", "verdict"]

Verdict = Literal["taken", "retry", "unwanted"]

HOUR = 3600.0
DELAYS = (5.0, 300.0, 1800.0, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds after each failed attempt, as Standard Webhooks recommends."""

ATTEMPTS = 1 + len(DELAYS)
JITTER = 0.1
"""By how much a delay may be longer: receivers that were away are not met by all at once."""

LONGEST_ASKED = 24 * HOUR
"""Seconds; a longer Retry-After counts as this one."""


def verdict(status: int) -> Verdict:
    """What a status says. A redirect is no success: it is not followed."""
    if 200 <= status < 300:
        return "taken"
    return "unwanted" if status == 410 else "retry"


def retry_at(attempt: int, now: float, asked: float | None, random: float) -> float | None:
    """When to try again after ``attempt`` (1 is the first) failed; None: not any more.

    ``asked`` is the receiver's Retry-After in seconds, ``random`` in [0, 1).
    """
    if attempt >= ATTEMPTS:
        return None
    delay = max(DELAYS[attempt - 1], min(asked or 0.0, LONGEST_ASKED))
    return now + delay * (1 + JITTER * random)
