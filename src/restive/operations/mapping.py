"""``op.map``: works through items on the caller's thread and on idle ones, and yields results as they come.

It never waits for a free worker: the caller takes items itself, and waits only for those that another
thread is at. So it cannot deadlock, however many operations map at once or inside each other. Only the
caller draws from the items, and at most ``ahead`` of them are drawn but not yet yielded.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sized
from typing import Any, Generic, Protocol, TypeVar, cast

from .engines.threads import Shared
from .running import mapped

__all__ = ["Crew", "Mapping", "Span", "Work"]

T = TypeVar("T")
R = TypeVar("R")


class Work(Shared, Protocol):
    """A mapping at work: an item may also be taken away and done elsewhere."""

    def take(self) -> tuple[Callable[[Any], Any], Any] | None: ...
    def put_back(self, item: Any) -> None: ...
    def done(self, result: Any = None, error: BaseException | None = None) -> None: ...


class Crew(Protocol):
    """The threads that may help, or those who have other processes help.

    One that has ``waits`` is told by it that the caller has nothing to do but wait.
    """

    workers: int

    def share(self, shared: Work, pieces: int) -> None: ...
    def unshare(self, shared: Work) -> None: ...


class Span(Protocol):
    """The operation whose progress a mapping advances."""

    def check(self) -> None: ...
    def advance(self, by: float, total: float = 0, unit: str | None = None) -> None: ...


class Mapping(Generic[T, R]):
    """The results of ``function`` over ``items``, in the order in which they are ready.

    ``for`` in an operation of ``def``; ``async for`` in one of ``async def``, where ``function`` may be a
    coroutine function (its calls share the operation's event loop) and ``items`` asynchronous.
    """

    def __init__(
        self,
        function: Callable[[T], Any],
        items: Iterable[T] | AsyncIterable[T],
        unit: str | None,
        span: Span,
        crew: Crew,
        concurrency: int | None = None,
    ) -> None:
        self._function, self._items, self._unit = function, items, unit
        self._span, self._crew = span, crew
        self._ahead = concurrency or 2 * crew.workers
        self._begun = False

    def __iter__(self) -> Iterator[R]:
        if inspect.iscoroutinefunction(self._function) or not isinstance(self._items, Iterable):
            raise TypeError("op.map of a coroutine function or asynchronous items takes `async for`.")
        self._begin()
        return _Work[T, R](self._function, iter(self._items), self._ahead, self._span, self._crew).results()

    def __aiter__(self) -> AsyncIterator[R]:
        if inspect.iscoroutinefunction(self._function):
            self._begin()
            return self._on_loop(self._function)
        if isinstance(self._items, Iterable):
            return _in_thread(iter(self))
        raise TypeError("op.map of asynchronous items takes a coroutine function.")

    def _begin(self) -> None:
        if self._begun:
            raise RuntimeError("The results of op.map can be iterated once.")
        self._begun = True
        total = len(self._items) if isinstance(self._items, Sized) else 0
        self._span.advance(0, total, self._unit)

    async def _on_loop(self, function: Callable[[T], Awaitable[R]]) -> AsyncIterator[R]:
        items = _asynchronous(self._items)
        tasks: set[asyncio.Task[R]] = set()
        try:
            exhausted = False
            while tasks or not exhausted:
                while not exhausted and len(tasks) < self._ahead:
                    try:
                        tasks.add(_task(function, await anext(items)))
                    except StopAsyncIteration:
                        exhausted = True
                self._span.check()
                if tasks:
                    done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        result = task.result()
                        self._span.advance(1)
                        yield result
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class _Work(Generic[T, R]):
    """One mapping over plain items with a plain function."""

    def __init__(
        self, function: Callable[[T], R], items: Iterator[T], ahead: int, span: Span, crew: Crew
    ) -> None:
        self._function, self._items, self._ahead = function, items, ahead
        self._span, self._crew = span, crew
        self._waits: Callable[[], None] = getattr(crew, "waits", lambda: None)
        self._context = _of_item()
        self._changed = threading.Condition()
        self._pending: deque[T] = deque()
        self._ready: deque[R] = deque()
        self._running = 0
        self._error: BaseException | None = None
        self._exhausted = self._over = False

    def results(self) -> Iterator[R]:
        try:
            while True:
                self._span.check()
                self._draw()
                if self._error is not None:
                    raise self._error
                if self._ready:
                    yield self._ready.popleft()
                elif not self.help() and not self._wait():
                    return
        finally:
            self._end()

    def _draw(self) -> None:
        """Draw items, up to the limit; the iterator belongs to the caller's thread."""
        drawn = 0
        while not self._exhausted:
            with self._changed:
                if len(self._pending) + self._running + len(self._ready) >= self._ahead:
                    break
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
                break
            with self._changed:
                self._pending.append(item)
            drawn += 1
        if drawn and len(self._pending) > 1:
            self._crew.share(self, min(drawn, len(self._pending) - 1))

    def help(self) -> bool:
        """Work on one pending item, on whatever thread; false where there is none."""
        taken = self.take()
        if taken is None:
            return False
        function, item = taken
        try:
            result = self._context.copy().run(function, item)
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller of op.map
            self.done(error=error)
        else:
            self.done(result)
        return True

    def take(self) -> tuple[Callable[[T], R], T] | None:
        """The function and a pending item, which ``done`` or ``put_back`` is to tell of; or None."""
        with self._changed:
            if not self._pending or self._error is not None:
                return None
            self._running += 1
            return self._function, self._pending.popleft()

    def put_back(self, item: T) -> None:
        """It was not begun."""
        with self._changed:
            self._running -= 1
            if not self._over:
                self._pending.appendleft(item)
            self._changed.notify_all()

    def done(self, result: R | None = None, error: BaseException | None = None) -> None:
        """What became of an item that was taken."""
        if error is None:
            self._span.advance(1)
        with self._changed:
            self._running -= 1
            if error is None:
                self._ready.append(cast("R", result))
            elif self._error is None:
                self._error = error
            self._changed.notify_all()

    def _wait(self) -> bool:
        """Wait for an item that another thread is at; false where everything is done."""
        with self._changed:
            if self._pending or not self._running:
                return bool(self._ready or self._pending or not self._exhausted)
        self._waits()
        with self._changed:
            if self._running and not (self._ready or self._pending or self._error):
                self._changed.wait(1.0)
            return True

    def _end(self) -> None:
        """Drop what was not begun, and wait for what was: no item outlives its mapping."""
        self._crew.unshare(self)
        with self._changed:
            self._pending.clear()
            self._exhausted = self._over = True
            while self._running:
                self._changed.wait()


def _of_item() -> contextvars.Context:
    """The caller's context, in which its items are worked on, on whatever thread."""
    context = contextvars.copy_context()
    context.run(mapped.set, True)
    return context


def _task(function: Callable[[T], Awaitable[R]], item: T) -> asyncio.Task[R]:
    async def called() -> R:
        return await function(item)

    return asyncio.get_running_loop().create_task(called(), context=_of_item())


async def _in_thread(results: Iterator[R]) -> AsyncIterator[R]:
    """The same results, drawn on a thread that is not the event loop's."""
    end = object()
    try:
        while (result := await asyncio.to_thread(next, results, end)) is not end:
            yield cast("R", result)
    finally:
        close = getattr(results, "close", None)
        if close is not None:
            await asyncio.shield(asyncio.to_thread(close))


async def _asynchronous(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
