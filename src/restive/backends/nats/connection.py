"""The connection of one backend, made when it is needed and again when it was lost.

Whoever calls while there is none waits for the next attempt. Attempts come ever more slowly, with jitter.
One log line says that the server is gone, and one that it is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from restive.errors import BackendUnavailable

from .link import Absent, Link, Lost, Unreachable
from .store import Store
from .url import NatsUrl

__all__ = ["PATIENCE", "Connection"]

T = TypeVar("T")
_log = logging.getLogger("restive.backends")

PATIENCE = 3.0
"""Seconds that a call takes at most, however it ends."""

SLOWEST = 10_000_000
"""Bytes a second, for calls that bring much."""

GRACE = 1.2
"""Seconds after a loss in which calls wait for the server to come back: it may just be restarting."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class Connection:
    """To the server of ``url``, for ``app``. ``lost`` is called when a connection has gone."""

    def __init__(self, url: NatsUrl, app: str, lost: Callable[[], None]) -> None:
        self._url = url
        self._app = app
        self._on_loss = lost
        self._store: Store | None = None
        self._opening: asyncio.Task[Store] | None = None
        self._pause = self._next = 0.0
        self._down = ""
        self._down_since = 0.0
        self.handle = -1

    async def run(self, work: Callable[[Store], Awaitable[T]], *, repeat: bool = False, size: int = 0) -> T:
        """Do ``work`` on the open store, within the time that a call of ``size`` bytes has.

        A second time where its first met a store that is gone, or, with ``repeat``, lost its connection.
        """
        try:
            async with asyncio.timeout(PATIENCE + size / SLOWEST):
                store = await self.store()
                try:
                    return await work(store)
                except Absent as error:
                    store.link.die(str(error))
                except Lost:
                    if not repeat:
                        raise
                return await work(await self.store())
        except TimeoutError:
            why = (self._down or f"{self._url} does not answer").rstrip(".")
            raise BackendUnavailable(f"{why} (for {PATIENCE:g} s). The outcome is unknown.") from None

    async def store(self) -> Store:
        """The open store. Raises ``BackendUnavailable``.

        Once the server is known to be away, at once; while it has just gone, only after some attempts.
        """
        while self._store is None or self._store.link.dead:
            now = asyncio.get_running_loop().time()
            if now < self._next and not self._opening_now():
                if now > self._down_since + GRACE:
                    raise BackendUnavailable(self._down)
                await asyncio.sleep(self._next - now)
                continue
            if self._opening is None or not self._opening_now():
                self._opening = asyncio.get_running_loop().create_task(self._open())
                self._opening.add_done_callback(_seen)
            try:
                return await asyncio.shield(self._opening)
            except Unreachable:
                if asyncio.get_running_loop().time() > self._down_since + GRACE:
                    raise
        return self._store

    def _opening_now(self) -> bool:
        return self._opening is not None and not self._opening.done()

    async def _open(self) -> Store:
        link = Link(self._url, self._lost)
        try:
            await link.open()
            store = Store(link, self._url, self._app)
            await store.open()
        except BaseException as error:
            link.close()
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            pause = self._pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
            self._next = asyncio.get_running_loop().time() + pause
            if isinstance(error, BackendUnavailable):
                self._gone(str(error))
            raise
        self._store, self._pause, self._next, self.handle = store, 0.0, 0.0, link.handle
        if self._down:
            _log.info("%s is back.", self._url)
            self._down = ""
        return store

    def _lost(self, why: str) -> None:
        if self._store is not None and self._store.link.dead:
            self._store = None
            self._down_since = asyncio.get_running_loop().time()
            self._gone(f"{self._url} was lost: {why}")
            self._on_loss()

    def _gone(self, why: str) -> None:
        if not self._down:
            _log.warning("%s%s Trying again.", why, "" if why.endswith(("?", ".")) else ".")
        self._down = why

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        store, self._store = self._store, None
        if store is not None:
            store.link.close()
            await store.link.closed()


def _seen(opening: asyncio.Task[Store]) -> None:
    """An attempt may fail after whoever waited for it has gone."""
    if not opening.cancelled():
        opening.exception()
