"""The handle of one operation (design 4.4): its document, followed by a watch, and what its links lead to.

Nothing is remembered here but the URL, so that a handle can be made anywhere, at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ClientError, OperationCanceled, OperationFailed, Problem, RequestRefused, Unreachable
from .news import Failure, Snapshot, of_answer, of_refusal
from .policy import Policy

if TYPE_CHECKING:
    import httpx2

    from .aio import AsyncClient

__all__ = ["FINAL", "AsyncOperation", "Part", "operation_url"]

FINAL = frozenset({"succeeded", "failed", "canceled"})
"""The statuses that never change."""


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of an operation; ``url`` is absolute, ``size`` is in bytes."""

    name: str
    url: str
    type: str
    size: int
    digest: str


class AsyncOperation:
    """One operation of a server; ``url`` is its own. Made by ``AsyncClient.operation``."""

    def __init__(self, client: AsyncClient, url: str, policy: Policy, random: Callable[[], float]) -> None:
        self.url = url
        self._random = random
        self._client = client
        self._policy = policy

    async def status(self) -> dict[str, Any]:
        """The document as it is now. Raises ``RequestRefused`` (404, 410, …) and ``Unreachable``."""
        return _document((await self._get(self.url)).json())

    async def progress(self) -> AsyncGenerator[dict[str, Any]]:
        """Each new document, pushed; the last one has a final status. Raises ``WatchEnded``."""
        async with self._client.watch(self.url) as states:
            async for state in states:
                document = _document(state.data)
                yield document
                if document["status"] in FINAL:
                    return

    async def parts(self) -> AsyncGenerator[Part]:
        """Each part from the first on, once, as it becomes ready; stops after the last one."""
        offset: str | None = None
        seen = 0
        async with aclosing(self.progress()) as documents:
            async for document in documents:
                final = document["status"] in FINAL
                while final or document.get("parts", 0) > seen:
                    found, offset, closed = await self._parts_from(document, offset)
                    for part in found:
                        yield part
                    seen += len(found)
                    if closed or not found:
                        break

    async def result(self) -> Any:
        """What the operation returned, once it has: decoded JSON, text or bytes.

        Raises ``OperationFailed``, ``OperationCanceled``, and ``WatchEnded`` where the operation is gone.
        """
        document: dict[str, Any] = {"status": "queued"}
        async with aclosing(self.progress()) as documents:
            async for newer in documents:
                document = newer
        if document["status"] == "failed":
            raise OperationFailed(Problem.from_document(document.get("error") or {"title": "Failed"}))
        if document["status"] == "canceled":
            raise OperationCanceled(f"{self.url} was canceled.")
        response = await self._get(self._link(document, "result"))
        answer = of_answer("poll", 200, response.headers, response.content, time.time())
        return answer.state.data if isinstance(answer, Snapshot) else None

    async def cancel(self) -> dict[str, Any]:
        """Ask the server to cancel it; the document as it is then. A final status stays as it is."""
        response = await self._client.post(self._link(await self.status(), "cancel"))
        _check(response)
        return _document(response.json())

    async def delete(self) -> None:
        """Forget it, with its parts and its result; it is canceled if need be."""
        _check(await self._client.delete(self.url))

    # -- requests ----------------------------------------------------------------------------

    async def _parts_from(
        self, document: dict[str, Any], offset: str | None
    ) -> tuple[list[Part], str | None, bool]:
        url = self._link(document, "parts")
        response = await self._get(url, {} if offset is None else {"offset": offset})
        entries = [_part(entry, self._absolute(entry["url"])) for entry in response.json()]
        following = response.headers.get("stream-next-offset", offset)
        closed = response.headers.get("stream-closed", "").lower() == "true"
        return entries, following, closed or following is None

    async def _get(self, url: str, params: dict[str, str] | None = None) -> httpx2.Response:
        """A GET that is repeated while the server is away, as a watch is."""
        import httpx2

        failures, given_up = 0, time.monotonic() + (self._policy.connect_within or 60.0)
        while True:
            again: float | None = None
            error: Exception
            try:
                response = await self._client.get(url, params=params or None)
            except httpx2.TransportError as caught:
                error = caught
            else:
                answer = of_answer("poll", response.status_code, response.headers, b"", time.time())
                if not isinstance(answer, Failure):
                    _check(response)
                    return response
                error, again = _problem(response), answer.again
            pause = (again or 0.0) + self._policy.delay(failures, self._random())
            if time.monotonic() + pause > given_up:
                raise Unreachable(f"{url} could not be read.") from error
            failures += 1
            await asyncio.sleep(pause)

    def _link(self, document: dict[str, Any], name: str) -> str:
        links = document.get("links") or {}
        return self._absolute(str(links.get(name) or f"{self.url.rstrip('/')}/{name}"))

    def _absolute(self, reference: str) -> str:
        """A link as an absolute URL. The client's credentials go with it, so it must not lead elsewhere."""
        import httpx2

        own = httpx2.URL(self.url)
        url = own.join(reference)
        if (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
            raise ClientError(f"{self.url} links to {url}, which is on another server.")
        return str(url)


def operation_url(http: httpx2.AsyncClient, started: httpx2.Response | httpx2.URL | str) -> str:
    """Where the operation is that ``started`` names."""
    import httpx2

    if not isinstance(started, httpx2.Response):
        return str(http.build_request("GET", started).url)
    started.raise_for_status()
    found = started.headers.get("location") or started.headers.get("content-location")
    return str(started.url.join(found)) if found else str(started.url)


def _part(entry: dict[str, Any], url: str) -> Part:
    return Part(entry["name"], url, entry["type"], entry["size"], entry["digest"])


def _document(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or "status" not in found:
        raise ClientError("This is not the document of an operation.")
    return found


def _problem(response: httpx2.Response) -> Problem:
    return of_refusal(response.status_code, response.headers, response.content)


def _check(response: httpx2.Response) -> None:
    if not response.is_success:
        raise RequestRefused(_problem(response))
