"""One request over HTTP: makes it, reads what comes and reports it under the request's number.

The query spelling (design 4.2) passes every cache; Restive's parameters come last, behind the app's own.
Several targets are asked for together at ``/-/live``, by watch frames; the socket's objects come back.
No timeout is kept here but that of connecting: the machine knows how long to wait.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import msgspec

from ..wire.messages import Event, RetryEvent, parse_event, watch_frame
from ..wire.ndjson import Splitter
from ..wire.sse import Parser
from .attempt import Ask
from .news import Ended, Failure, Kind, News, of_answer, of_event, of_many, of_sse
from .policy import Policy

if TYPE_CHECKING:
    import httpx2

__all__ = ["MAX_MESSAGE", "Report", "ask", "live_target"]

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of one event that the client is willing to hold."""

_MEDIA_TYPES = {
    "sse": ("text/event-stream",),
    "ndjson": ("application/x-ndjson", "application/jsonl"),
    "long-poll": ("application/json",),
}
"""What a response must be: a stream, or the answer to a long poll for many."""


class Report(Protocol):
    """Where it is told what came."""

    def news(self, number: int, news: News) -> None:
        """Request ``number`` said something."""

    def event(self, number: int, event: Event) -> None:
        """Request ``number``, which is for many, said something of one of them."""

    def answer(self, number: int, events: Sequence[Event]) -> None:
        """The long poll ``number``, which is for many, was answered."""

    def alive(self, number: int) -> None:
        """Bytes came."""

    def failed(self, number: int, failure: Failure) -> None:
        """It is over and said nothing (more)."""


def live_target(ask: Ask, live_path: str, wait: float) -> str:
    """The target that watches: the app's own, or ``live_path`` for many, then Restive's parameters."""
    one = ask.targets[0]
    if ask.transport == "poll":
        return one.uri
    many = len(ask.targets) > 1
    pairs = [f"live={ask.transport}"]
    if one.etag is not None and not many:
        pairs.append(f"etag={quote(one.etag, safe='')}")
    if ask.transport == "long-poll":
        # Caches serialize equal requests: `n` makes each its own.
        pairs += [f"wait={wait:g}", f"n={secrets.token_hex(8)}"]
    path = live_path if many else one.uri
    return path + ("&" if "?" in path else "?") + "&".join(pairs)


async def ask(
    http: httpx2.AsyncClient, base: httpx2.URL, live_path: str, ask: Ask, policy: Policy, report: Report
) -> None:
    """Make the request and report until it is over."""
    import httpx2

    try:
        target = base.copy_with(raw_path=live_target(ask, live_path, policy.wait).encode("ascii"))
        request = (_request_many if len(ask.targets) > 1 else _request)(http, base, ask, policy)
        # Set as it is: the client's own `params` are in the target already, and must not follow ours.
        request.url = target
        response = await http.send(request, stream=True, follow_redirects=False)
        try:
            await _read(response, ask, report)
        finally:
            await response.aclose()
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        report.failed(ask.number, Failure(Kind.UNREACHABLE, error))
    except (httpx2.HTTPError, httpx2.StreamError, ValueError) as error:
        report.failed(ask.number, Failure(Kind.DROPPED, error))


def _timeout(policy: Policy) -> httpx2.Timeout:
    import httpx2

    return httpx2.Timeout(policy.patience, read=None, pool=None)


def _request(http: httpx2.AsyncClient, base: httpx2.URL, ask: Ask, policy: Policy) -> httpx2.Request:
    (one,) = ask.targets
    headers = dict(one.headers)
    if ask.transport == "poll" and one.etag is not None:
        headers["if-none-match"] = one.etag
    return http.build_request("GET", base, headers=headers, timeout=_timeout(policy))


def _request_many(http: httpx2.AsyncClient, base: httpx2.URL, ask: Ask, policy: Policy) -> httpx2.Request:
    frames = "\n".join(watch_frame(each.uri, each.etag, dict(each.headers)) for each in ask.targets)
    request = http.build_request(
        "POST",
        base,
        content=frames.encode(),
        headers={"content-type": "application/x-ndjson"},
        timeout=_timeout(policy),
    )
    if "cookie" in request.headers:
        # As a browser would, and must (design 4.3). Without need it is not said: proxies rewrite the Host.
        request.headers.setdefault("origin", str(base).rstrip("/"))
    return request


async def _read(response: httpx2.Response, ask: Ask, report: Report) -> None:
    many = len(ask.targets) > 1
    wanted = _MEDIA_TYPES.get(ask.transport, ()) if many or ask.transport != "long-poll" else ()
    if response.status_code == 200 and wanted:
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in wanted:
            kind = Kind.MISFIT if many else Kind.REFUSED
            report.failed(ask.number, Failure(kind, ValueError(f"answers {media_type}")))
        elif ask.transport == "long-poll":
            report.answer(ask.number, _events(await _body(response, ask, report)))
        else:
            await (_read_events if ask.transport == "sse" else _read_lines)(response, ask, report)
        return
    body = await _body(response, ask, report)
    headers: Mapping[str, str] = response.headers
    if many:
        answer: News | Failure = of_many(response.status_code, headers, body, time.time())
    else:
        answer = of_answer(ask.transport, response.status_code, headers, body, time.time())
    if isinstance(answer, Failure):
        report.failed(ask.number, answer)
    else:
        report.news(ask.number, answer)


async def _body(response: httpx2.Response, ask: Ask, report: Report) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        report.alive(ask.number)
    return bytes(body)


def _events(body: bytes) -> list[Event]:
    """Those of a whole answer. Raises ``ValueError`` where it is no array."""
    found = (_known(bytes(raw)) for raw in msgspec.json.decode(body, type=list[msgspec.Raw]))
    return [event for event in found if event is not None]


async def _read_events(response: httpx2.Response, ask: Ask, report: Report) -> None:
    one, many = ask.targets[0], len(ask.targets) > 1
    parser = Parser(max_event=MAX_MESSAGE, last_event_id="" if many else one.etag or "")
    cause: Exception = EOFError("the event stream ended")
    try:
        async for chunk in response.aiter_bytes():
            report.alive(ask.number)
            for event in parser.feed(chunk):
                if many:
                    _tell(_known(event.data), ask, report)
                elif _told(of_sse(event, text=one.text), ask, report):
                    return
    except (_transport_error(), ValueError) as error:
        cause = error
    again = None if parser.retry is None else parser.retry / 1000
    report.failed(ask.number, Failure(Kind.DROPPED, cause, again))


async def _read_lines(response: httpx2.Response, ask: Ask, report: Report) -> None:
    splitter, many = Splitter(MAX_MESSAGE), len(ask.targets) > 1
    cause: Exception = EOFError("the stream of lines ended")
    again: float | None = None
    try:
        async for chunk in response.aiter_bytes():
            report.alive(ask.number)
            for line in splitter.feed(chunk):
                event = _known(line)
                if isinstance(event, RetryEvent):
                    again = event.ms / 1000
                elif many:
                    _tell(event, ask, report)
                elif event is not None and _told(of_event(event), ask, report):
                    return
    except (_transport_error(), ValueError) as error:
        cause = error
    report.failed(ask.number, Failure(Kind.DROPPED, cause, again))


def _known(line: str | bytes) -> Event | None:
    """None for a kind of event that a later server adds."""
    try:
        return parse_event(line)
    except ValueError:
        return None


def _tell(event: Event | None, ask: Ask, report: Report) -> None:
    if event is not None:
        report.event(ask.number, event)


def _told(news: News | None, ask: Ask, report: Report) -> bool:
    """Whether that was the end."""
    if news is not None:
        report.news(ask.number, news)
    return isinstance(news, Ended)


def _transport_error() -> type[Exception]:
    import httpx2

    return httpx2.HTTPError
