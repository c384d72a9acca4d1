"""Asks an app for its resources without a server: starts its lifespan and makes looks at it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from ..http.key import Neutral, look_scope, request_key
from ..hub.look import Answer, Look
from .exits import EXIT_START_UP, Failure
from .verdict import Verdict, judge, not_watchable

__all__ = ["Asking"]


class Asking:
    """An app that is started, for as long as the ``async with`` block lasts."""

    def __init__(self, app: Any, live: Any, headers: dict[str, str]) -> None:
        self._app, self._live = app, live
        self._fields = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        self._neutral = Neutral(neutral=live.settings.neutral, ignore_cookies=live.settings.ignore_cookies)
        self._tasks: set[asyncio.Task[None]] = set()
        self._state: dict[str, Any] = {}
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._lifespan: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._lifespan = asyncio.create_task(self._live_on())
        answer = await self._say("lifespan.startup")
        if answer["type"] == "lifespan.startup.failed":
            # Starlette sends the traceback, whose last line is the error.
            said = str(answer.get("message") or "it does not say why").strip().splitlines()[-1]
            raise Failure(f"The app does not start: {said}", EXIT_START_UP)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._say("lifespan.shutdown")
        assert self._lifespan is not None
        await self._lifespan

    async def _say(self, event: str) -> dict[str, Any]:
        self._to_app.put_nowait({"type": event})
        return await self._from_app.get()

    async def _live_on(self) -> None:
        """An app without a lifespan raises or returns at once, which is as good as an answer."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}

        async def answered(message: dict[str, Any]) -> None:
            self._from_app.put_nowait(message)

        try:
            await self._app(scope, self._to_app.get, answered)
        except Exception as error:  # noqa: BLE001 - ASGI lets an app refuse the lifespan by raising anything
            self._from_app.put_nowait({"type": "lifespan.none", "message": str(error)})
        else:
            self._from_app.put_nowait({"type": "lifespan.none"})

    async def verdict(self, target: str) -> Verdict:
        """What a GET of ``target`` says of its watches."""
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "server": ("testserver", 80),
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"testserver"), *self._fields],
        }
        key = request_key(scope, self._neutral, extra=self._live.settings.key)
        if not self._live.may_watch(key.path):
            return not_watchable("taken out by live.never or targets=")
        answer = await self._look(look_scope(key, state=self._state, app=None, reason="first"))
        return judge(answer, self._live.settings)

    async def _look(self, scope: dict[str, Any]) -> Answer:
        settings = self._live.settings
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        look = Look(self._app, scope, settings.max_representation, answered.set_result)
        look.start(settings.look_timeout, self._tasks)
        return await answered
