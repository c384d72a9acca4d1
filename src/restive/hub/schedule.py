"""When a variant is looked at again: a state machine without a clock of its own (design 1.3, 2.2, 2.4).

One look in flight; announcements during it cause exactly one more; ``settle`` seconds after the
last announcement one more; lifetimes and ``recheck`` for what nobody announced; failures back off.
All times are seconds of one monotonic clock, passed in.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from ..settings import Settings

UNANNOUNCED_LIMIT = 5
"""A rendering that differs at this many looks in a row that nobody announced is slowed down."""

BACKOFF_FIRST = 1.0
RECHECK_JITTER = 0.25


class Reason(StrEnum):
    """Why a look is made; an app reads it in ``scope["restive"]["look"]``."""

    FIRST = "first"
    CHANGED = "changed"
    RECHECK = "recheck"


class Due(NamedTuple):
    """When the next look starts and why."""

    at: float
    reason: Reason
    announced: bool
    rights: bool = False
    """It is the ``recheck`` that bounds how long a withdrawn right may go unseen."""


class Schedule:
    """The refresh state of one variant."""

    __slots__ = (
        "_announced",
        "_failures",
        "_floor",
        "_jitter",
        "_not_before",
        "_owed",
        "_recheck",
        "_revalidate",
        "_settings",
        "_settle",
        "_unannounced",
        "_wanted",
        "in_flight",
        "looked",
        "slowed",
    )

    def __init__(self, settings: Settings, now: float, jitter: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._jitter = jitter
        self._wanted: float | None = now
        self._announced = False
        self._settle: float | None = None
        self._revalidate: float | None = None
        self._recheck: float | None = None
        self._not_before = now
        self._floor = now
        self._failures = 0
        self._owed = False
        self._unannounced = 0
        self.in_flight: Due | None = None
        self.looked = False
        self.slowed = False

    @property
    def fresh(self) -> bool:
        """Nothing was announced or asked for since the last look began, and none is under way."""
        return self.looked and self._wanted is None and self.in_flight is None and not self._failures

    @property
    def known(self) -> bool:
        """Nothing was announced or asked for since the look began whose state is held.

        A look that only time has brought on leaves what is held as good as it was.
        """
        return self.looked and self._wanted is None and not self._owed and not self._failures

    @property
    def wanted(self) -> bool:
        """Something was announced or asked for since the last look began."""
        return self._wanted is not None

    @property
    def failing(self) -> bool:
        """The last look gave no state."""
        return self._failures > 0

    def want(self, now: float) -> None:
        """Somebody joined and must be answered by a look that begins after this moment."""
        self._wanted = now if self._wanted is None else self._wanted

    def announce(self, now: float) -> None:
        """Something may have changed: look as soon as allowed, and once more when it is quiet."""
        self.want(now)
        self._announced = True
        self._settle = now + self._settings.settle
        if not self._failures:
            return
        # An announcement may end a backoff of ours, never a Retry-After of the app's.
        self._not_before = min(self._not_before, self._floor)

    def due(self) -> Due | None:
        """The next look, or None while one is in flight."""
        if self.in_flight is not None:
            return None
        at, reason, announced, rights = math.inf, Reason.CHANGED, False, False
        if self._wanted is not None:
            at, announced = self._wanted, self._announced
            reason = Reason.CHANGED if self.looked else Reason.FIRST
        if self._settle is not None and self._settle < at and not self.slowed:
            at, reason, announced = self._settle, Reason.CHANGED, False
        if self._revalidate is not None and self._revalidate < at and not self.slowed:
            at, reason, announced = self._revalidate, Reason.RECHECK, False
        if self._recheck is not None and self._recheck < at:
            at, reason, announced, rights = self._recheck, Reason.RECHECK, False, True
        return None if at == math.inf else Due(max(at, self._not_before), reason, announced, rights)

    def begin(self, due: Due, now: float) -> None:
        """The look that ``due`` named starts now."""
        self.in_flight = due
        self._owed = self._wanted is not None
        self._wanted = None
        self._announced = False
        if self._settle is not None and self._settle <= now:
            self._settle = None
        self._revalidate = None
        self._not_before = now + self._settings.min_interval
        self._floor = max(self._floor, self._not_before)

    def again(self, now: float) -> None:
        """The look in flight said nothing that counts (it was one member's refusal): look at once."""
        self.in_flight = None
        self._not_before = now
        self.want(now)

    def done(self, now: float, *, changed: bool, lifetime: float | None) -> bool:
        """The look gave a state. Returns True once when the variant is slowed down by it."""
        due, self.in_flight = self.in_flight, None
        self.looked, self._failures, self._owed = True, 0, False
        if self._recheck is None or due is None or due.rights:
            # Its own timer: changes without end must not put off the look that bounds rights.
            self._recheck = now + self._settings.recheck * (1 - RECHECK_JITTER * self._jitter())
        if lifetime is not None:
            self._revalidate = now + max(lifetime, self._settings.revalidate_floor)
        if due is None or due.announced or due.reason is Reason.FIRST:
            return False
        if not changed:
            self._unannounced, self.slowed = 0, False
            return False
        self._unannounced += 1
        if self._unannounced < UNANNOUNCED_LIMIT or self.slowed:
            return False
        self.slowed = True
        return True

    def failed(self, now: float, retry_after: float | None) -> None:
        """The look gave no state: keep what there is; try again after ``retry_after`` or with backoff."""
        due, self.in_flight = self.in_flight, None
        self._wanted = now if self._wanted is None else self._wanted
        self._announced = self._announced or (due is not None and due.announced)
        delay = min(BACKOFF_FIRST * 2**self._failures, self._settings.recheck) * (0.5 + self._jitter() / 2)
        self._failures = min(self._failures + 1, 16)
        self._floor = now + (self._settings.min_interval if retry_after is None else retry_after)
        self._not_before = max(now + delay, self._floor)
