"""Finds the node that takes writes, connects to it and says what became of that.

An outage is logged once when it begins and once when it is over, however many connections notice.
In a cluster one slot holds all that an app has, so one node at a time is enough: MOVED leads to it.
"""

from __future__ import annotations

import logging
import random
import threading
import time

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as NotConnected

from restive.errors import BackendUnavailable

from .url import Address, RedisUrl
from .wire import Wire

__all__ = ["FAILURES", "Server", "Unusable", "pause"]

FAILURES = (RedisError, OSError)
"""What ends a connection, or keeps it from being made."""

OLDEST = (6, 2)
_FIRST = 0.05
_LONGEST = 1.0

_log = logging.getLogger("restive.backends")


class Unusable(BackendUnavailable):
    """Trying again will not help: the password is wrong, or the server too old."""


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: ever more, and for no two processes the same."""
    longest: float = min(_FIRST * 2.0 ** min(failures - 1, 10), _LONGEST)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - to spread, not to hide


class Server:
    """The server that ``url`` names. Its methods may be called from any thread."""

    def __init__(self, url: RedisUrl) -> None:
        self.url = url
        self._addresses = list(url.addresses)
        self._address = self._addresses[0]
        self._looked_at = False
        self.forget()

    def __str__(self) -> str:
        return f"Redis at {self._address[0]}:{self._address[1]}"

    def forget(self) -> None:
        """In a forked child: the parent's lock may be held by a thread that does not exist."""
        self._lock = threading.Lock()
        self._down_since: float | None = None

    def connect(self) -> Wire:
        """A connection to the node that takes writes. Raises what redis-py raises, and Unusable."""
        try:
            wire = self._connect(self._address)
        except Unusable as error:
            self.failed(error)
            raise
        except FAILURES as error:
            self.failed(error)
            self._try_another()
            raise
        self._answered()
        return wire

    def moved(self, host: str, port: int) -> None:
        """Connect to this node from now on."""
        self._address = (host or self._address[0], port)

    def _connect(self, address: Address) -> Wire:
        try:
            wire = Wire(self.url, address)
        except AuthenticationError as error:
            raise Unusable(f"{self} refuses the user or password of its URL: {error}.") from None
        except ResponseError as error:
            raise Unusable(f"{self} refuses the connection: {error}.") from None
        try:
            wire.ask(b"PING")
            self._look_at(wire)
        except AuthenticationError as error:
            wire.close()
            raise Unusable(f"{self} asks for a password, and its URL has none: {error}.") from None
        except BaseException:
            wire.close()
            raise
        return wire

    def _look_at(self, wire: Wire) -> None:
        """Ask what the server is. One that does not say is taken as it is."""
        try:
            reply: bytes = wire.ask(b"INFO")
        except NoPermissionError:
            return
        info = dict(line.split(":", 1) for line in reply.decode(errors="replace").splitlines() if ":" in line)
        version = info.get("redis_version", "")
        if version and tuple(int(n) for n in version.split(".")[:2] if n.isdecimal()) < OLDEST:
            raise Unusable(f"{self} has version {version}; 6.2 is the oldest that will do.")
        if info.get("role") == "slave" and info.get("cluster_enabled") != "1":
            raise NotConnected("it is a replica, and its primary is needed")
        if not self._looked_at:
            self._looked_at = True
            self._warn(info)

    def _warn(self, info: dict[str, str]) -> None:
        policy = info.get("maxmemory_policy", "")
        if policy.startswith("allkeys-"):
            _log.warning(
                "%s drops data when its memory is full (maxmemory-policy %s): set noeviction.", self, policy
            )
        if info.get("aof_enabled") == "0":
            _log.info(
                "%s writes no append-only file: where it stops, what was stored since its last snapshot is "
                "lost. Set appendonly yes if that must not be.",
                self,
            )

    def _try_another(self) -> None:
        """The next of the nodes that the URL names; the one that MOVED led to is forgotten."""
        known = self._addresses
        at = known.index(self._address) + 1 if self._address in known else 0
        self._address = known[at % len(known)]

    # Outages

    def failed(self, error: Exception) -> None:
        """A connection was lost, or could not be made."""
        with self._lock:
            first = self._down_since is None
            if first:
                self._down_since = time.monotonic()
        if first:
            _log.warning("%s is not reachable, and is tried again until it is: %s", self, error)

    def _answered(self) -> None:
        with self._lock:
            since, self._down_since = self._down_since, None
        if since is not None:
            _log.info("%s answers again.", self)

    def down_for(self) -> float:
        """Seconds since it was lost; 0 where it was not."""
        since = self._down_since
        return 0.0 if since is None else time.monotonic() - since

    def unavailable(self, error: BaseException, what: str) -> BackendUnavailable:
        """The error to raise; ``what`` says what became of the call."""
        if isinstance(error, BackendUnavailable):
            return BackendUnavailable(str(error))
        said = str(error).rstrip(".")
        return BackendUnavailable(f"{self} cannot be reached: {said}. {what} Does it run, is the URL right?")

    def refused(self, error: ResponseError) -> BackendUnavailable:
        """The error to raise for one that the server replied with: it has done nothing."""
        text = str(error)
        match error:
            case ReadOnlyError() | ClusterDownError():
                said = f"takes no writes now: {text}. Nothing was done."
            case AskError() | TryAgainError():
                said = f"is moving its data to another node: {text}. Nothing was done. Try again."
            case _ if "FOREIGN" in text or "WRONGTYPE" in text:
                said = (
                    "holds something under Restive's keys that Restive did not write, or lacks some of what "
                    f"it wrote: {text}. Nothing else may write to those keys, and none may be evicted."
                )
            case _:
                said = f"refused: {text}"
        return BackendUnavailable(f"{self} {said}")
