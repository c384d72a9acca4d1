"""One request over HTTP: makes it, reads what comes and reports it under the request's number.

The query spelling (design 4.2) passes every cache; Restive's parameters come last, behind the app's own.
No timeout is kept here but that of connecting: the machine knows how long to wait.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from ..wire.messages import Event, RetryEvent, parse_event
from ..wire.ndjson import Splitter
from ..wire.sse import Parser
from .attempt import Ask
from .news import Ended, Failure, Kind, News, of_answer, of_event, of_sse
from .policy import Policy

if TYPE_CHECKING:
    import httpx2

__all__ = ["MAX_MESSAGE", "Report", "ask", "live_target"]

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of one event that the client is willing to hold."""

_MEDIA_TYPES = {
    "sse": ("text/event-stream",),
    "ndjson": ("application/x-ndjson", "application/jsonl"),
}


class Report(Protocol):
    """Where it is told what came."""

    def news(self, number: int, news: News) -> None:
        """Request ``number`` said something."""

    def alive(self, number: int) -> None:
        """Bytes came."""

    def failed(self, number: int, failure: Failure) -> None:
        """It is over and said nothing (more)."""


def live_target(ask: Ask, wait: float) -> str:
    """The target that watches: the app's own, then Restive's parameters."""
    if ask.transport == "poll":
        return ask.target
    pairs = [f"live={ask.transport}"]
    if ask.etag is not None:
        pairs.append(f"etag={quote(ask.etag, safe='')}")
    if ask.transport == "long-poll":
        # Caches serialize equal requests: `n` makes each its own.
        pairs += [f"wait={wait:g}", f"n={secrets.token_hex(8)}"]
    return ask.target + ("&" if "?" in ask.target else "?") + "&".join(pairs)


async def ask(http: httpx2.AsyncClient, base: httpx2.URL, ask: Ask, policy: Policy, report: Report) -> None:
    """Make the request and report until it is over."""
    import httpx2

    try:
        request = _request(http, base, ask, policy)
        response = await http.send(request, stream=True, follow_redirects=False)
        try:
            await _read(response, ask, report)
        finally:
            await response.aclose()
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        report.failed(ask.number, Failure(Kind.UNREACHABLE, error))
    except (httpx2.HTTPError, httpx2.StreamError, ValueError) as error:
        report.failed(ask.number, Failure(Kind.DROPPED, error))


def _request(http: httpx2.AsyncClient, base: httpx2.URL, ask: Ask, policy: Policy) -> httpx2.Request:
    import httpx2

    headers = dict(ask.headers)
    if ask.transport == "poll" and ask.etag is not None:
        headers["if-none-match"] = ask.etag
    timeout = httpx2.Timeout(policy.patience, read=None, pool=None)
    request = http.build_request("GET", base, headers=headers, timeout=timeout)
    # Set as it is: the client's own `params` are in the target already, and must not follow ours.
    request.url = base.copy_with(raw_path=live_target(ask, policy.wait).encode("ascii"))
    return request


async def _read(response: httpx2.Response, ask: Ask, report: Report) -> None:
    wanted = _MEDIA_TYPES.get(ask.transport)
    if response.status_code == 200 and wanted is not None:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in wanted:
            report.failed(ask.number, Failure(Kind.REFUSED, ValueError(f"answers {media_type}")))
            return
        await (_read_events if ask.transport == "sse" else _read_lines)(response, ask, report)
        return
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        report.alive(ask.number)
    headers: Mapping[str, str] = response.headers
    answer = of_answer(ask.transport, response.status_code, headers, bytes(body), time.time())
    if isinstance(answer, Failure):
        report.failed(ask.number, answer)
    else:
        report.news(ask.number, answer)


async def _read_events(response: httpx2.Response, ask: Ask, report: Report) -> None:
    parser = Parser(max_event=MAX_MESSAGE, last_event_id=ask.etag or "")
    cause: Exception = EOFError("the event stream ended")
    try:
        async for chunk in response.aiter_bytes():
            report.alive(ask.number)
            for event in parser.feed(chunk):
                if _told(of_sse(event, text=ask.text), ask, report):
                    return
    except (_transport_error(), ValueError) as error:
        cause = error
    again = None if parser.retry is None else parser.retry / 1000
    report.failed(ask.number, Failure(Kind.DROPPED, cause, again))


async def _read_lines(response: httpx2.Response, ask: Ask, report: Report) -> None:
    splitter = Splitter(MAX_MESSAGE)
    cause: Exception = EOFError("the stream of lines ended")
    again: float | None = None
    try:
        async for chunk in response.aiter_bytes():
            report.alive(ask.number)
            for line in splitter.feed(chunk):
                event = _known(line)
                if isinstance(event, RetryEvent):
                    again = event.ms / 1000
                elif event is not None and _told(of_event(event), ask, report):
                    return
    except (_transport_error(), ValueError) as error:
        cause = error
    report.failed(ask.number, Failure(Kind.DROPPED, cause, again))


def _known(line: bytes) -> Event | None:
    """None for a kind of event that a later server adds."""
    try:
        return parse_event(line)
    except ValueError:
        return None


def _told(news: News | None, ask: Ask, report: Report) -> bool:
    """Whether that was the end."""
    if news is not None:
        report.news(ask.number, news)
    return isinstance(news, Ended)


def _transport_error() -> type[Exception]:
    import httpx2

    return httpx2.HTTPError
