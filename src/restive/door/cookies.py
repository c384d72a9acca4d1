"""Which sockets carry which cookie: a response that replaces it makes them reconnect (design 4.3)."""

from __future__ import annotations

from collections.abc import Iterable

from ..http.fields import Fields, get, get_all
from ..hub.hub import Draining

Pair = tuple[str, str]


NONE: frozenset[Pair] = frozenset()


def pairs(fields: Fields) -> frozenset[Pair]:
    """The cookies of a request, as (name, value)."""
    header = get(fields, b"cookie")
    if not header:
        return NONE
    found = (part.partition("=") for part in header.replace(", ", "; ").split(";"))
    return frozenset((name.strip(), value.strip()) for name, _, value in found if name.strip())


def replaced(request: Iterable[Pair], response: Fields) -> set[Pair]:
    """The cookies of the request that the response gives another value or deletes."""
    said: dict[str, str] = {}
    for line in get_all(response, b"set-cookie"):
        name, _, rest = line.partition("=")
        said[name.strip()] = rest.partition(";")[0].strip()
    return {(name, value) for name, value in request if name in said and said[name] != value}


class CookieIndex:
    """Sockets by the cookies that they carry."""

    def __init__(self) -> None:
        self._sockets: dict[Pair, set[Draining]] = {}

    def add(self, outlet: Draining, cookies: Iterable[Pair]) -> None:
        """``outlet`` carries ``cookies``."""
        for pair in cookies:
            self._sockets.setdefault(pair, set()).add(outlet)

    def remove(self, outlet: Draining, cookies: Iterable[Pair]) -> None:
        """The opposite of ``add``."""
        for pair in cookies:
            found = self._sockets.get(pair)
            if found is not None:
                found.discard(outlet)
                if not found:
                    del self._sockets[pair]

    def answered(self, request: Fields, response: Fields) -> None:
        """A response to the browser began: sockets with a cookie that it replaces shall reconnect."""
        if not self._sockets or not any(name == b"set-cookie" for name, _ in response):
            return
        for pair in replaced(pairs(request), response):
            for outlet in list(self._sockets.get(pair, ())):
                outlet.drain()
