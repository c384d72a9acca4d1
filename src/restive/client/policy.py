"""How long the client waits for what, and how it spreads its attempts. Values and pure functions only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal, get_args

__all__ = ["AUTO", "TRANSPORTS", "Policy", "Transport", "retry_after", "rungs"]

Transport = Literal["websocket", "sse", "ndjson", "long-poll", "poll"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)

AUTO: tuple[Transport, ...] = ("websocket", "sse", "long-poll", "poll")
"""What ``transport="auto"`` tries, the best first."""

MOST_RETRY_AFTER = 3600.0
"""Seconds; a server that names a longer time is asked again after this one."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The client's times, all in seconds."""

    patience: float = 12.0
    """A transport that has delivered nothing for so long is given up for the next one. (A server announces
    what it cannot look at in 10 s, so a little longer than that.)"""

    silence: float = 45.0
    """An event stream without even a comment (the server sends one every 15 s) for so long is dead."""

    wait: float = 30.0
    """How long a long poll asks the server to wait."""

    poll_interval: float = 5.0
    """Between two polls, where the server names no time of its own by ``Retry-After``."""

    backoff: float = 0.5
    """The first retry comes after a random part of this; it doubles with each failure in a row …"""

    most_backoff: float = 30.0
    """… up to this."""

    stable: float = 5.0
    """A connection that lived for so long ends a row of failures."""

    better_after: float = 60.0
    """A better transport that did not work is tried again after about this; doubled each time, …"""

    most_better_after: float = 3600.0
    """… up to this."""

    gather: float = 0.03
    """So long a request that watches share waits for more of them to come or go, before it is replaced. While
    that does not end it waits twice as long each time, …"""

    most_gather: float = 2.0
    """… up to this."""

    linger: float = 1.0
    """The socket is closed so long after its last watch."""

    connect_within: float | None = 60.0
    """A watch to which nothing was ever delivered gives up after this; None: never."""

    def delay(self, failures: int, random: float) -> float:
        """Full jitter: a random part of a time that doubles with each failure."""
        return random * min(self.most_backoff, self.backoff * 2.0 ** min(failures, 30))

    def better_delay(self, times: int, random: float) -> float:
        """When to try a better transport again that has failed ``times`` times before."""
        return (0.75 + random / 2) * min(self.most_better_after, self.better_after * 2.0 ** min(times, 30))


def rungs(transport: str) -> tuple[Transport, ...]:
    """The transports to try, the best first. Raises ``ValueError`` for an unknown name."""
    if transport == "auto":
        return AUTO
    for known in TRANSPORTS:
        if transport == known:
            return (known,)
    raise ValueError(f"transport= is one of auto, {', '.join(TRANSPORTS)}; not {transport!r}.")


def retry_after(headers: Mapping[str, str], unix_now: float) -> float | None:
    """The seconds that ``Retry-After`` names (RFC 9110 10.2.3); None where there is none that makes sense."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MOST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, date.timestamp() - unix_now), MOST_RETRY_AFTER)
