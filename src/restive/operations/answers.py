"""The responses of an operation's URIs: documents, problems, results, with what HTTP says of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import Problem
from ..http.validators import make_tag, none_match
from .record import Gone, OperationRecord, Place

__all__ = ["answer_of", "document", "gone", "json_answer", "not_found", "problem_answer", "retry_after"]

PRIVATE = "private, no-cache"
IMMUTABLE = "private, max-age=31536000, immutable"


def problem_answer(problem: Problem) -> Response:
    """A problem document as a response; no cache keeps it."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(problem.body(), problem.status, headers, problem.media_type)


def not_found() -> Problem:
    """What is answered of an operation that is not there, and of another one's owner just the same."""
    return Problem(404, "There is no such operation")


def gone(trace: Gone | OperationRecord) -> Problem:
    """What is answered of an operation that was there."""
    deleted = isinstance(trace, Gone) and trace.why == "deleted"
    detail = "It was deleted." if deleted else "It was finished and has been kept as long as was promised."
    return Problem(410, "The operation is gone", detail)


def retry_after(operation: OperationRecord) -> str:
    """Seconds after which a poll is worth while: half of the time left, within a second and half a minute."""
    eta = operation.progress.eta
    return str(1 if eta is None else max(1, min(30, round(eta / 2))))


def document(operation: OperationRecord, place: Place | None = None) -> bytes:
    """The operation as JSON; ``place`` is its place in the queue."""
    return msgspec.json.encode(operation.document(place))


def answer_of(request: Request, operation: OperationRecord, place: Place | None = None) -> Response:
    """The answer to a GET of the operation."""
    headers = {} if operation.final else {"Retry-After": retry_after(operation)}
    return json_answer(request, document(operation, place), final=operation.final, headers=headers)


def json_answer(
    request: Request, body: bytes, *, final: bool, headers: Mapping[str, str] | None = None
) -> Response:
    """A 200 or 304 with a strong ETag.

    To a look of Restive's own a ``final`` representation says that it never changes, which ends the watch.
    Nobody else is told so: it can still be deleted, and a cache should then ask.
    """
    look: Any = request.scope.get("restive", {}).get("look")
    tag = make_tag(body)
    fields = {"Cache-Control": IMMUTABLE if final and look else PRIVATE, "ETag": tag, **(headers or {})}
    asked = request.headers.get("if-none-match")
    if asked is not None and none_match(asked, tag):
        return Response(status_code=304, headers=fields)
    return Response(body, headers=fields, media_type="application/json")
