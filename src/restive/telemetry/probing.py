"""Asking a backend for a sign of life, when somebody wants to know and not more often than every few seconds.

A probe runs on a thread of its own, never two at once. Whoever asks waits half a second for it at most: a
backend that hangs makes no answer slow, and counts as away once its probe has taken too long.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from ..errors import BackendError, SettingError
from .backend import Standing

__all__ = ["Probed", "Probing"]

EVERY = 3.0
"""Seconds for which the outcome of a probe is good."""

PATIENCE = 0.5
"""Seconds that somebody who asks waits at most."""

TOO_LONG = 2.5
"""Seconds after which a probe that has not ended says that the backend is away."""


class Probed(Protocol):
    """A backend, as far as it can be asked whether it is there."""

    def probe(self) -> None: ...


class Probing:
    """Probes one backend, and tells ``standing``."""

    def __init__(self, standing: Standing, clock: Callable[[], float] = time.monotonic) -> None:
        self._standing, self._clock = standing, clock
        self._lock = threading.Lock()
        self._probe: Future[None] | None = None
        self._begun = float("-inf")

    async def ask(self, backend: Callable[[], Probed]) -> None:
        """Bring the standing of what ``backend`` gives up to date, as far as ``PATIENCE`` allows.

        Nothing is raised, also where ``backend`` raises.
        """
        probe = self._current(backend)
        if not probe.done():
            await asyncio.wait([asyncio.wrap_future(probe)], timeout=PATIENCE)
        if not probe.done() and self._clock() - self._begun >= TOO_LONG:
            self._standing.tell(ok=False)

    def _current(self, backend: Callable[[], Probed]) -> Future[None]:
        """The probe that is under way, or whose outcome is still good; else a new one."""
        with self._lock:
            now, probe = self._clock(), self._probe
            if probe is not None and (not probe.done() or now - self._begun < EVERY):
                return probe
            self._begun, self._probe = now, Future()
            threading.Thread(
                target=self._run, args=[backend, self._probe], name="restive-probe", daemon=True
            ).start()
            return self._probe

    def _run(self, backend: Callable[[], Probed], probe: Future[None]) -> None:
        try:
            backend().probe()
            self._standing.tell(ok=True)
        except (BackendError, SettingError):
            self._standing.tell(ok=False)
        finally:
            probe.set_result(None)
