"""A loop whose clock jumps to the next timer instead of waiting, and a small app to look at."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from restive.http.key import Neutral, request_key
from restive.hub.hub import Hub
from restive.hub.watch import Current, End, Event, State, Watch
from restive.settings import Settings


class _Selector(selectors.SelectSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing is left to wait for")
        self.skipped += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return 1000.0 + self._virtual.skipped


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` with a clock of its own; hours take no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)


class Page:
    """What an app would say now, and how often it was asked."""

    def __init__(self, body: bytes = b'{"n":0}', status: int = 200, **fields: str) -> None:
        self.body = body
        self.status = status
        self.fields = {
            "content-type": "application/json",
            **{k.replace("_", "-"): v for k, v in fields.items()},
        }
        self.looks: list[dict[str, Any]] = []
        self.takes = 0.0
        self.running = 0
        self.most = 0
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]] | None = None

    def times(self) -> list[float]:
        return [look["at"] for look in self.looks]

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        self.looks.append({**scope, "at": asyncio.get_running_loop().time()})
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.running -= 1
        status, fields, body = self.status, self.fields, self.body
        if self.answer is not None:
            status, fields, body = self.answer(scope)
        headers = [(k.encode(), v.encode()) for k, v in fields.items()]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Client:
    """A sink that takes everything at once."""

    fd, queued = -1, False

    def __init__(self, peer: str = "203.0.113.1") -> None:
        self.peer = peer
        self.events: list[Event] = []

    def ready(self, watch: Watch) -> None:
        asyncio.get_running_loop().call_soon(lambda: self.events.extend(watch.take()))

    @property
    def bodies(self) -> list[bytes]:
        return [event.rendering.body for event in self.events if isinstance(event, State)]

    @property
    def last(self) -> bytes:
        return self.bodies[-1]

    @property
    def ends(self) -> list[int]:
        return [event.document["status"] for event in self.events if isinstance(event, End)]

    @property
    def currents(self) -> int:
        return sum(isinstance(event, Current) for event in self.events)


class Bench:
    """A hub over one app, and clients of it."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self.settings = Settings.of(settings)
        self.idle = 0
        self.hub = Hub(app, self.settings, state=lambda: None, on_idle=lambda _: self._count())
        self._neutral = Neutral(neutral=self.settings.neutral, ignore_cookies=self.settings.ignore_cookies)

    def _count(self) -> None:
        self.idle += 1

    def watch(
        self,
        target: str = "/a",
        *,
        cursor: str | None = None,
        audience: str | None = None,
        client: Client | None = None,
        **fields: str,
    ) -> tuple[Client, Watch]:
        client = client or Client()
        headers = [(b"host", b"shop.test")]
        headers += [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
        }
        key = request_key(scope, self._neutral)
        return client, self.hub.watch(key, client, cursor=cursor, audience=audience)
