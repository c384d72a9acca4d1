"""``Client``: the same without ``await``.

A thin facade: the asynchronous client does the work, on an event loop in a thread of its own, so that no
logic is written twice.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from ..errors import ClientError
from .aio import AsyncClient
from .document import OperationState
from .following import Follow
from .items import Batch
from .operation import AsyncOperation, Part
from .reading import PAGE
from .state import State
from .watch import Watch

if TYPE_CHECKING:
    import httpx2

__all__ = ["Client", "Operation"]

T = TypeVar("T")


class Portal:
    """An event loop in a thread. Calls from any other thread run on it, one result each."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="restive-client", daemon=True)
        self._thread.start()
        # Lets the thread go with a client that nobody closed.
        self._gone = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns or raises. An interrupt (Ctrl-C) cancels it."""
        if not self._gone.alive:
            work.close()
            raise ClientError("The client is closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what other threads still call, stop the thread and wait for it."""
        if self._gone.alive:
            self.call(_cancel_all())
            self._gone()
            self._thread.join()
            self._loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


class _Iterating(Generic[T]):
    """An asynchronous iterator, one item a call."""

    def __init__(self, portal: Portal, items: AsyncIterator[T]) -> None:
        self._portal = portal
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self._portal.call(_step(self._items))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End it before its time."""
        self._portal.call(_close(self._items))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _step(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _close(items: Any) -> None:
    await items.aclose()


class States(_Iterating[State]):
    """The states of one resource, by ``for``; everything else is as with ``Watch``."""

    def __init__(self, portal: Portal, watch: Watch) -> None:
        super().__init__(portal, watch)
        self._watch = watch

    @property
    def etag(self) -> str | None:
        """Entity tag of the last state that was read."""
        return self._watch.etag


class Items(_Iterating[Any]):
    """The items of one stream, by ``for``; everything else is as with ``Follow``."""

    def __init__(self, portal: Portal, follow: Follow) -> None:
        super().__init__(portal, follow)
        self._follow = follow

    @property
    def offset(self) -> str:
        """Behind the last batch of which every item was read."""
        return self._follow.offset

    def batches(self) -> _Iterating[Batch]:
        """Batch by batch, each with the offset behind it."""
        return _Iterating(self._portal, self._follow.batches())


class Operation:
    """One operation of a server; made by ``Client.operation``. Raises what ``AsyncOperation`` does."""

    def __init__(self, portal: Portal, operation: AsyncOperation) -> None:
        self._portal = portal
        self._operation = operation

    @property
    def url(self) -> str:
        """Where it is."""
        return self._operation.url

    def status(self) -> OperationState:
        """The document as it is now."""
        return self._portal.call(self._operation.status())

    def progress(self) -> _Iterating[OperationState]:
        """Each new document, pushed; the last one has a final status."""
        return _Iterating(self._portal, self._operation.progress())

    def parts(self, *, follow: bool = True) -> _Iterating[Part]:
        """Each part from the first on, once, as it becomes ready; without ``follow`` those there are now."""
        return _Iterating(self._portal, self._operation.parts(follow=follow))

    def result(self) -> Any:
        """What it returned, once it has. Raises ``OperationFailed`` and ``OperationCanceled``."""
        return self._portal.call(self._operation.result())

    def cancel(self) -> OperationState:
        """Ask the server to cancel it; the document as it is then."""
        return self._portal.call(self._operation.cancel())

    def delete(self) -> None:
        """Forget it, with its parts and its result."""
        self._portal.call(self._operation.delete())


class Client:
    """``AsyncClient`` without ``await``, with the same arguments; any thread may use it.

    Use it as a context manager or with ``close()``. Its event loop runs in a daemon thread, from the
    construction to the close.
    """

    def __init__(self, base_url: httpx2.URL | str = "", **options: Any) -> None:
        self._portal = Portal()
        try:
            self._client = self._portal.call(_make(base_url, options))
        except BaseException:
            self._portal.close()
            raise

    def request(self, method: str, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.request``, whose exceptions it raises."""
        return self._portal.call(self._client.request(method, url, **arguments))

    def get(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.get``."""
        return self.request("GET", url, **arguments)

    def head(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.head``."""
        return self.request("HEAD", url, **arguments)

    def options(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.options``."""
        return self.request("OPTIONS", url, **arguments)

    def post(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.post``."""
        return self.request("POST", url, **arguments)

    def put(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.put``."""
        return self.request("PUT", url, **arguments)

    def patch(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.patch``."""
        return self.request("PATCH", url, **arguments)

    def delete(self, url: httpx2.URL | str, **arguments: Any) -> httpx2.Response:
        """As ``httpx2.Client.delete``."""
        return self.request("DELETE", url, **arguments)

    def watch(
        self,
        url: httpx2.URL | str,
        *,
        etag: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        transport: str | None = None,
    ) -> States:
        """The states of ``url``, now and whenever it changes, by ``for``; see ``AsyncClient.watch``."""
        watch = self._client.watch(url, etag=etag, headers=headers, params=params, transport=transport)
        return States(self._portal, watch)

    def follow(
        self,
        url: httpx2.URL | str,
        *,
        offset: str = "-1",
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        transport: str = "auto",
    ) -> Items:
        """Every item of the stream at ``url``, by ``for``; see ``AsyncClient.follow``."""
        follow = self._client.follow(url, offset=offset, headers=headers, params=params, transport=transport)
        return Items(self._portal, follow)

    def operation(self, started: httpx2.Response | httpx2.URL | str) -> Operation:
        """The operation that a response started, or the one at a URL."""
        return Operation(self._portal, self._client.operation(started))

    def operations(
        self, url: httpx2.URL | str, *, status: str | None = None, page: int = PAGE
    ) -> _Iterating[OperationState]:
        """The documents of the operations that are listed at ``url``, newest first, by ``for``."""
        return _Iterating(self._portal, self._client.operations(url, status=status, page=page))

    def close(self) -> None:
        """End all watches and close every connection."""
        try:
            self._portal.call(self._client.aclose())
        finally:
            self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _make(base_url: httpx2.URL | str, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(base_url, **options)
