"""Tells that a lease is over by seeing it stay as it is for its whole time, on this process's own clock.

The clocks of machines differ, so what a lease says of its end is no measure: one that is renewed is alive,
whatever its dates are. Where its holder is certain to be gone, nobody has to wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from .record import Lease, OperationRecord

__all__ = ["Vigil"]

FOR_EVER = 1e9
"""Seconds of a lease that ends in another way."""


class Vigil:
    """Keeps when each foreign lease was first seen as it is. ``dead`` says of a holder that it is gone."""

    def __init__(self, dead: Callable[[str], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._dead, self.clock = dead, clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[Lease, float]] = {}

    def lost(self, operation: OperationRecord) -> bool:
        """Whether it should be running and nobody holds its lease any more."""
        return operation.lost(lambda lease: self._over(operation.id, lease))

    def _over(self, identity: str, lease: Lease) -> bool:
        if self._dead(lease.holder):
            return True
        if lease.seconds >= FOR_EVER:
            return False
        now = self.clock()
        with self._lock:
            seen = self._seen.get(identity)
            if seen is None or seen[0] != lease:
                self._seen[identity] = lease, now
                return False
            return now - seen[1] >= lease.seconds

    def watched(self) -> list[tuple[str, str]]:
        """The operations whose leases were seen, with their holders."""
        with self._lock:
            return [(identity, lease.holder) for identity, (lease, _) in self._seen.items()]

    def keep(self, running: Collection[str]) -> None:
        """Forget all but these operations."""
        with self._lock:
            for identity in self._seen.keys() - set(running):
                del self._seen[identity]
