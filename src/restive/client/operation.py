"""The handle of one operation (design 4.4): its document, followed by a watch, and what its links lead to.

Nothing is remembered here but the URL, so that a handle can be made anywhere, at any time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import OperationCanceled, OperationFailed, Problem
from .document import FINAL, OperationState
from .news import Snapshot, of_answer
from .reading import Reader, check, decoded, own_link

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncOperation", "Part", "operation_url"]


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

    def __init__(self, reader: Reader, url: str) -> None:
        self.url = url
        self._reader = reader
        self._client = reader.client

    async def status(self) -> OperationState:
        """The document as it is now. Raises ``RequestRefused`` (404, 410, …) and ``Unreachable``."""
        return self._document((await self._reader.json(self.url))[0])

    async def progress(self) -> AsyncGenerator[OperationState]:
        """Each new document, pushed; the last one has a final status. Raises ``WatchEnded``."""
        async with self._client.watch(self.url) as states:
            async for state in states:
                document = self._document(state.data)
                yield document
                if document["status"] in FINAL:
                    return

    async def parts(self, *, follow: bool = True) -> AsyncGenerator[Part]:
        """Each part from the first on, once, as it becomes ready; stops after the last one.

        Without ``follow`` these are the parts that are finished now.
        """
        async with aclosing(self._followed() if follow else self._finished()) as parts:
            async for part in parts:
                yield part

    async def _finished(self) -> AsyncGenerator[Part]:
        document, offset, over = await self.status(), None, False
        while not over:
            found, offset, closed = await self._parts_from(document, offset)
            for part in found:
                yield part
            over = closed or not found

    async def _followed(self) -> AsyncGenerator[Part]:
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
        document = OperationState({"status": "queued"}, self.url)
        async with aclosing(self.progress()) as documents:
            async for newer in documents:
                document = newer
        if document["status"] == "failed":
            raise OperationFailed(Problem.from_document(document.get("error") or {"title": "Failed"}))
        if document["status"] == "canceled":
            raise OperationCanceled(f"{self.url} was canceled.")
        response = await self._reader.get(self._link(document, "result"))
        answer = of_answer("poll", 200, response.headers, response.content, time.time())
        return answer.state.data if isinstance(answer, Snapshot) else None

    async def cancel(self) -> OperationState:
        """Ask the server to cancel it; the document as it is then. A final status stays as it is."""
        response = await self._client.post(self._link(await self.status(), "cancel"))
        check(response)
        return self._document(decoded(response))

    async def delete(self) -> None:
        """Forget it, with its parts and its result; it is canceled if need be."""
        check(await self._client.delete(self.url))

    # -- requests ----------------------------------------------------------------------------

    async def _parts_from(
        self, document: OperationState, offset: str | None
    ) -> tuple[list[Part], str | None, bool]:
        url = self._link(document, "parts")
        found, response = await self._reader.json(url, {} if offset is None else {"offset": offset})
        entries = [_part(entry, own_link(self.url, entry["url"])) for entry in found]
        following = response.headers.get("stream-next-offset", offset)
        closed = response.headers.get("stream-closed", "").lower() == "true"
        return entries, following, closed or following is None

    def _link(self, document: OperationState, name: str) -> str:
        links = document.get("links") or {}
        return own_link(self.url, str(links.get(name) or f"{self.url.rstrip('/')}/{name}"))

    def _document(self, found: Any) -> OperationState:
        return OperationState.of(found, self.url)


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
