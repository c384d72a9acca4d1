"""A look: the GET that Restive makes by itself to see what a watcher would see (design 2.3).

One task of its own with an empty context, so that no ContextVar of one watcher reaches another's
look. The answer is ready with the last body message; the app's call may go on behind it
(background tasks, ``yield`` dependencies) and sees ``http.disconnect`` only then.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..http.fields import Fields, get, lowered, media_type
from ..http.live import LIVE_TYPES

log = logging.getLogger("restive.look")

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Answer:
    """What a look was answered.

    ``status`` is 0 where there was none (``error`` says why). ``whole`` tells that ``body`` is all
    of it; ``stream`` that the response is a stream of the app's own, which cannot be watched.
    """

    __slots__ = ("body", "endpoint", "error", "fields", "status", "stream", "whole")

    def __init__(self, status: int, fields: Fields, body: bytes = b"", *, whole: bool = True) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.whole = whole
        self.stream = False
        self.error = ""
        self.endpoint: Any = None
        """The app's function that answered, where its router says so."""


class Look:
    """One run of the app's GET. ``done`` is called exactly once, on the loop, unless it is cancelled."""

    __slots__ = (
        "_answer",
        "_app",
        "_asked",
        "_chunks",
        "_complete",
        "_done",
        "_limit",
        "_scope",
        "_size",
        "_task",
        "_timer",
    )

    def __init__(
        self, app: ASGIApp, scope: dict[str, Any], limit: int, done: Callable[[Answer], None]
    ) -> None:
        self._app = app
        self._scope = scope
        self._limit = limit
        self._done: Callable[[Answer], None] | None = done
        self._answer: Answer | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._asked = False
        self._complete: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(
        self,
        timeout: float,
        tasks: set[asyncio.Task[None]],
        context: contextvars.Context | None = None,
    ) -> None:
        """Begin, in an empty context unless one is given.

        After ``timeout`` seconds without a whole answer the look is cancelled.
        """
        loop = asyncio.get_running_loop()
        self._complete = asyncio.Event()
        self._timer = loop.call_later(timeout, self._time_out)
        self._task = loop.create_task(
            self._run(), context=contextvars.Context() if context is None else context
        )
        tasks.add(self._task)
        self._task.add_done_callback(tasks.discard)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._done = None
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _finish(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
        if self._complete is not None:
            self._complete.set()
        if done is not None:
            done(answer)

    def _fail(self, error: str) -> None:
        answer = Answer(0, ())
        answer.error = error
        self._finish(answer)

    def _time_out(self) -> None:
        answer = self._answer
        if answer is not None and answer.status == 200 and self._chunks:
            self._cut(answer)
        else:
            self._fail("no whole answer in time")
            self._stop()

    def _cut(self, answer: Answer) -> None:
        """The answer is too long to be held: what there is tells renderings apart, as far as it goes."""
        answer.body, answer.whole = b"".join(self._chunks)[: self._limit], False
        self._finish(answer)
        self._stop()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError:
            # Ours (too late, too long, nobody waits) or the app's own; either way the look is over.
            self._fail("the look was cancelled")
            return
        except Exception as error:
            if self._done is None:
                log.warning("GET %s raised behind its response: %r", self._scope["path"], error)
                return
            log.error("A look at %s raised", self._scope["path"], exc_info=error)
            self._fail(f"the app raised {type(error).__name__}")
            return
        if self._done is not None:
            self._fail("the app returned without a whole response")

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._complete is not None:
            await self._complete.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._done is None:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body" and self._answer is not None:
            self._take(self._answer, message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, message: Message) -> None:
        fields = lowered(message.get("headers", ()))
        self._answer = answer = Answer(message["status"], fields)
        answer.endpoint = self._scope.get("endpoint")
        kind = media_type(get(fields, b"content-type"))
        if answer.status == 200 and (kind in LIVE_TYPES or kind.startswith("multipart/")):
            self._refuse_stream(answer)
        elif _length(fields) > self._limit:
            answer.whole = False
            self._finish(answer)
            self._stop()

    def _refuse_stream(self, answer: Answer) -> None:
        answer.stream = True
        self._finish(answer)
        self._stop()

    def _take(self, answer: Answer, body: bytes, *, more: bool) -> None:
        if more and not self._chunks and answer.status == 200 and _length(answer.fields) < 0:
            self._refuse_stream(answer)
            return
        self._chunks.append(body)
        self._size += len(body)
        if self._size > self._limit:
            self._cut(answer)
        elif not more:
            answer.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._finish(answer)


def _length(fields: Fields) -> int:
    value = get(fields, b"content-length")
    return int(value) if value is not None and value.isascii() and value.isdigit() else -1
