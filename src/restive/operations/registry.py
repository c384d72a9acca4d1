"""All operations of one ``Restive``: declared at any time, served by the app's own router or beside it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path
from starlette.types import ASGIApp, Scope

from ..errors import SettingError
from .declaration import Declaration, declare
from .engines.choosing import check_engine
from .notices import check_ready
from .routes import add_routes
from .service import Host, Service

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Host", "Operations"]


class Operations:
    """The registry. Constructing starts nothing; the first submission does."""

    def __init__(self, host: Host) -> None:
        """Operations of ``host``. Raises ``SettingError`` where FastAPI is not installed."""
        if importlib.util.find_spec("fastapi") is None:
            raise SettingError('Operations need FastAPI: pip install "restive[fastapi]".')
        self._host = host
        self._declared: dict[str, Declaration] = {}
        self._matchers: list[Any] = []
        self._apps: list[FastAPI] = []
        self._service: Service | None = None
        self._beside: FastAPI | None = None

    def __bool__(self) -> bool:
        """Whether any operation is declared."""
        return bool(self._declared)

    @property
    def service(self) -> Service:
        """What is behind the routes, made on first use."""
        if self._service is None:
            self._service = Service(self._host, self._declared.get)
        return self._service

    def declare(self, path: str, function: Callable[..., Any], **options: Any) -> None:
        """Declare ``function`` as the operation at ``path``; apps that are mounted already serve it at once.

        ``options`` are the further fields of ``Declaration``. Raises ``SettingError`` for what cannot
        be an operation; the message says what to write instead.
        """
        if path in self._declared:
            raise SettingError(f"There is an operation at {path} already.")
        declaration = declare(path, function, **options)
        if declaration.webhook is not None:
            check_ready(self._host.settings, declaration.webhook)
        check_engine(declaration, self._host.settings)
        self._declared[path] = declaration
        self._matchers += [compile_path(path)[0], compile_path(path + "/{operation:path}")[0]]
        for app in self._apps:
            self._add(app, declaration)

    def mount(self, app: ASGIApp) -> None:
        """Serve all operations, now or later declared, from ``app``, or ``beside`` what is not FastAPI."""
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
        if self._beside is None or not any(each.match(_path_in_app(scope)) for each in self._matchers):
            return None
        return self._beside

    def resume(self) -> None:
        """Take over what earlier processes left behind, as the first request would. Blocks."""
        if self._declared:
            self.service.runner.resume()

    def drain(self, seconds: float) -> None:
        """Give running operations ``seconds`` to finish, then interrupt them. Blocks."""
        if self._service is not None:
            self._service.drain(seconds)


def _path_in_app(scope: Scope) -> str:
    """The path without the root path, whether or not the server left it in."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    within = root and (path == root or path.startswith(f"{root}/"))
    return path[len(root) :] if within else path
