"""All streams of one ``Restive``: declared at any time, served by the app's own router or beside it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Scope

from ..errors import SettingError
from .declaration import Declaration, declare
from .routes import add_routes
from .service import Host, Service
from .stream import Stream
from .tail import Follower

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Host", "Streams"]


class Streams:
    """The registry. Constructing starts nothing and opens nothing."""

    def __init__(self, host: Host) -> None:
        """Streams of ``host``. Raises ``SettingError`` where FastAPI is not installed."""
        if importlib.util.find_spec("fastapi") is None:
            raise SettingError('Streams need FastAPI: pip install "restive[fastapi]".')
        self.service = Service(host, self.match)
        self._declared: dict[str, Declaration] = {}
        self._beginnings: tuple[str, ...] = ()
        self._apps: list[FastAPI] = []
        self._beside: FastAPI | None = None

    def __bool__(self) -> bool:
        """Whether any stream is declared."""
        return bool(self._declared)

    def declare(self, path: str, **options: Any) -> Stream:
        """Declare a stream at ``path``; apps that are mounted already serve it at once.

        ``options`` are the further fields of ``Declaration``. Raises ``SettingError`` for what cannot work.
        """
        if path in self._declared:
            raise SettingError(f"There is a stream at {path} already.")
        declaration = self._declared[path] = declare(path, **options)
        self._beginnings += (path.partition("{")[0],)
        for app in self._apps:
            self._add(app, declaration)
        return Stream(self.service, declaration)

    def mount(self, app: ASGIApp) -> None:
        """Serve all streams, now or later declared, from ``app``, or ``beside`` what is not FastAPI."""
        from fastapi import FastAPI

        if not isinstance(app, FastAPI):
            app = self._beside = FastAPI(openapi_url=None)
        self._apps.append(app)
        for declaration in self._declared.values():
            self._add(app, declaration)

    def _add(self, app: FastAPI, declaration: Declaration) -> None:
        add_routes(app.router, self.service, declaration)
        app.openapi_schema = None  # it may have been asked for already

    def beside(self, scope: Scope) -> ASGIApp | None:
        """What serves this request beside an app that is not FastAPI; None where it is that app's own."""
        if self._beside is None or self.match(_path_in_app(scope)) is None:
            return None
        return self._beside

    def match(self, path: str) -> Declaration | None:
        """What is declared at a path in the app (decoded, without root path). Asked for each request."""
        if not path.startswith(self._beginnings):
            return None
        return next((each for each in self._declared.values() if each.pattern.match(path)), None)

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Follow a stream on the running loop, from an offset on, "-1" or "now".

        ``path`` is in normal form, without root path. ``wake`` is called on the loop when there may be
        something to take, never from inside the follower's methods; ask ``take`` once at the beginning.
        Raises ``Problem`` (400, 404).
        """
        return self.service.follow(path, offset, wake)

    def grew(self, paths: Iterable[str] | None) -> None:
        """These streams have changed elsewhere; None: any may have. From any thread."""
        self.service.grew(paths)

    def close(self) -> None:
        """Nobody on the running loop follows any more."""
        self.service.close()


def _path_in_app(scope: Scope) -> str:
    """The path without the root path, whether or not the server left it in."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    within = root and (path == root or path.startswith(f"{root}/"))
    return path[len(root) :] if within else path
