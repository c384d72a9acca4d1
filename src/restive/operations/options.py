"""What a request's own dependencies say of its operation: priority, earliest start, whom to tell.

FastAPI solves them (``priority=``, ``not_before=``, ``webhook=`` of the declaration); here their values
are checked. They come from the app, so nonsense is the app's mistake: the value is logged, and the client
gets a 500 without it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import Problem
from ..settings import Settings
from .declaration import Declaration
from .notices import check_url

__all__ = ["OPTIONS", "Options", "options_of"]

logger = logging.getLogger("restive.operations")

OPTIONS = ("priority", "not_before", "webhook")
"""The options that may be dependencies of a request."""

HIGHEST = 2**31 - 1
LATEST = 253_402_300_799.0
"""The last second that a date can show (end of the year 9999)."""


@dataclass(frozen=True, slots=True)
class Options:
    """The checked values; ``not_before`` in Unix time."""

    priority: int = 0
    not_before: float | None = None
    webhook: str | None = None


def options_of(
    declaration: Declaration, solved: Mapping[str, Any], settings: Settings, now: float
) -> Options:
    """The options of one submission; ``solved`` has the values of those that are dependencies.

    Raises ``Problem``: 500 for what a dependency must not return, 422 for a webhook that is not allowed.
    """
    given = {name: solved.get(name, getattr(declaration, name)) for name in OPTIONS}
    return Options(
        _priority(given["priority"], declaration),
        _not_before(given["not_before"], declaration, now),
        _webhook(given["webhook"], declaration, settings),
    )


def _priority(value: Any, declaration: Declaration) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > HIGHEST:
        raise _nonsense(declaration, "priority", value, f"a whole number within ±{HIGHEST}")
    return int(value)


def _not_before(value: Any, declaration: Declaration, now: float) -> float | None:
    if value is None:
        return None
    when = _moment(value, now)
    if when is None or not math.isfinite(when) or when > LATEST:
        raise _nonsense(declaration, "not_before", value, "a datetime with a time zone or seconds from now")
    return when if when > now else None


def _moment(value: Any, now: float) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp() if value.utcoffset() is not None else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LATEST:
        return now + value
    return None


def _webhook(value: Any, declaration: Declaration, settings: Settings) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) and not _is_url(value):
        raise _nonsense(declaration, "webhook", value, "a URL or None")
    url = str(value)
    check_url(url, settings)
    return url


def _is_url(value: Any) -> bool:
    from pydantic import AnyUrl

    return isinstance(value, AnyUrl)


def _nonsense(declaration: Declaration, name: str, value: Any, wanted: str) -> Problem:
    logger.error("%s= of %s() gave %.200r; it is to give %s.", name, declaration.name, value, wanted)
    detail = f"{name}= of this operation gave something else than {wanted}; the server's log says what."
    return Problem(500, "The operation cannot be submitted", detail)
