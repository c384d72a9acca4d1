"""A response that cannot be finished must not look finished.

Some middleware ends a body properly although the app has raised (Starlette's ``BaseHTTPMiddleware`` does),
and a chunked body says nothing of its length. So who gives a body up says so past the middleware.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

__all__ = ["CUT", "cut_off"]

CUT = "restive.cut"
"""Where a request's scope has what ``cut_off`` calls."""


def cut_off(scope: MutableMapping[str, Any]) -> None:
    """From now on nothing of this request's response is sent: its next message raises ``CutOff``."""
    cut: Callable[[], None] | None = scope.get(CUT)
    if cut is not None:
        cut()
