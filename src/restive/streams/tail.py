"""The live end of streams on one event loop: one reader of the backend for all who follow a stream.

A ``Tail`` reads what is new once and hands the same ``Batch`` to all whose place is its start. Who is
elsewhere gets pages of his own, made once for all who ask for the same at that moment. A follower is an
offset and no more: what a slow one has not taken is read again when it comes for it. Hints that there is
more may be lost: a tail looks by itself, too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

from ..backends.port import Trimmed
from ..errors import BackendError, Problem
from ..hub.following import Gone
from ..telemetry import metrics
from ..telemetry.instruments import Reading, sources
from .offsets import NOW, START, absent, gone, refused, trimmed
from .place import Place, Slice

__all__ = ["Batch", "Follower", "Gone", "Source", "Tail", "Tails"]

log = logging.getLogger("restive.streams")

Kind = Literal["json", "text", "bytes"]
Items = tuple[bytes, ...]

RECENT_BYTES = 1024 * 1024
"""Of the newest batches that a tail keeps for those who are a little behind; one is always kept."""

PAGE_BYTES = 256 * 1024
"""About as much is read at once for somebody who is behind: it may be all that he takes in a minute."""

AGAIN = 1.0
"""Seconds after which a backend that did not answer is asked again."""


class Batch:
    """Some items of a stream, the same object for all who get them. Never changed, but for ``forms``."""

    __slots__ = ("closed", "content_type", "forms", "items", "kind", "offset", "start", "up_to_date")

    def __init__(
        self,
        items: Items,
        start: str,
        offset: str,
        place: Place,
        *,
        closed: bool,
        up_to_date: bool,
    ) -> None:
        self.items = items
        self.start = start
        """The offset that they lie behind."""
        self.offset = offset
        self.closed = closed
        self.up_to_date = up_to_date
        self.kind: Kind = place.kind
        self.content_type = place.content_type
        self.forms: dict[Any, bytes] = {}

    def __repr__(self) -> str:
        return f"<Batch {len(self.items)} items from {self.start!r} to {self.offset!r}>"

    @property
    def size(self) -> int:
        """Bytes of its items."""
        return sum(map(len, self.items))


class Source(Protocol):
    """What a tail reads: a stream, or what is like one."""

    lasting: bool
    """Whether it can be followed while there is nothing yet."""
    nowhere: Place
    """Where that is."""

    async def look(self) -> Place | None:
        """Where it ends now; None where there is none. Raises ``BackendError``."""
        ...

    async def read(self, place: Place, offset: str, limit: int) -> Slice:
        """Items behind an offset, of the same life as ``place``; it counts as use.

        Raises ``KeyError`` where that is over, ``Trimmed``, ``ValueError`` and ``BackendError``.
        """
        ...


class Follower:
    """One reader's place. Made by ``Tails.follow``; ``wake`` is never called from inside its methods."""

    __slots__ = ("_begun", "_done", "_gone", "_page", "_tail", "_wake", "offset")

    def __init__(self, tail: Tail, offset: str, wake: Callable[[], None]) -> None:
        self._tail: Tail | None = tail
        self._wake = wake
        self.offset = offset
        """Behind what was taken last; before that as it was asked for."""
        self._begun = self._done = False
        self._page: Batch | None = None
        self._gone: Gone | None = None

    def take(self) -> Batch | Gone | None:
        """The next items, or the end; None where there are none yet, and ``wake`` will be called.

        Who begins at the end gets a batch without items, which says where that is.
        """
        if self._gone is not None:
            return self._gone
        tail = self._tail
        if tail is None or self._done:
            return None
        batch, self._page = self._page or tail.next(self), None
        if batch is not None:
            self._begun, self._done, self.offset = True, batch.closed, batch.offset
        return batch

    def close(self) -> None:
        """The reader is gone. May be called twice."""
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.leave(self)

    @property
    def begun(self) -> bool:
        """Whether it was told where it is."""
        return self._begun

    def give(self, page: Batch) -> None:
        """A page of its own is there."""
        self._page = page
        self._wake()

    def end(self, problem: Problem) -> None:
        """It goes no further."""
        self._gone = Gone(problem.document())
        self._wake()

    def wake(self) -> None:
        """There may be something to take."""
        self._wake()


class Tail:
    """All followers of one stream on one loop."""

    def __init__(self, source: Source, recheck: float, limit: int, empty: Callable[[], None]) -> None:
        self._source, self._recheck, self._limit = source, recheck, limit
        self._empty = empty
        self._loop = asyncio.get_running_loop()
        self._place: Place | None = None
        self._loaded = False
        self._offset, self._closed = START, False
        self._recent: OrderedDict[str, Batch] = OrderedDict()
        self._size = 0
        self._mean = PAGE_BYTES / 100
        self._followers: dict[Follower, None] = {}
        self._asking: dict[str, dict[Follower, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._advancing = self._again = False
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._followers)

    def join(self, offset: str, wake: Callable[[], None]) -> Follower:
        """One more follower."""
        follower = Follower(self, offset, wake)
        self._followers[follower] = None
        if self._loaded:
            self._settle(follower)
        else:
            self.grew()
        return follower

    def _settle(self, follower: Follower) -> None:
        """Let the end be that of now, however late it is asked for."""
        if follower.offset == NOW or (self._place is None and follower.offset in {"", START}):
            follower.offset = self._offset

    def leave(self, follower: Follower) -> None:
        """One less; the last one takes the tail with it."""
        self._followers.pop(follower, None)
        if not self._followers:
            self.close()
            self._empty()

    def close(self) -> None:
        """Nobody follows any more."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    # What followers take

    def next(self, follower: Follower) -> Batch | None:
        """What comes behind the follower's offset, where it is at hand."""
        if not self._loaded:
            return None
        offset = follower.offset
        found = self._recent.get(offset)
        if found is not None:
            return self._present(found)
        if offset != self._offset:
            self._ask(offset, follower)
        elif self._closed or not follower.begun:
            return self._batch((), offset, offset, closed=self._closed, up_to_date=True)
        return None

    def _present(self, batch: Batch) -> Batch:
        """The batch, which said that nothing was behind it, as it is now that there is."""
        if batch.up_to_date and batch.offset != self._offset:
            later = self._batch(batch.items, batch.start, batch.offset, closed=False, up_to_date=False)
            batch = self._recent[batch.start] = later
        return batch

    def _batch(self, items: Items, start: str, offset: str, *, closed: bool, up_to_date: bool) -> Batch:
        place = self._place or self._source.nowhere
        return Batch(items, start, offset, place, closed=closed, up_to_date=up_to_date)

    # The end

    def grew(self) -> None:
        """There may be more, or an end."""
        self._again = True
        if not self._advancing:
            self._advancing = True
            self._start(self._advance())

    def _start(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _advance(self) -> None:
        """Read on until nothing is new. What fails is tried again later."""
        delay = self._recheck * (0.8 + 0.2 * random.random())  # noqa: S311 - it only spreads load
        try:
            while self._again:
                self._again = False
                await self._step()
        except BackendError:
            delay = min(delay, AGAIN)  # the backend has said so in the log
        except Exception:
            log.exception("A stream cannot be followed now")
        finally:
            self._advancing = False
        self._look_in(delay)

    def _look_in(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._followers:
            due = None if self._place is None else self._place.due
            self._timer = self._loop.call_later(delay if due is None else min(delay, due), self.grew)

    async def _step(self) -> None:
        if self._place is None:
            await self._begin()
            return
        try:
            found = await self._source.read(self._place, self._offset, self._limit)
        except KeyError:
            self._over()
        except ValueError:  # Trimmed, too: each learns it from what he asks for himself
            self._place, self._again = None, True
            self._recent.clear()
            self._size = 0
        else:
            self._extend(found)
            self._again = self._again or not found.up_to_date

    async def _begin(self) -> None:
        """See whether it is there, and where it ends."""
        place, waited = await self._source.look(), self._loaded
        if place is None and not self._source.lasting:
            self._end(list(self._followers), absent())
            return
        self._place, self._loaded = place, True
        if place is None:
            self._offset, self._closed = START, False
        elif waited and self._offset == START:
            self._again = True  # those who waited for the first item get what has come since
        else:
            self._offset, self._closed = place.offset, place.closed
        for follower in self._followers:
            self._settle(follower)
        self._wake_all()

    def _extend(self, found: Slice) -> None:
        if found.next == self._offset and found.closed == self._closed:
            return
        batch = self._batch(
            found.items, self._offset, found.next, closed=found.closed, up_to_date=found.up_to_date
        )
        self._offset, self._closed = found.next, found.closed
        if batch.offset != batch.start:
            self._keep(batch)
        self._wake_all()

    def _keep(self, batch: Batch) -> None:
        self._recent[batch.start] = batch
        self._size += batch.size
        if batch.items:
            self._mean = max(1.0, batch.size / len(batch.items))
        while self._size > RECENT_BYTES and len(self._recent) > 1:
            _, oldest = self._recent.popitem(last=False)
            self._size -= oldest.size

    def _wake_all(self) -> None:
        for follower in list(self._followers):
            follower.wake()

    def _over(self) -> None:
        """The life has ended. Another one is another tail's: these followers' offsets are not its own."""
        self._end(list(self._followers), gone())

    def _end(self, followers: Iterable[Follower], problem: Problem) -> None:
        self._again = False
        for follower in followers:
            self._followers.pop(follower, None)
            follower.end(problem)
        if not self._followers:
            self._empty()

    # Pages of those who are behind

    def _ask(self, offset: str, follower: Follower) -> None:
        waiting = self._asking.get(offset)
        if waiting is not None:
            waiting[follower] = None
            return
        self._asking[offset] = {follower: None}
        self._start(self._fetch(offset))

    async def _fetch(self, offset: str) -> None:
        try:
            found = await self._page(offset)
        except KeyError:
            self._asking.pop(offset)
            self._over()
        except Problem as problem:
            self._end(self._asking.pop(offset), problem)
        except BackendError:
            self._loop.call_later(AGAIN, self._retry, offset)
        except Exception:
            log.exception("A page of a stream cannot be read")
            self._end(self._asking.pop(offset), Problem(500))
        else:
            self._give(self._asking.pop(offset), offset, found)

    async def _page(self, offset: str) -> Slice:
        if self._place is None:
            raise refused("There is no stream yet that it could belong to.")
        try:
            return await self._source.read(self._place, offset, self._page_items)
        except Trimmed:
            raise trimmed() from None
        except ValueError as error:
            raise refused(str(error)) from None

    def _retry(self, offset: str) -> None:
        if self._followers and offset in self._asking:
            self._start(self._fetch(offset))

    @property
    def _page_items(self) -> int:
        return max(1, min(self._limit, int(PAGE_BYTES / self._mean)))

    def _give(self, followers: Iterable[Follower], offset: str, found: Slice) -> None:
        batch = self._batch(found.items, offset, found.next, closed=found.closed, up_to_date=found.up_to_date)
        for follower in followers:
            if follower in self._followers and follower.offset == offset:
                follower.give(batch)


class Tails:
    """The tails of one loop."""

    def __init__(self, source: Callable[[str], Source], recheck: float, limit: int) -> None:
        self._source, self._recheck, self._limit = source, recheck, limit
        self._tails: dict[str, Tail] = {}
        sources.add(self)

    def __len__(self) -> int:
        return sum(map(len, list(self._tails.values())))

    def readings(self) -> Iterator[Reading]:
        """How many readers there are, for metrics; called on any thread."""
        yield metrics.followers, (), len(self)

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Follow the stream at ``path`` from an offset on; "" is its start, ``NOW`` its end.

        Ask ``take`` at once, and again whenever ``wake`` was called.
        """
        tail = self._tails.get(path)
        if tail is None:
            tail = self._tails[path] = Tail(
                self._source(path), self._recheck, self._limit, lambda: self._drop(path, tail)
            )
        return tail.join(offset, wake)

    def _drop(self, path: str, tail: Tail | None) -> None:
        if self._tails.get(path) is tail:
            del self._tails[path]

    def grew(self, paths: Iterable[str] | None) -> None:
        """These streams have changed; None: any of them may have."""
        found = list(self._tails.values()) if paths is None else map(self._tails.get, paths)
        for tail in found:
            if tail is not None:
                tail.grew()

    def close(self) -> None:
        """Nobody follows any more."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
