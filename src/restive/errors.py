"""Every exception that Restive raises, and the problem document (RFC 9457) that it shows to clients.

RestiveError
├── SettingError          a setting or a declaration that cannot work (also a ValueError)
├── Problem               what a client is told: status, title, detail
├── BackendError          the backend refused or lost something
│   ├── BackendUnavailable    it cannot be reached or opened now
│   └── Conflict              a compare-and-set found another version
├── Canceled              raised inside an operation whose cancel was asked for
├── Interrupted           raised inside an operation that lost its lease or its server
│   └── TimedOut              raised inside an operation that has run longer than its timeout
└── ClientError           raised by Client and AsyncClient
    ├── WatchEnded            the server ended a watch; carries the problem
    ├── OperationFailed       the operation ended as failed; carries the problem
    ├── OperationCanceled     the operation ended as canceled
    ├── RequestRefused        the server refused a request about an operation; carries the problem
    └── Unreachable           no transport could deliver anything
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

__all__ = [
    "BackendError",
    "BackendUnavailable",
    "Canceled",
    "ClientError",
    "Conflict",
    "CutOff",
    "Interrupted",
    "OperationCanceled",
    "OperationFailed",
    "Problem",
    "RequestRefused",
    "RestiveError",
    "SettingError",
    "TimedOut",
    "Unreachable",
    "WatchEnded",
]


class RestiveError(Exception):
    """The root of all exceptions of this package."""


class SettingError(RestiveError, ValueError):
    """A setting or a declaration cannot work; the message says what to write instead."""


class Problem(RestiveError):
    """A problem document (RFC 9457), raised inside and sent as ``application/problem+json``.

    ``status`` is the HTTP status, ``title`` a short constant phrase (default: the status's own),
    ``detail`` says what to do about it, ``type`` is a URI reference, ``members`` are further members.
    ``headers`` go with the response where it is sent over HTTP and are no part of the document.
    """

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        title: str = "",
        detail: str = "",
        *,
        type: str = "about:blank",  # noqa: A002 - the member's name in RFC 9457
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        self.status = status
        self.title = title or _phrase(status)
        self.detail = detail
        self.type = type
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(f"{status} {self.title}" + (f": {detail}" if detail else ""))

    def document(self) -> dict[str, Any]:
        """The members of the problem document, those that say nothing left out."""
        known: dict[str, Any] = {"status": self.status, "title": self.title}
        if self.detail:
            known["detail"] = self.detail
        if self.type != "about:blank":
            known["type"] = self.type
        return {**self.members, **known}

    def body(self) -> bytes:
        """The document as JSON bytes."""
        return msgspec.json.encode(self.document())

    @classmethod
    def from_document(cls, document: Mapping[str, Any], status: int = 500) -> Problem:
        """The problem that ``document`` describes; ``status`` is used where it names none."""
        rest = {k: v for k, v in document.items() if k not in {"status", "title", "detail", "type"}}
        found = document.get("status")
        problem = cls(
            found if isinstance(found, int) else status,
            str(document.get("title") or ""),
            str(document.get("detail") or ""),
            type=str(document.get("type") or "about:blank"),
        )
        problem.members = rest
        return problem


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


class BackendError(RestiveError):
    """The backend refused or lost something."""


class BackendUnavailable(BackendError):
    """The backend cannot be reached or opened; the message names the URL and what to set."""


class Conflict(BackendError):
    """A record was saved against a version that is no longer the current one."""


class Canceled(RestiveError):
    """Raised inside an operation once its cancel was asked for."""


class CutOff(ConnectionAbortedError):
    """The rest of a response will not come: its connection is closed, so that nobody takes it for whole.

    Raised through the app's middleware, some of which would end a body properly that is only given up.
    """


class Interrupted(RestiveError):
    """Raised inside an operation whose lease is over: another runner has it, or the server stops."""


class TimedOut(Interrupted):
    """Raised inside an operation that has run longer than its declared timeout."""


class ClientError(RestiveError):
    """The root of what ``Client`` and ``AsyncClient`` raise."""


class WatchEnded(ClientError):
    """The server ended the watch. ``problem`` tells why (404, 401, 403, …)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class OperationFailed(ClientError):
    """The operation ended as ``failed``. ``problem`` is its ``error``."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class OperationCanceled(ClientError):
    """The operation ended as ``canceled``."""


class RequestRefused(ClientError):
    """The server refused a request about an operation. ``problem`` tells why (404, 410, 403, …)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class Unreachable(ClientError):
    """No transport delivered anything; the cause is chained."""
