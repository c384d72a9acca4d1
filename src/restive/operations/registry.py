"""All operations of one ``Restive``: declared at any time, served by the app's own router or beside it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.routing import compile_path
from starlette.types import ASGIApp, Scope

from ..errors import SettingError
from ..streams.tail import Follower
from .declaration import Declaration, declare
from .engines.choosing import check_engine, engine_of
from .engines.foreign import celery_app, celery_task
from .notices import check_ready
from .routes import add_routes
from .service import Host, Service
from .station import Station

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
        self._parts: list[tuple[Any, Declaration]] = []
        self._apps: list[FastAPI] = []
        self._service: Service | None = None
        self._station: Station | None = None
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
        task = celery_task(function)
        if task is not None:
            declaration = _declared_task(path, task, options)
        else:
            declaration = declare(path, function, **options)
        if declaration.webhook is not None:
            check_ready(self._host.settings, declaration.webhook)
        check_engine(declaration, self._host.settings)
        self._declared[path] = declaration
        self._enlist(declaration)
        self._parts.append((compile_path(path + "/{operation_id}/parts")[0], declaration))
        self._matchers += [compile_path(path)[0], compile_path(path + "/{operation:path}")[0]]
        for app in self._apps:
            self._add(app, declaration)

    def _enlist(self, declaration: Declaration) -> None:
        """Let a Celery worker that imports the declaration's module find it."""
        app = celery_app(engine_of(declaration, self._host.settings))
        if app is not None:
            from .engines.tasks import enlist

            enlist(app, self._host.settings.name or "restive", declaration.path, self)

    def station(self) -> Station:
        """What runs operations here although this process is no server; a forked child has its own."""
        if self._station is None or self._station.process != os.getpid():
            self._station = Station(self._host, self._declared.get)
        return self._station

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

    def match(self, path: str) -> Declaration | None:
        """Whose parts are at a path in the app (decoded, without root path), which are a stream."""
        if not path.endswith("/parts"):
            return None
        return next((each for pattern, each in self._parts if pattern.match(path)), None)

    def follow(self, path: str, offset: str, wake: Callable[[], None]) -> Follower:
        """Follow the parts at ``path``, as ``Streams.follow`` does."""
        return self.service.part_streams.follow(path, offset, wake)

    def grew(self, paths: Iterable[str] | None) -> None:
        """There may be more at these paths; None: at any. From any thread."""
        if self._service is not None:
            self._service.part_streams.grew(paths)

    def resume(self) -> None:
        """Take over what earlier processes left behind, as the first request would. Blocks.

        Raises ``BackendError`` where the backend is away; it is looked at again until it is back.
        """
        if self._declared:
            self.service.runner.resume()

    def drain(self, seconds: float) -> None:
        """Give running operations ``seconds`` to finish, then interrupt them. Blocks."""
        if self._service is not None:
            self._service.drain(seconds)


def _declared_task(path: str, task: Any, options: dict[str, Any]) -> Declaration:
    """The declaration of a task of Celery. Raises ``SettingError`` for one that cannot be an operation."""
    from .engines.given_task import check_task, function_of

    if options.get("engine") is not None:
        raise SettingError(f"The task {task.name} runs where Celery sends it: it takes no engine=.")
    declaration = declare(path, function_of(task), **{**options, "engine": task})
    check_task(task, declaration)
    return declaration


def _path_in_app(scope: Scope) -> str:
    """The path without the root path, whether or not the server left it in."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    within = root and (path == root or path.startswith(f"{root}/"))
    return path[len(root) :] if within else path
