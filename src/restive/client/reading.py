"""Single GETs of what belongs to operations: repeated while the server is away, and never led elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ClientError, Problem, RequestRefused, Unreachable
from .document import OperationState
from .news import Failure, of_answer, of_refusal
from .policy import Policy

if TYPE_CHECKING:
    import httpx2

    from .aio import AsyncClient

__all__ = ["Reader", "check", "decoded", "own_link"]

PAGE = 200
"""Operations that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes GETs through ``client``, with the pauses of ``policy``; ``random`` gives 0..1."""

    client: AsyncClient
    policy: Policy
    random: Callable[[], float]

    async def get(self, url: str, params: dict[str, str] | None = None) -> httpx2.Response:
        """The answer, once there is one. Raises ``RequestRefused`` and ``Unreachable``."""
        import httpx2

        failures, given_up = 0, time.monotonic() + (self.policy.connect_within or 60.0)
        while True:
            again: float | None = None
            error: Exception
            try:
                response = await self.client.get(url, params=params or None)
            except httpx2.TransportError as caught:
                error = caught
            else:
                answer = of_answer("poll", response.status_code, response.headers, b"", time.time())
                if not isinstance(answer, Failure):
                    check(response)
                    return response
                error, again = _problem(response), answer.again
            pause = (again or 0.0) + self.policy.delay(failures, self.random())
            if time.monotonic() + pause > given_up:
                raise Unreachable(f"{url} could not be read.") from error
            failures += 1
            await asyncio.sleep(pause)

    async def json(self, url: str, params: dict[str, str] | None = None) -> tuple[Any, httpx2.Response]:
        """What the answer holds, and the answer. Raises ``ClientError`` where that is no JSON."""
        response = await self.get(url, params)
        return decoded(response), response

    async def listing(self, url: str, status: str | None, page: int) -> AsyncGenerator[OperationState]:
        """The operations of the collection at ``url``, page by page."""
        following: str | None = url
        params = {"limit": str(max(1, min(PAGE, page)))} | ({"status": status} if status else {})
        while following is not None:
            entries, response = await self.json(following, params)
            if not isinstance(entries, list):
                raise ClientError(f"{url} is no list of operations.")
            for entry in entries:
                yield OperationState.of(entry, own_link(url, _self(url, entry)))
            found = response.links.get("next", {}).get("url")
            following, params = (own_link(following, found) if found else None), {}


def own_link(base: str, reference: str) -> str:
    """A link as an absolute URL. The client's credentials go with it, so it must not lead elsewhere."""
    import httpx2

    own = httpx2.URL(base)
    url = own.join(reference)
    if (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
        raise ClientError(f"{base} links to {url}, which is on another server.")
    return str(url)


def decoded(response: httpx2.Response) -> Any:
    """Its JSON. Raises ``ClientError`` where it is none."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise ClientError(f"{response.url.copy_with(query=None)} answers no JSON.") from None


def check(response: httpx2.Response) -> None:
    """Raises ``RequestRefused`` for what is no success."""
    if not response.is_success:
        raise RequestRefused(_problem(response))


def _self(collection: str, entry: Any) -> str:
    """Where a listed operation is."""
    if not isinstance(entry, dict) or "id" not in entry:
        raise ClientError(f"{collection} is no list of operations.")
    found = (entry.get("links") or {}).get("self")
    return str(found or f"{collection.partition('?')[0].rstrip('/')}/{entry['id']}")


def _problem(response: httpx2.Response) -> Problem:
    return of_refusal(response.status_code, response.headers, response.content)
