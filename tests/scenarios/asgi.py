"""One ASGI call of an app in the loop of the test: for what no real server varies (the client address)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self
from urllib.parse import unquote

PUBLIC = ("203.0.113.5", 4711)


def http_scope(
    target: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    client: tuple[str, int] | None = PUBLIC,
    **extra: Any,
) -> dict[str, Any]:
    """The scope that uvicorn would make of this request."""
    path, _, query = target.partition("?")
    fields = [("host", "shop.test"), *headers]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "server": ("shop.test", 80),
        "client": client,
        "root_path": "",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
        "state": {},
        **extra,
    }


class Call:
    """A request whose answer is collected as it comes; leaving the ``async with`` disconnects the client."""

    def __init__(self, app: Any, target: str, *, body: bytes = b"", **scope: Any) -> None:
        self._app = app
        self._scope = http_scope(target, **scope)
        self._incoming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._news = asyncio.Condition()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.raw = b""
        self.complete = False

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(self.task)
        finally:
            self.task.cancel()

    def disconnect(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def _run(self) -> None:
        await self._app(self._scope, self._incoming.get, self._send)
        async with self._news:
            self._news.notify_all()

    async def _send(self, message: Mapping[str, Any]) -> None:
        async with self._news:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {n.decode(): v.decode() for n, v in message.get("headers", [])}
            elif message["type"] == "http.response.body":
                self.raw += message.get("body", b"")
                self.complete = not message.get("more_body", False)
            self._news.notify_all()

    async def until(self, condition: Callable[[Call], bool], timeout: float = 8.0) -> None:
        """Wait until what has been sent so far meets the condition."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: condition(self) or self.task.done())
        if not condition(self):
            self.task.result()
            raise AssertionError(f"ended with {self.status}: {self.raw!r}")


async def get(app: Any, target: str, **scope: Any) -> Call:
    """A whole answer."""
    async with Call(app, target, **scope) as call:
        await call.until(lambda c: c.complete)
    return call
