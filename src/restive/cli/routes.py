"""The routes of an app, whichever way they are nested, as ``restive check`` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Route", "routes_of"]


@dataclass(frozen=True)
class Route:
    """A path template and the methods that it takes."""

    path: str
    methods: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its path parameters."""
        return tuple(re.findall(r"{([^}:]+)", self.path))

    @property
    def readable(self) -> bool:
        """Whether it answers GET."""
        return "GET" in self.methods

    @property
    def changes(self) -> tuple[str, ...]:
        """What an unsafe request to it announces; nothing where it takes none (design 2.2)."""
        from ..http.invalidation import is_safe
        from ..http.targets import ancestors

        unsafe = [method for method in self.methods if not is_safe(method)]
        if not unsafe:
            return ()
        below = (f"{self.path}/*",) if "DELETE" in unsafe else ()
        return (self.path, *ancestors(self.path), *below)


def routes_of(app: Any) -> list[Route]:
    """All routes of a Starlette or FastAPI app, by path; the same path's methods together.

    Of another app nothing is known: the list is empty.
    """
    methods: dict[str, set[str]] = {}
    for path, of_path in _walk(getattr(app, "routes", ()), ""):
        methods.setdefault(path, set()).update(of_path)
    return [Route(path, tuple(sorted(found))) for path, found in methods.items()]


def _walk(routes: Iterable[Any], prefix: str) -> Iterator[tuple[str, set[str]]]:
    for route in _flat(routes):
        path, methods = (
            getattr(route, "path_format", None) or getattr(route, "path", None),
            getattr(route, "methods", None),
        )
        nested = getattr(route, "routes", None)
        if path is None:
            continue
        if methods:
            yield prefix + path, set(methods)
        elif nested:
            yield from _walk(nested, prefix + path.removesuffix("/{path}"))


def _flat(routes: Iterable[Any]) -> Iterable[Any]:
    """FastAPI keeps included routers as one route each and lists what is in them by this function."""
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:  # not installed, or a version that copies the routes of a router
        return routes
    return iter_route_contexts(list(routes))
