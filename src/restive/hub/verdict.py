"""What a look's answer means for the watch (the table of design 2.3), as a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import Problem
from ..http.fields import Fields, get, media_matches
from ..http.freshness import retry_after
from .look import Answer
from .rendering import JSON, Rendering, from_answer
from .watch import End

REFUSED = frozenset({401, 403})
LATER = frozenset({0, 408, 425, 429})
MAX_DOCUMENT = 4096
REDIRECT_FIELDS = frozenset({b"location", b"retry-after"})


class Found(NamedTuple):
    """A state."""

    rendering: Rendering


class Over(NamedTuple):
    """The watch ends; ``refused``: for the one whose request it was, whoever else shares it."""

    end: End
    refused: bool


class Later(NamedTuple):
    """No answer that counts: keep the state and look again."""

    retry_after: float | None


Verdict = Found | Over | Later


def judge(answer: Answer, *, absent_is_state: bool, now: float) -> Verdict:
    """``now`` is the Unix time, which a Retry-After date is compared with."""
    status = answer.status
    if answer.stream:
        return Over(End(_stream_problem().document()), refused=False)
    if 200 <= status < 300 and status != 206:
        return Found(from_answer(answer))
    if status == 404 and absent_is_state:
        return Found(from_answer(Answer(404, (), b"")))
    if status in LATER or status >= 500 or status < 300:
        return Later(retry_after(answer.fields, now) if status in {429, 503} else None)
    return Over(End(end_document(answer), _end_fields(answer)), refused=status in REFUSED)


def end_document(answer: Answer) -> Mapping[str, Any]:
    """The app's own problem where it sent one (RFC 9457), else one made from its status and detail."""
    problem = Problem(answer.status)
    if 300 <= answer.status < 400:
        return {**problem.document(), "location": get(answer.fields, b"location") or ""}
    kind = get(answer.fields, b"content-type")
    if len(answer.body) > MAX_DOCUMENT or not media_matches(kind, JSON):
        return problem.document()
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return problem.document()
    if not isinstance(found, dict):
        return problem.document()
    if media_matches(kind, ("application/problem+json",)):
        return {**problem.document(), **found, "status": answer.status}
    detail = found.get("detail")
    return problem.document() | ({"detail": detail} if isinstance(detail, str) and detail else {})


def _end_fields(answer: Answer) -> Fields:
    """Fields that an HTTP answer needs beside the problem: where to go, how to authenticate."""
    wanted = REDIRECT_FIELDS | {b"www-authenticate", b"allow"}
    return tuple(
        (name, value)
        for name, value in answer.fields
        if name in wanted or name.startswith(b"access-control-")
    )


def not_watchable(target: str) -> Over:
    """The verdict on a resource that the app takes out of what may be watched."""
    problem = Problem(403, "Not watchable", f"{target} is not among what may be watched. GET it.")
    return Over(End(problem.document()), refused=False)


def _stream_problem() -> Problem:
    return Problem(
        406,
        "Not watchable",
        "This resource answers with a stream of its own or without a length. Read it with a plain GET.",
    )
