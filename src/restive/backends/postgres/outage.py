"""That a server cannot be reached, said once in the log when it begins and once when it is over."""

from __future__ import annotations

import logging
import threading

from restive.errors import BackendUnavailable

__all__ = ["Outage"]

_log = logging.getLogger("restive.backends")


class Outage:
    """Which parts of a backend do without ``server``: its calls, and its listening."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._parts: dict[str, str] = {}

    def begin(self, part: str, why: str) -> None:
        """``part`` fails from now on."""
        with self._lock:
            first = not self._parts
            self._parts[part] = why
        if first:
            _log.warning("%s", why)

    def over(self, *parts: str) -> None:
        """``parts`` work."""
        if not self._parts:
            return
        with self._lock:
            before = bool(self._parts)
            for part in parts:
                self._parts.pop(part, None)
            last = before and not self._parts
        if last:
            _log.info("%s is back.", self._server)

    def busy(self, patience: float) -> BackendUnavailable:
        """What is raised where a call has waited for others of this process: for what they wait."""
        why = next(iter(self._parts.values()), None)
        return BackendUnavailable(
            why or f"{self._server} is busy: calls of this process have not ended for {patience:g} s."
        )
