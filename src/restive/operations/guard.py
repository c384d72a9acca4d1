"""What every request to an operation's URI passes before the app's own guards: origin and size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from ..errors import Problem
from ..http.fields import Fields, get
from ..http.origin import allowed
from ..settings import Settings
from .answers import problem_answer
from .forms import FormRequest
from .submission import storage_problem

__all__ = ["guarded"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Handler = Callable[[Request], Awaitable[Response]]


class _TooLarge(Exception):
    """More bytes than ``max_upload`` came."""


def guarded(handler: Handler, settings: Settings, folder: Callable[[], Path]) -> Handler:
    """``handler`` behind the guards; its uploads go to ``folder``, a ``Problem`` it raises is answered."""

    async def handle(request: Request) -> Response:
        limit = _Limit(request.receive, settings.max_upload)
        try:
            _check_origin(request, settings)
            _check_length(request, settings.max_upload)
            return await handler(FormRequest(request.scope, limit.receive, folder))
        except Problem as problem:
            return problem_answer(problem)
        except Exception as error:
            # FastAPI turns whatever ends the reading of a body into a 400.
            if limit.exceeded:
                return problem_answer(_too_large(settings.max_upload))
            if isinstance(error.__cause__, OSError):
                return problem_answer(storage_problem(error.__cause__))
            raise

    return handle


class _Limit:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit
        self.exceeded = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.exceeded = True
            raise _TooLarge
        return message


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Problem:
    return Problem(413, detail=f"A body has at most {limit} bytes here.", headers={"Connection": "close"})


def _check_origin(request: Request, settings: Settings) -> None:
    """Refuse a page of another origin that uses the user's cookies (S24)."""
    fields: Fields = tuple(request.scope["headers"])
    if request.method in SAFE or get(fields, b"cookie") is None:
        return
    if get(fields, b"sec-fetch-site") == "none":
        return
    authority = get(fields, b"host") or ""
    if not allowed(fields, authority, public_url=settings.public_url, allow_origins=settings.allow_origins):
        detail = (
            "With a cookie this takes Sec-Fetch-Site: same-origin, or an Origin that is the app's own "
            "or in allow_origins=."
        )
        raise Problem(403, "This origin is not allowed", detail)
