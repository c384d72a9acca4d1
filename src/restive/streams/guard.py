"""What every request to a stream's URI passes before the app's own guards, and how problems are answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from ..errors import BackendError, Problem
from ..http.fields import Fields, get
from ..http.origin import check_unsafe, same_origin
from ..settings import Settings

__all__ = ["EXPOSED", "Guards", "problem_answer"]

logger = logging.getLogger("restive.streams")

METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS"

EXPOSED = (
    "etag, location, retry-after, stream-next-offset, stream-up-to-date, stream-closed, stream-cursor, "
    "stream-ttl, stream-expires-at, stream-sse-data-encoding, producer-epoch, producer-seq, "
    "producer-expected-seq, producer-received-seq"
)
"""Response fields that a page of an allowed origin may read."""

ALLOWED = (
    "accept, authorization, content-type, if-none-match, last-event-id, stream-closed, stream-seq, "
    "stream-ttl, stream-expires-at, producer-id, producer-epoch, producer-seq"
)
"""Request fields that it may send."""

Handler = Callable[[Request], Awaitable[Response]]


class Guards:
    """The guards of a stream's routes."""

    def __init__(self, settings: Settings, *, public: bool) -> None:
        self._settings = settings
        # Protocol section 12.7. A page that is allowed to read does so by CORS, which this does not touch.
        policy = "cross-origin" if public else "same-origin"
        self._always = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": policy}

    def around(self, handler: Handler) -> Handler:
        """``handler`` behind the guards; a ``Problem`` that it raises is answered."""

        async def handle(request: Request) -> Response:
            try:
                fields: Fields = tuple(request.scope["headers"])
                own, others = self._settings.public_url, self._settings.allow_origins
                check_unsafe(request.method, fields, public_url=own, allow_origins=others)
                response = await handler(request)
            except Problem as problem:
                response = problem_answer(problem)
            except BackendError as error:
                logger.error("Streams cannot be reached: %s", error)
                response = problem_answer(_away())
            for name, value in {**self._always, **self._cors(request)}.items():
                response.headers.setdefault(name, value)
            return response

        return handle

    def _cors(self, request: Request) -> Mapping[str, str]:
        """What lets a page of an allowed origin read the answer."""
        fields: Fields = tuple(request.scope["headers"])
        origin = get(fields, b"origin")
        if origin is None or origin not in self._settings.allow_origins:
            return {"Vary": "Origin"} if self._settings.allow_origins else {}
        if same_origin(origin, get(fields, b"host") or ""):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": EXPOSED,
            "Vary": "Origin",
        }

    async def preflight(self, request: Request) -> Response:
        """What such a page may send."""
        fields = {"Allow": METHODS, "Cache-Control": "no-store"}
        if "Access-Control-Allow-Origin" in self._cors(request):
            fields |= {
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": ALLOWED,
                "Access-Control-Max-Age": "600",
            }
        return Response(status_code=204, headers=fields)


def problem_answer(problem: Problem) -> Response:
    """A problem document as a response; no cache keeps it."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(problem.body(), problem.status, headers, problem.media_type)


def _away() -> Problem:
    detail = "What streams are stored in cannot be reached now."
    return Problem(503, "Streams are away", detail, headers={"Retry-After": "5"})
