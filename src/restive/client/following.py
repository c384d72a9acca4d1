"""Every item of a stream, in order and once, from an offset on; by the Durable Streams protocol 1.0.

It catches up page by page, then reads live: by server-sent events, or by long polls where events do not come
through. What was read is known by its offset alone, so a lost connection costs nothing but time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from math import ceil, inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ..errors import Unreachable, WatchEnded
from ..wire.sse import Parser
from .asking import MAX_MESSAGE
from .items import Batch, assembler, media_type, of_page
from .news import of_refusal
from .policy import Policy, retry_after

if TYPE_CHECKING:
    import httpx2

__all__ = ["LIVE", "Follow", "Mode", "Reading"]

Mode = Literal["catch-up", "sse", "long-poll"]

LIVE: tuple[Mode, ...] = ("sse", "long-poll")
_LATER = {408, 425, 429}


class Later(Exception):
    """The read failed in a way that another one may not; ``again`` are seconds that the server named."""

    def __init__(self, error: Exception, again: float | None = None) -> None:
        self.error, self.again = error, again
        super().__init__(str(error))


@dataclass(slots=True)
class Reading:
    """How far a stream was read, and how it is read next. No I/O; ``random`` gives numbers from 0 to 1."""

    policy: Policy
    offset: str
    live: tuple[Mode, ...] = LIVE
    mode: Mode = "catch-up"
    cursor: str | None = None
    closed: bool = False
    failures: int = 0
    ever: bool = False
    """Whether anything was ever read."""
    better_at: float = inf
    """When the best kind of live read is tried again, as it was given up."""
    given_up: int = 0

    def got(self, batch: Batch) -> None:
        """A batch came, and counts as read."""
        self.offset, self.cursor, self.closed = batch.offset, batch.cursor, batch.closed
        self.ever = True
        if batch.items:
            self.failures = 0
        if self.mode == "catch-up" and batch.up_to_date:
            self.mode = self.live[0]

    def begin(self, now: float) -> None:
        """The next read is about to be made."""
        if self.mode in self.live and now >= self.better_at:
            self.mode, self.better_at = self.live[0], inf

    def lasted(self, seconds: float) -> bool:
        """A read went on for so long; whether that ends a row of failures."""
        stable = seconds >= self.policy.stable
        if stable:
            self.failures = 0
        return stable

    def silent(self, now: float, random: float) -> None:
        """A live read delivered nothing at all: the next kind is tried, in turn."""
        if self.mode not in self.live:
            return
        if self.mode == self.live[0]:
            self.better_at = now + self.policy.better_delay(self.given_up, random)
            self.given_up += 1
        self.mode = self.live[(self.live.index(self.mode) + 1) % len(self.live)]

    def failed(self, again: float | None, random: float) -> float:
        """The seconds after which to read again."""
        pause = self.policy.delay(self.failures, random)
        self.failures += 1
        return pause if again is None else again + self.policy.delay(0, random)

    def parameters(self) -> dict[str, str]:
        """The query of the next read."""
        given = {"offset": self.offset}
        if self.mode != "catch-up":
            given["live"] = self.mode
            if self.cursor is not None:
                given["cursor"] = self.cursor
        if self.mode == "long-poll":
            given["timeout"] = str(ceil(self.policy.wait))
        return given


class Follow:
    """The items of a stream, by ``async for``; or its batches, by ``batches()``.

    It begins with the first ``anext``, goes on over lost connections, and stops where the stream is closed.
    ``WatchEnded`` is raised where the server ends it (404, 410 for an offset that is too old, 401, 403, …),
    ``Unreachable`` where nothing could be read within ``connect_within`` seconds at the beginning.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        url: httpx2.URL,
        headers: Mapping[str, str],
        reading: Reading,
        random: Callable[[], float],
    ) -> None:
        self._http, self._url, self._headers = http, url, dict(headers)
        self._reading, self._random = reading, random
        self._given_up = reading.policy.connect_within
        self._type = ""
        self._batches: AsyncGenerator[Batch] | None = None
        self._items: list[Any] = []
        self.offset = reading.offset
        """Behind the last batch of which every item was read: ``follow(url, offset=…)`` goes on there."""
        self._next = reading.offset

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            self.offset = self._next
            batch = await anext(self._stream())
            self._items, self._next = list(reversed(batch.items)), batch.offset
        item = self._items.pop()
        if not self._items:
            self.offset = self._next
        return item

    async def batches(self) -> AsyncIterator[Batch]:
        """Batch by batch, each with the offset behind it."""
        async for batch in self._stream():
            self.offset = self._next = batch.offset
            yield batch

    async def aclose(self) -> None:
        """Read no more."""
        await self._stream().aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _stream(self) -> AsyncGenerator[Batch]:
        if self._batches is None:
            self._batches = self._run()
        return self._batches

    async def _run(self) -> AsyncGenerator[Batch]:
        reading, begun = self._reading, time.monotonic()
        while not reading.closed:
            again, since, mode, items = None, time.monotonic(), reading.mode, False
            reading.begin(since)
            cause: Exception = EOFError("The answer ended at once, with nothing to read.")
            try:
                async with aclosing(self._read()) as batches:
                    async for batch in batches:
                        reading.got(batch)
                        items = items or bool(batch.items)
                        if batch.items or batch.closed:
                            yield batch
                # A server may end a read at any time, to be asked again; not over and over for nothing.
                if reading.lasted(time.monotonic() - since) or items or reading.mode != mode:
                    continue
            except Later as later:
                reading.lasted(time.monotonic() - since)
                cause, again = later.error, later.again
            pause = reading.failed(again, self._random())
            spent = time.monotonic() + pause - begun
            if not reading.ever and self._given_up is not None and spent > self._given_up:
                raise Unreachable(f"{self._url} could not be read.") from cause
            await asyncio.sleep(pause)

    async def _read(self) -> AsyncGenerator[Batch]:
        """The batches of one request. Raises ``Later`` and ``WatchEnded``."""
        import httpx2

        reading, delivered = self._reading, False
        try:
            async with aclosing(self._answer(reading)) as batches:
                async for batch in batches:
                    delivered = True
                    yield batch
            if not delivered:
                raise EOFError("The answer ended before anything was read.")
        except (httpx2.HTTPError, httpx2.StreamError, ValueError, TimeoutError, EOFError) as error:
            if not delivered and not isinstance(error, httpx2.ConnectError):
                reading.silent(time.monotonic(), self._random())
            raise Later(error) from error

    async def _answer(self, reading: Reading) -> AsyncGenerator[Batch]:
        request = self._request(reading)
        response = await self._http.send(request, stream=True, follow_redirects=False)
        try:
            await _check(response)
            if reading.mode != "sse":
                yield await self._page(response)
                return
            async with aclosing(self._events(response)) as batches:
                # The first one says where the stream is now, so it comes at once.
                async with asyncio.timeout(reading.policy.patience):
                    first = await anext(batches, None)
                if first is not None:
                    yield first
                async for batch in batches:
                    yield batch
        finally:
            await response.aclose()

    def _request(self, reading: Reading) -> httpx2.Request:
        import httpx2

        policy = reading.policy
        read = {"catch-up": policy.patience, "sse": policy.silence}.get(reading.mode)
        timeout = httpx2.Timeout(policy.patience, read=read or policy.wait + policy.patience, pool=None)
        url = self._url.copy_merge_params(reading.parameters())
        return self._http.build_request("GET", url, headers=self._headers, timeout=timeout)

    async def _page(self, response: httpx2.Response) -> Batch:
        body = await response.aread()
        if response.status_code != 204:
            self._type = response.headers.get("content-type", "")
        return of_page(response.headers, body)

    async def _events(self, response: httpx2.Response) -> AsyncGenerator[Batch]:
        if media_type(response.headers.get("content-type", "")) != "text/event-stream":
            raise ValueError("The answer is no event stream.")
        coded = response.headers.get("stream-sse-data-encoding") == "base64"
        parser, parts = Parser(max_event=MAX_MESSAGE), assembler(self._type, base64=coded)
        async for chunk in response.aiter_bytes():
            for event in parser.feed(chunk):
                batch = parts.feed(event)
                if batch is not None:
                    yield batch
                    if batch.closed:
                        return
        # A server may end an event stream at any time, to be asked again.


async def _check(response: httpx2.Response) -> None:
    """Raises ``Later`` and ``WatchEnded`` for what is no read."""
    status = response.status_code
    if status in {200, 204}:
        return
    problem = of_refusal(status, response.headers, await response.aread())
    if status in _LATER or status >= 500:
        raise Later(problem, retry_after(response.headers, time.time()))
    raise WatchEnded(problem)
