"""Every way to watch, behind one interface: ``next()`` gives what the server says, in the order it says it.

Written from the protocol alone, so that it shares no mistake with the code under test.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import httpx2
from websockets.asyncio.client import ClientConnection, connect

Client = httpx2.AsyncClient
TIMEOUT = 8.0


@dataclass(frozen=True)
class State:
    etag: str | None
    data: Any


@dataclass(frozen=True)
class Patch:
    etag: str
    base: str
    ops: Any


@dataclass(frozen=True)
class Current:
    etag: str | None


@dataclass(frozen=True)
class Fetch:
    etag: str | None


@dataclass(frozen=True)
class End:
    status: int
    document: Mapping[str, Any] = field(default_factory=dict)


Seen = State | Patch | Current | Fetch | End


class Lost(ConnectionError):
    """The connection ended although the watch had not."""


def new_client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(trust_env=False, verify=False, timeout=30, limits=limits)


def seen(event: Mapping[str, Any]) -> Seen:
    """What one object of the socket (or of NDJSON) says."""
    etag = event.get("etag")
    if "error" in event:
        return End(event["error"]["status"], event["error"])
    if "end" in event:
        return End(event["end"]["status"], event["end"])
    if event.get("current"):
        return Current(etag)
    if event.get("fetch"):
        return Fetch(etag)
    if "patch" in event:
        return Patch(etag, event["base"], event["patch"])
    return State(etag, event["data"] if "data" in event else event["text"])


def content(response: httpx2.Response) -> Any:
    """The body as JSON where it is that, as text where it is not."""
    return json.loads(response.text) if "json" in response.headers.get("content-type", "") else response.text


def ended(response: httpx2.Response) -> End:
    document = content(response)
    known = {"location": response.headers["location"]} if "location" in response.headers else {}
    return End(response.status_code, {**known, **(document if isinstance(document, dict) else {})})


class Watch:
    """One watch of one target. ``raw`` is every byte the server has sent for it so far."""

    root = ""
    """The path below which the live app is mounted."""

    def __init__(self, url: str, target: str, etag: str | None, headers: Mapping[str, str]) -> None:
        self.url, self.target, self.etag, self.headers = url, target, etag, dict(headers)
        self.raw = b""
        self.response: httpx2.Response | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def receive(self) -> Seen:
        raise NotImplementedError

    async def next(self, timeout: float = TIMEOUT) -> Seen:
        async with asyncio.timeout(timeout):
            event = await self.receive()
        self.etag = getattr(event, "etag", None) or self.etag
        return event

    async def state(self, data: Any, timeout: float = TIMEOUT) -> State:
        """The next state that holds ``data``; states may be skipped on the way, an end may not come."""
        async with asyncio.timeout(timeout):
            while True:
                event = await self.next(timeout)
                assert not isinstance(event, End), event
                if isinstance(event, State) and event.data == data:
                    return event

    async def end(self, timeout: float = TIMEOUT) -> End:
        """The end of the watch; states may come before it."""
        async with asyncio.timeout(timeout):
            while not isinstance(event := await self.next(timeout), End):
                pass
        return event

    async def nothing(self, seconds: float) -> None:
        """Nothing is said for so long. The watch stays usable only where the test is over."""
        try:
            event = await self.next(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {event}")


IN_FRAMES = {"accept", "accept-language", "authorization"}
"""Fields that the socket takes with a watch; the others go with its handshake, as browsers send them."""


class SocketWatch(Watch):
    """``/-/live`` as a WebSocket."""

    patch = False

    async def open(self) -> None:
        handshake = {name: value for name, value in self.headers.items() if name not in IN_FRAMES}
        self.socket: ClientConnection = await connect(
            f"{self.url.replace('http', 'ws', 1)}{self.root}/-/live",
            subprotocols=["restive.v1"],
            additional_headers=handshake,
            origin=self.url if "cookie" in handshake else None,
            proxy=None,
            close_timeout=1,
        )
        frame: dict[str, Any] = {"watch": self.target}
        if self.etag:
            frame["etag"] = self.etag
        if in_frame := {name: value for name, value in self.headers.items() if name in IN_FRAMES}:
            frame["headers"] = in_frame
        if self.patch:
            frame["patch"] = True
        await self.send(frame)

    async def close(self) -> None:
        await self.socket.close()

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self.socket.send(json.dumps(frame))

    async def frame(self) -> Any:
        """The next frame, whatever it is about."""
        async with asyncio.timeout(TIMEOUT):
            return json.loads(await self.socket.recv())

    async def receive(self) -> Seen:
        while True:
            frame = await self.socket.recv()
            assert isinstance(frame, str)
            self.raw += frame.encode() + b"\n"
            event = json.loads(frame)
            if "retry" not in event:
                assert event.get("on") == self.target, event
                return seen(event)


class StreamWatch(Watch):
    """An endless response: event stream or NDJSON."""

    def request(self) -> tuple[str, dict[str, str]]:
        raise NotImplementedError

    def events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Seen]:
        raise NotImplementedError

    async def open(self) -> None:
        self._client = new_client()
        target, headers = self.request()
        request = self._client.build_request("GET", self.url + target, headers=headers)
        async with asyncio.timeout(TIMEOUT):
            self.response = await self._client.send(request, stream=True)
        self._events = self.events(self._chunks(self.response))
        self._step: asyncio.Future[Seen] | None = None

    async def _chunks(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes():
                self.raw += chunk
                yield chunk
        except httpx2.TransportError as error:
            raise Lost(str(error)) from error

    async def close(self) -> None:
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait([self._step])
        if self.response is not None:
            await self.response.aclose()
        await self._client.aclose()

    async def receive(self) -> Seen:
        assert self.response is not None
        if self.response.status_code != 200:
            self.raw += await self.response.aread()
            return ended(self.response)
        while True:
            try:
                # A timeout must not close the generator, so its step runs as a task of its own.
                self._step = self._step or asyncio.ensure_future(anext(self._events))
                event = await asyncio.shield(self._step)
            except StopAsyncIteration:
                raise Lost("the stream ended") from None
            self._step = None
            return event


async def sse_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, str, str | None]]:
    """(name, data, id) of each event that has data: what of the WHATWG algorithm a server needs."""
    rest = b""
    async for chunk in chunks:
        rest += chunk
        *blocks, rest = rest.replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            fields: dict[str, list[str]] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                fields.setdefault(name, []).append(value.removeprefix(" "))
            if "data" in fields:
                yield fields.get("event", [""])[-1], "\n".join(fields["data"]), fields.get("id", [None])[-1]


class SSEWatch(StreamWatch):
    """An event stream at the resource's own URI, spelled in the query."""

    def request(self) -> tuple[str, dict[str, str]]:
        return with_query(self.target, {"live": "sse", "etag": self.etag}), self.headers

    async def events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Seen]:
        async for name, data, id_ in sse_events(chunks):
            if name == "end":
                document = json.loads(data)
                yield End(document["status"], document)
            elif name in {"current", "fetch"}:
                assert data == "{}"
                yield Current(id_) if name == "current" else Fetch(id_)
            else:
                yield State(id_, self._data(data))

    def _data(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text


class SSEHeaderWatch(SSEWatch):
    """The same, asked for by ``Accept`` and ``Last-Event-ID``."""

    def request(self) -> tuple[str, dict[str, str]]:
        resume = {"Last-Event-ID": self.etag} if self.etag else {}
        return self.target, {"Accept": "text/event-stream", **resume, **self.headers}


class NDJSONWatch(StreamWatch):
    """The socket's objects, a line each, spelled in the query."""

    def request(self) -> tuple[str, dict[str, str]]:
        return with_query(self.target, {"live": "ndjson", "etag": self.etag}), self.headers

    async def events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Seen]:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                event = json.loads(line)
                if "retry" not in event:
                    assert event.get("on") == self.target, event
                    yield seen(event)


class NDJSONHeaderWatch(NDJSONWatch):
    """The same, asked for by ``Accept``."""

    def request(self) -> tuple[str, dict[str, str]]:
        resume = {"Last-Event-ID": self.etag} if self.etag else {}
        return self.target, {"Accept": "application/x-ndjson", **resume, **self.headers}


class MultiNDJSONWatch(NDJSONWatch):
    """``/-/live`` as NDJSON, with one target."""

    def request(self) -> tuple[str, dict[str, str]]:
        return with_query(
            "/-/live", {"live": "ndjson", "watch": self.target, "etag": self.etag}
        ), self.headers


class MultiSSEWatch(StreamWatch):
    """``/-/live`` as an event stream whose data are the socket's objects."""

    def request(self) -> tuple[str, dict[str, str]]:
        return with_query(
            f"{self.root}/-/live", {"live": "sse", "watch": self.target, "etag": self.etag}
        ), self.headers

    async def events(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Seen]:
        async for _, data, _ in sse_events(chunks):
            event = json.loads(data)
            assert event.get("on") == self.target, event
            yield seen(event)


class PollWatch(Watch):
    """GET with ``If-None-Match``, again and again. That there is no news is told only once."""

    pause = 0.02

    async def open(self) -> None:
        self._client = new_client()
        self._first = True
        self.failures: list[httpx2.Response] = []

    async def close(self) -> None:
        await self._client.aclose()

    def request(self) -> tuple[str, dict[str, str]]:
        return self.target, {**({"If-None-Match": self.etag} if self.etag else {}), **self.headers}

    async def receive(self) -> Seen:
        while True:
            target, headers = self.request()
            self.response = response = await self._client.get(self.url + target, headers=headers)
            self.raw += response.content
            first, self._first = self._first, False
            if response.status_code in {204, 304}:
                if first:
                    return Current(response.headers.get("etag") or self.etag)
            elif response.status_code == 429 or response.status_code >= 500:
                self.failures.append(response)
                await asyncio.sleep(0.05)
            elif response.status_code == 200:
                return State(response.headers.get("etag"), content(response))
            else:
                return ended(response)
            await asyncio.sleep(self.pause)


class LongPollWatch(PollWatch):
    """A GET that waits for another tag, spelled in the query."""

    pause = 0.0

    def request(self) -> tuple[str, dict[str, str]]:
        wait = "1" if self._first else "20"
        query = {"live": "long-poll", "etag": self.etag, "wait": wait, "n": secrets.token_hex(4)}
        return with_query(self.target, query), self.headers


class LongPollHeaderWatch(LongPollWatch):
    """The same, asked for by ``Prefer``."""

    def request(self) -> tuple[str, dict[str, str]]:
        resume = {"If-None-Match": self.etag} if self.etag else {}
        return self.target, {"Prefer": f"wait={1 if self._first else 20}", **resume, **self.headers}


def with_query(target: str, parameters: Mapping[str, str | None]) -> str:
    pairs = [f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None]
    return target + ("&" if "?" in target else "?") + "&".join(pairs)


WAYS: dict[str, type[Watch]] = {
    "websocket": SocketWatch,
    "sse-query": SSEWatch,
    "sse-header": SSEHeaderWatch,
    "ndjson-query": NDJSONWatch,
    "ndjson-header": NDJSONHeaderWatch,
    "long-poll-query": LongPollWatch,
    "long-poll-header": LongPollHeaderWatch,
    "poll": PollWatch,
    "multi-sse": MultiSSEWatch,
    "multi-ndjson": MultiNDJSONWatch,
}
PUSHING = [name for name in WAYS if "poll" not in name]
LONG_POLLS = ["long-poll-query", "long-poll-header"]


def watch(
    way: str, url: str, target: str, *, etag: str | None = None, headers: Mapping[str, str] | None = None
) -> Watch:
    """A watch of ``target``, opened by ``async with``."""
    return WAYS[way](url, target, etag, headers or {})
