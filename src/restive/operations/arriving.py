"""Lets one request at a time in with one Idempotency-Key, before its body is read.

The operation's owner is known only when the body is there, so this is told apart by the request's
credentials. Who is in holds the record ``operation-arriving/<digest>``, whose value is when it ends; it is
renewed while the body comes, so a stalled request loses it, and one of a crashed process too. It spares a
second upload and promises nothing: that a key makes one operation is decided when it is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Message, Receive

from ..backends import offload
from ..backends.port import Backend, Delete
from ..errors import BackendError, Conflict, Problem
from ..http.key import Neutral, request_key
from ..http.targets import scope_target
from ..settings import Settings
from .idempotency import idempotency_key, record_name

__all__ = ["Arrival", "Arrivals", "uploading"]

logger = logging.getLogger("restive.operations")

T = TypeVar("T")

KIND = "operation-arriving"
AT_ONCE = 0.05
"""Seconds within which a body that is whole needs no record of its own."""


class Arrivals:
    """The requests with an Idempotency-Key whose bodies are on their way, in all processes."""

    def __init__(
        self, backend: Callable[[], Backend], settings: Settings, clock: Callable[[], float]
    ) -> None:
        self.backend, self.clock = backend, clock
        self.lease = settings.lease
        self._neutral = Neutral(settings.neutral, settings.ignore_cookies)
        self._extra = settings.key
        self._swept = 0.0

    async def admit(self, request: Request, receive: Receive) -> Arrival | None:
        """The arrival of this request's body; None where it has no key.

        Raises ``Problem``: 400 for what is no key, 409 while another request with the same one is arriving.
        """
        key = idempotency_key(tuple(request.scope["headers"]))
        if key is None:
            return None
        who = request_key(request.scope, self._neutral, extra=self._extra).principal
        path = scope_target(request.scope).partition("?")[0]
        arrival = Arrival(self, record_name(KIND, who, request.method, path, key), receive)
        await arrival.begin()
        return arrival

    def check(self, name: str) -> int:
        """The version of the record, 0 for none, where nobody holds it. Raises ``Problem`` (409)."""
        found = self.backend().load(name)
        if found is not None and _until(found.value) > self.clock():
            raise uploading()
        return 0 if found is None else found.version

    def hold(self, name: str, version: int) -> int:
        """Hold it for the time of a lease from now on; its new version. Raises ``Conflict``."""
        held = self.backend().save(name, f"{self.clock() + self.lease:.3f}".encode(), version=version)
        self._sweep()
        return held

    def release(self, name: str, version: int) -> None:
        """Hold it no more; nothing happens where somebody else does."""
        with suppress(Conflict):
            self.backend().apply([Delete(name, version)])

    def _sweep(self) -> None:
        """Now and then remove what crashed processes left."""
        now = self.clock()
        if now < self._swept + self.lease:
            return
        self._swept = now
        for found in self.backend().scan(f"{KIND}/", limit=1000):
            if _until(found.value) <= now:
                self.release(found.name, found.version)


class Arrival:
    """One request's body on its way. ``receive`` takes the place of the request's own."""

    def __init__(self, arrivals: Arrivals, name: str, receive: Receive) -> None:
        self._arrivals, self._name, self._receive = arrivals, name, receive
        self._coming: asyncio.Future[Message] | None = None
        self._version = 0
        self._renew_at = 0.0

    async def begin(self) -> None:
        """Be let in, holding the record unless the whole body is here. Raises ``Problem`` (409)."""
        version = await self._offload(self._arrivals.check, self._name)
        self._coming = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({self._coming}, timeout=AT_ONCE)
            if not _is_last(self._coming):
                await self._hold(version)
        except Conflict:
            self._stop_coming()
            raise uploading() from None
        except BaseException:
            self._stop_coming()
            raise

    async def receive(self) -> Message:
        """The next message of the request; whoever gets some goes on holding the record."""
        coming, self._coming = self._coming, None
        message = await (coming if coming is not None else self._receive())
        if self._version and self._arrivals.clock() >= self._renew_at:
            try:
                await self._hold(self._version)
            except BackendError:
                self._version = 0  # it was stalled for too long, and somebody else was let in
        return message

    async def release(self) -> None:
        """Let the next one in."""
        self._stop_coming()
        version, self._version = self._version, 0
        if not version:
            return
        try:
            await self._offload(self._arrivals.release, self._name, version)
        except BackendError as error:
            logger.warning("An Idempotency-Key stays held for %g s: %s", self._arrivals.lease, error)

    async def _hold(self, version: int) -> None:
        self._renew_at = self._arrivals.clock() + self._arrivals.lease / 3
        self._version = await self._offload(self._arrivals.hold, self._name, version)

    async def _offload(self, function: Callable[..., T], *args: str | int) -> T:
        return await offload(self._arrivals.backend(), function, *args)

    def _stop_coming(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None and not coming.cancel() and not coming.cancelled():
            coming.exception()  # or asyncio complains that nobody looked


def uploading() -> Problem:
    """What is answered while the first request with a key has not made its operation yet."""
    detail = "Another request with this Idempotency-Key is still arriving. Send it again later."
    headers = {"Retry-After": "2", "Connection": "close"}
    return Problem(409, "The first request is still uploading", detail, headers=headers)


def _is_last(coming: asyncio.Future[Message]) -> bool:
    if not coming.done():
        return False
    return coming.exception() is not None or not coming.result().get("more_body", False)


def _until(value: bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
