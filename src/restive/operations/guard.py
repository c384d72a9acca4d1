"""What every request to an operation's URI passes before the app's own guards: origin, size, key."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from ..errors import BackendError, Problem
from ..http.fields import Fields, media_type
from ..http.origin import check_unsafe
from ..settings import Settings
from .answers import problem_answer
from .arriving import Arrivals
from .forms import FormRequest
from .submission import storage_problem

__all__ = ["Guards"]

logger = logging.getLogger("restive.operations")

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

Handler = Callable[[Request], Awaitable[Response]]


class _TooLarge(Exception):
    """More bytes than ``max_upload`` came."""


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards of one route. Uploads go to ``folder``.

    ``arrivals``: its requests may have an Idempotency-Key; ``form``: it takes a form.
    """

    settings: Settings
    folder: Callable[[], Path]
    arrivals: Arrivals | None = None
    form: bool = False

    def around(self, handler: Handler) -> Handler:
        """``handler`` behind the guards; a ``Problem`` that it raises is answered."""

        async def handle(request: Request) -> Response:
            limit = _Limit(request.receive, self.settings.max_upload)
            try:
                self._check(request)
                return await self._arrived(handler, request, limit.receive)
            except Problem as problem:
                return problem_answer(problem)
            except BackendError as error:
                logger.error("Operations cannot be reached: %s", error)
                return problem_answer(_away())
            except Exception as error:
                # FastAPI turns whatever ends the reading of a body into a 400.
                if limit.exceeded:
                    return problem_answer(_too_large(self.settings.max_upload))
                if isinstance(error.__cause__, OSError):
                    return problem_answer(storage_problem(error.__cause__))
                raise

        return handle

    async def _arrived(self, handler: Handler, request: Request, receive: Receive) -> Response:
        arrival = None if self.arrivals is None else await self.arrivals.admit(request, receive)
        try:
            return await handler(FormRequest(request.scope, receive, self.folder, arrival))
        finally:
            if arrival is not None:
                await arrival.release()

    def _check(self, request: Request) -> None:
        fields: Fields = tuple(request.scope["headers"])
        own, others = self.settings.public_url, self.settings.allow_origins
        check_unsafe(request.method, fields, public_url=own, allow_origins=others)
        _check_length(request, self.settings.max_upload)
        if self.form:
            _check_form(request)


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


def _away() -> Problem:
    detail = "What operations are stored in cannot be reached now."
    return Problem(503, "Operations are away", detail, headers={"Retry-After": "5"})


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _check_form(request: Request) -> None:
    given = media_type(request.headers.get("content-type"))
    if given and given not in FORMS:
        detail = f"This takes a form ({' or '.join(FORMS)}), not {given}."
        raise Problem(415, detail=detail, headers={"Accept": ", ".join(FORMS), "Connection": "close"})


def _too_large(limit: int) -> Problem:
    return Problem(413, detail=f"A body has at most {limit} bytes here.", headers={"Connection": "close"})
