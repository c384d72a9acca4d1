"""What an answer makes of a watch: is it watchable, who shares it, what does a change cost.

Pure: the functions that decide while serving decide here (design 2.1, 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..http.fields import Fields, get
from ..http.freshness import is_final, lifetime
from ..http.sharing import per_watcher, shareable
from ..hub import verdict as hub
from ..hub.look import Answer
from ..hub.rendering import Rendering
from ..settings import Settings
from .routes import Route

__all__ = ["Verdict", "judge", "not_watchable", "unasked"]

ONE = "1 look"
PER_REQUEST = "1 look per user"
"""Watchers whose requests are equal share, all anonymous ones for instance."""
EACH = "1 look per watcher"


@dataclass(frozen=True)
class Verdict:
    """One line of ``restive check``. ``watchable`` is None where it is not known."""

    watchable: bool | None
    sharing: str
    cost: str
    why: str


def unasked(route: Route) -> Verdict:
    """The verdict on a route that was not asked."""
    if route.parameters:
        return Verdict(None, "?", "?", "has parameters: name one with --path")
    return Verdict(None, "?", "?", "not asked")


def not_watchable(why: str) -> Verdict:
    """The verdict on what no watch can be of."""
    return Verdict(False, "-", "-", why)


def judge(answer: Answer, settings: Settings) -> Verdict:
    """The verdict on the answer to a look."""
    found = hub.judge(answer, absent_is_state=settings.absent == "wait", now=0.0)
    if isinstance(found, hub.Found):
        return _state(found.rendering, answer.fields if found.rendering.status != 404 else (), settings)
    if answer.stream:
        return not_watchable("a stream of the app's own")
    if answer.status in hub.REFUSED:
        return Verdict(True, "private", PER_REQUEST, f"answers {answer.status}: name credentials with -H")
    if 300 <= answer.status < 400:
        return not_watchable(f"answers {answer.status}: watch {get(answer.fields, b'location')}")
    return not_watchable(answer.error or f"answers {answer.status}")


def _state(rendering: Rendering, fields: Fields, settings: Settings) -> Verdict:
    sharing, cost, why = _sharing(rendering.status, fields)
    if is_final(fields, settings.final_after):
        return Verdict(True, sharing, "nothing", "final: immutable for a year or more")
    fresh = lifetime(fields)
    if fresh:
        why += f"; looked at again every {max(fresh, settings.revalidate_floor):g} s"
    if rendering.fetch:
        why += "; too big or binary, so watchers GET it themselves"
    return Verdict(True, sharing, cost, why)


def _sharing(status: int, fields: Fields) -> tuple[str, str, str]:
    said = get(fields, b"cache-control")
    if shareable(status, fields):
        return "shared", ONE, f"Cache-Control: {said}"
    if per_watcher(fields):
        return "private", EACH, "Set-Cookie or Vary: *"
    return "private", PER_REQUEST, f"Cache-Control: {said}" if said else "says nothing of caching"
