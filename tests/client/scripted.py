"""A server that a test tells how to misbehave: plain ASGI, written from the protocol and not from the client.

``Script`` holds resources, the behaviour of each transport, and a log of every request it got.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Receive = Any
Send = Any
Answer = tuple[int, Mapping[str, str], Any]
Route = Callable[[Mapping[str, str]], Answer]
"""From the query to status, headers and JSON."""


@dataclass
class Resource:
    """What a path holds now. ``tag`` is a number that grows; the entity tag is made from it."""

    data: Any = None
    tag: int = 0
    etag: str = ""
    final: bool = False
    end: dict[str, Any] | None = None
    fetch: bool = False
    media_type: str = "application/json"

    @property
    def body(self) -> bytes:
        if isinstance(self.data, bytes):
            return self.data
        return self.data.encode() if "text" in self.media_type else json.dumps(self.data).encode()


@dataclass
class Script:
    """The behaviours: ``ok``, or what the test wants to go wrong."""

    websocket: str = "ok"  # refuse | redirect | 502 | drop | silent | other-protocol | once
    sse: str = "ok"  # refuse | 502 | drop | silent | buffer | ignore | comments
    ndjson: str = "ok"
    long_poll: str = "ok"  # ignore | 504 | early | silent
    many: int = 200  # requests for many are refused with this status, if it is not 200
    busy: tuple[int, dict[str, str]] | None = None  # every HTTP request gets this
    heartbeat: float = 0.05
    resources: dict[str, Resource] = field(default_factory=dict)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)  # (kind, target, etag)
    headers: list[dict[str, str]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)
    sockets: int = 0  # open now
    streams: int = 0  # open now
    retry_ms: int | None = None
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)  # (method, path): before all else

    def __post_init__(self) -> None:
        self._bells: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()
        self._generation = 0

    # -- the test's side -----------------------------------------------------------------------

    def put(self, path: str, data: Any, **also: Any) -> str:
        """A new state; its tag."""
        resource = self.resources.setdefault(path, Resource())
        resource.data, resource.tag = data, resource.tag + 1
        resource.etag = also.pop("etag", f'"{resource.tag}"')
        for name, value in also.items():
            setattr(resource, name, value)
        self.ring()
        return resource.etag

    def end(self, path: str, **problem: Any) -> None:
        self.resources[path].end = problem
        self.ring()

    def finish(self, path: str) -> None:
        self.resources[path].final = True
        self.ring()

    def hang_up(self) -> None:
        """Drop every open connection, with no goodbye."""
        self._generation += 1
        self.ring()

    def ring(self) -> None:
        with self._lock:
            bells = list(self._bells.items())
        for bell, loop in bells:
            loop.call_soon_threadsafe(bell.set)

    def count(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(kind for kind, _, _ in self.log)

    @contextmanager
    def _bell(self) -> Iterator[asyncio.Event]:
        bell = asyncio.Event()
        with self._lock:
            self._bells[bell] = asyncio.get_running_loop()
        try:
            yield bell
        finally:
            with self._lock:
                del self._bells[bell]

    # -- ASGI ------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Any, receive: Receive, send: Send) -> None:
        target = scope["raw_path"].decode()
        raw = scope["query_string"].decode()
        own, _, live = raw.partition("live=")
        mode, _, rest = live.partition("&")
        asked = dict(parse_qsl(rest))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        own = own.rstrip("&")
        path = target + ("?" + own if own else "")
        kind = mode or scope["method"].lower()
        etag = asked.get("etag") if mode else headers.get("if-none-match")
        busy = self.busy  # before the log, which the test waits for
        self.log.append((kind, path, etag))
        self.headers.append(headers)
        if busy is not None:
            await self._answer(send, busy[0], b"{}", busy[1])
            return
        if mode and scope["method"] == "POST" and target.endswith("/-/live"):
            await self._many(mode, float(asked.get("wait", 30)), receive, send)
            return
        route = self.routes.get((scope["method"], target)) if not mode else None
        if route is not None:
            status, also, document = route(dict(parse_qsl(own)))
            body = b"" if document is None else json.dumps(document).encode()
            await self._answer(send, status, body, {"content-type": "application/json", **also})
            return
        resource = self.resources.get(path)
        if resource is None:
            await self._problem(send, {"status": 404, "title": "Not Found"})
            return
        if mode in {"sse", "ndjson"}:
            await self._stream(mode, path, etag, receive, send)
        elif mode == "long-poll":
            await self._long_poll(path, etag, float(asked.get("wait", 30)), receive, send)
        else:
            await self._get(resource, etag, send)

    async def _get(self, resource: Resource, etag: str | None, send: Send) -> None:
        if resource.end is not None:
            await self._problem(send, resource.end)
            return
        headers = {"etag": resource.etag, "content-type": resource.media_type}
        if resource.final:
            headers["cache-control"] = "max-age=31536000, immutable"
        if etag == resource.etag:
            await self._answer(send, 304, b"", headers)
        else:
            await self._answer(send, 200, resource.body, headers)

    async def _long_poll(
        self, path: str, etag: str | None, wait: float, receive: Receive, send: Send
    ) -> None:
        resource = self.resources[path]
        if self.long_poll == "504":
            await self._answer(send, 504, b"")
            return
        if self.long_poll == "silent":
            await self._until_gone(receive)
            return
        generation, deadline = self._generation, asyncio.get_running_loop().time() + wait
        with self._bell() as bell:
            while (
                self.long_poll == "ok" and etag == resource.etag and not resource.end and not resource.final
            ):
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or not await _rung(bell, left) or self._generation != generation:
                    break
        if self._generation != generation:
            raise ConnectionError("hung up")
        if etag == resource.etag and not resource.end and self.long_poll != "ignore":
            await self._answer(send, 204, b"", {"cache-control": "no-store"})
        else:
            await self._get(resource, None, send)

    # -- streams ---------------------------------------------------------------------------------

    async def _stream(self, mode: str, path: str, etag: str | None, receive: Receive, send: Send) -> None:
        behaviour = self.sse if mode == "sse" else self.ndjson
        resource = self.resources[path]
        if behaviour == "ignore":
            await self._get(resource, None, send)
            return
        if behaviour in {"refuse", "502"}:
            await self._answer(send, 502 if behaviour == "502" else 400, b"")
            return
        if behaviour == "silent":
            await self._until_gone(receive)
            return
        if resource.end is not None or (resource.final and etag == resource.etag):
            await (self._problem(send, resource.end) if resource.end else self._answer(send, 204, b""))
            return
        media_type = "text/event-stream" if mode == "sse" else "application/x-ndjson"
        head = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        if behaviour == "drop":
            return
        self.streams += 1
        try:
            await self._events(mode, path, etag, behaviour, receive, send)
        finally:
            self.streams -= 1

    async def _events(
        self, mode: str, path: str, etag: str | None, behaviour: str, receive: Receive, send: Send
    ) -> None:
        resource, generation = self.resources[path], self._generation
        told: str | None = None
        gone = asyncio.ensure_future(self._until_gone(receive))
        write = _sse if mode == "sse" else _line

        async def say(data: bytes, *, more: bool = True) -> None:
            if behaviour != "buffer":
                await send({"type": "http.response.body", "body": data, "more_body": more})

        with self._bell() as bell:
            while not gone.done():
                bell.clear()
                if self._generation != generation:
                    if self.retry_ms is not None:
                        await say(_retry(mode, self.retry_ms))
                    gone.cancel()
                    raise ConnectionError("hung up")
                if resource.end is not None:
                    await say(write(path, "end", resource), more=False)
                    break
                mute = "comments" in {self.sse, self.ndjson}
                if not mute and told != resource.etag:
                    first = told is None
                    told = resource.etag
                    event = "current" if first and etag == told else "fetch" if resource.fetch else "state"
                    await say(write(path, event, resource))
                elif resource.final:
                    await say(write(path, "end", resource), more=False)
                    break
                elif not await _rung(bell, self.heartbeat):
                    await say(b":\n\n" if mode == "sse" else b"\n")
        gone.cancel()

    # -- many on one response ----------------------------------------------------------------------

    async def _many(self, mode: str, wait: float, receive: Receive, send: Send) -> None:
        behaviour = {"sse": self.sse, "ndjson": self.ndjson}.get(mode, self.long_poll)
        message = await receive()
        while message.get("more_body"):
            more = await receive()
            message = {**more, "body": message["body"] + more["body"]}
        frames = [json.loads(line) for line in message["body"].splitlines()]
        self.frames += frames
        if self.many != 200 or behaviour in {"refuse", "502", "ignore"}:
            await self._answer(send, {"502": 502, "refuse": 400}.get(behaviour, self.many), b"")
            return
        if behaviour == "silent":
            await self._until_gone(receive)
            return
        teller = _Teller(self)
        teller.watched = {frame["watch"]: frame.get("etag") for frame in frames}
        teller.fresh = set(teller.watched)
        if mode == "long-poll":
            await self._poll_many(teller, wait, send)
            return
        kind = b"text/event-stream" if mode == "sse" else b"application/x-ndjson"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        self.streams += 1
        try:
            await self._stream_many(mode, teller, receive, send)
        finally:
            self.streams -= 1

    async def _stream_many(self, mode: str, teller: _Teller, receive: Receive, send: Send) -> None:
        generation = self._generation
        gone = asyncio.ensure_future(self._until_gone(receive))
        write = b"data: %b\n\n" if mode == "sse" else b"%b\n"
        with self._bell() as bell:
            while not gone.done():
                bell.clear()
                if self._generation != generation:
                    gone.cancel()
                    raise ConnectionError("hung up")
                data = b"".join(write % json.dumps(frame).encode() for frame in teller.tell())
                await send({"type": "http.response.body", "body": data, "more_body": bool(teller.watched)})
                if not teller.watched:
                    break
                if not await _rung(bell, self.heartbeat):
                    beat = b":\n\n" if mode == "sse" else b"\n"
                    await send({"type": "http.response.body", "body": beat, "more_body": True})
        gone.cancel()

    async def _poll_many(self, teller: _Teller, wait: float, send: Send) -> None:
        generation, deadline = self._generation, asyncio.get_running_loop().time() + wait
        told: dict[str, list[dict[str, Any]]] = {}
        with self._bell() as bell:
            while self._generation == generation:
                for frame in teller.tell():
                    told.setdefault(frame["on"], []).append(frame)
                left = deadline - asyncio.get_running_loop().time()
                if any("current" not in each[-1] for each in told.values()) or left <= 0:
                    break
                await _rung(bell, left)
        if self._generation != generation:
            raise ConnectionError("hung up")
        frames = [frame for each in told.values() for frame in each]
        if all("current" in frame for frame in frames):
            await self._answer(send, 204, b"")
        else:
            body = json.dumps(frames).encode()
            await self._answer(send, 200, body, {"content-type": "application/json"})

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    # -- the socket ------------------------------------------------------------------------------

    async def _socket(self, scope: Any, receive: Receive, send: Send) -> None:
        self.log.append(("websocket", scope["path"], None))
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await receive()
        refusal = {"refuse": 403, "502": 502, "redirect": 307}.get(self.websocket)
        if refusal is not None:
            fields = [(b"location", b"/elsewhere")] if refusal == 307 else []
            await send({"type": "websocket.http.response.start", "status": refusal, "headers": fields})
            await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
            return
        protocol = None if self.websocket == "other-protocol" else "restive.v1"
        await send({"type": "websocket.accept", "subprotocol": protocol})
        if self.websocket == "drop":
            await send({"type": "websocket.close", "code": 1011})
            return
        self.sockets += 1
        try:
            await _SocketServer(self, receive, send).run()
        finally:
            self.sockets -= 1

    # -- answers ---------------------------------------------------------------------------------

    async def _problem(self, send: Send, problem: dict[str, Any]) -> None:
        headers = {"content-type": "application/problem+json"}
        await self._answer(send, problem["status"], json.dumps(problem).encode(), headers)

    async def _answer(
        self, send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        fields = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if status not in {204, 304}:
            fields.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


class _Teller:
    """What there is to tell of some resources, as the socket's objects."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.watched: dict[str, str | None] = {}  # target -> the tag that the client has
        self.fresh: set[str] = set()  # of which nothing was told yet

    def tell(self) -> Iterator[dict[str, Any]]:
        for target in list(self.watched):
            resource = self._script.resources.get(target)
            if resource is None or resource.end is not None:
                problem = {"status": 404, "title": "Not Found"} if resource is None else resource.end
                yield self._end(target, problem)
            elif self.watched[target] != resource.etag:
                self.watched[target] = resource.etag
                yield {"on": target, "etag": resource.etag, **_content(resource)}
            elif target in self.fresh:
                yield {"on": target, "etag": resource.etag, "current": True}
            self.fresh.discard(target)
            if resource is not None and resource.final and target in self.watched:
                yield self._end(target, {"status": 200})

    def _end(self, target: str, document: Any) -> dict[str, Any]:
        del self.watched[target]
        return {"on": target, "end": document}


class _SocketServer:
    """One open socket."""

    def __init__(self, script: Script, receive: Receive, send: Send) -> None:
        self._script, self._receive, self._send = script, receive, send
        self._teller = _Teller(script)
        self._open = True

    async def run(self) -> None:
        reader = asyncio.ensure_future(self._read())
        generation = self._script._generation
        try:
            with self._script._bell() as self._bell:
                while self._open:
                    self._bell.clear()
                    if self._script._generation != generation:
                        await self._hang_up()
                        return
                    await self._tell()
                    await self._bell.wait()
        finally:
            reader.cancel()

    async def _hang_up(self) -> None:
        if self._script.retry_ms is not None:
            await self._frame({"retry": self._script.retry_ms})
        await self._send({"type": "websocket.close", "code": 1012})

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._open = False
                self._bell.set()
                return
            frame = json.loads(message["text"])
            self._script.frames.append(frame)
            if "watch" in frame:
                self._teller.watched[frame["watch"]] = frame.get("etag")
                self._teller.fresh.add(frame["watch"])
            else:
                self._teller.watched.pop(frame["unwatch"], None)
            self._bell.set()

    async def _tell(self) -> None:
        if self._script.websocket == "silent":
            return
        for frame in self._teller.tell():
            await self._frame(frame)
            if self._script.websocket == "once":
                self._script._generation += 1
                self._bell.set()

    async def _frame(self, frame: Any) -> None:
        await self._send({"type": "websocket.send", "text": json.dumps(frame)})


def _content(resource: Resource) -> dict[str, Any]:
    if resource.fetch:
        return {"fetch": True}
    return {"text" if "text" in resource.media_type else "data": resource.data}


def _sse(_path: str, event: str, resource: Resource) -> bytes:
    if event == "end":
        document = resource.end or {"status": 200}
        return f"event: end\ndata: {json.dumps(document)}\n\n".encode()
    tag = b"id: " + resource.etag.encode() + b"\n"
    if event == "state":
        return tag + b"".join(b"data: " + line + b"\n" for line in resource.body.split(b"\n")) + b"\n"
    return b"event: " + event.encode() + b"\n" + tag + b"data: {}\n\n"


def _line(path: str, event: str, resource: Resource) -> bytes:
    if event == "end":
        found: dict[str, Any] = {"on": path, "end": resource.end or {"status": 200}}
    else:
        found = {"on": path, "etag": resource.etag}
        found |= _content(resource) if event == "state" else {event: True}
    return json.dumps(found).encode() + b"\n"


def _retry(mode: str, ms: int) -> bytes:
    return b"retry: %d\n\n" % ms if mode == "sse" else b'{"retry": %d}\n' % ms


async def _rung(bell: asyncio.Event, timeout: float) -> bool:
    try:
        await asyncio.wait_for(bell.wait(), timeout)
    except TimeoutError:
        return False
    bell.clear()
    return True
