"""What one ``Restive`` shows of itself: its backend's standing, its health, and whether it has metrics."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..backends.port import Backend
from ..errors import SettingError
from ..settings import Settings
from . import siblings
from .backend import Standing, observed
from .lag import lag
from .probing import Probed, Probing

__all__ = ["Observation"]


class Observation:
    """Constructing it opens and imports nothing. Raises ``SettingError`` for metrics that cannot be had."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = settings.metrics or settings.metrics_token is not None
        """Whether there is a ``/-/metrics``."""
        if self.metrics and importlib.util.find_spec("prometheus_client") is None:
            raise SettingError('metrics= needs prometheus-client: pip install "restive[prometheus]".')
        self._standing = Standing()
        self._probing = Probing(self._standing)

    def begin(self) -> None:
        """The process serves: its siblings may ask for its metrics."""
        if self.metrics:
            siblings.join()

    def observed(self, backend: Backend) -> Backend:
        """``backend``, whose calls are counted from now on."""
        return observed(backend, self._standing)

    async def probe(self, backend: Callable[[], Probed]) -> None:
        """Find out whether the backend answers, unless that is known; takes half a second at most."""
        await self._probing.ask(backend)

    def backend(self) -> dict[str, Any]:
        """What health says of the backend."""
        standing, seconds = self._standing, lag.seconds
        since = None if standing.since is None else datetime.fromtimestamp(standing.since, UTC)
        return {
            "engine": standing.engine,
            "ok": standing.ok,
            "since": None if since is None else since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "lag": None if seconds is None else round(seconds, 4),
        }
