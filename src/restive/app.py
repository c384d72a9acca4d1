"""``Restive``: makes an app live. What belongs to one instance meets here; the work is done elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import shutdown
from .announcements import LAST, Grown, News, Outbox, Subscription, pack
from .backends import home, is_server, open_backend
from .backends.port import Backend
from .door.core import StreamIndex
from .door.front import FrontDoor
from .door.streamed import joined
from .errors import BackendError, BackendUnavailable, CutOff, SettingError
from .http.invalidation import Change
from .http.targets import normalize
from .hub.hub import Hub
from .hub.look import ASGIApp
from .hub.under_way import UnderWay
from .settings import Settings
from .telemetry.observation import Observation
from .transports.bare import FAREWELL
from .transports.outlet import Message, Receive, Send

if TYPE_CHECKING:
    from .operations import Operations
    from .streams import Stream, Streams

__all__ = ["Restive", "changed"]

log = logging.getLogger("restive")
F = TypeVar("F", bound=Callable[..., Any])

FRAMEWORKS = ("starlette.applications", "fastapi.applications")

_current: ContextVar[Restive | None] = ContextVar("restive", default=None)
_instances: weakref.WeakSet[Restive] = weakref.WeakSet()


class Restive:
    """Makes an ASGI app live: every GET of it can then be watched.

    ``app`` is a Starlette or FastAPI app, which becomes live in place, or any other ASGI app, which
    is wrapped: serve this object then. Without ``app``, call ``install`` later. The settings are
    listed in docs/settings.md. Constructing it starts nothing and opens nothing.

    Raises ``SettingError`` for a setting that is unknown or cannot work.
    """

    def __init__(self, app: ASGIApp | None = None, **settings: Any) -> None:
        self.settings = Settings.of(settings)
        self.observation = Observation(self.settings)
        self._app: ASGIApp | None = None
        self._in_place: Any = None
        self._door: FrontDoor | None = None
        self._hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
        self._state: dict[str, Any] | None = None
        self.draining = self._leaving = False
        self._deserted: asyncio.Event | None = None
        self._backend: Backend | None = None
        self._subscription: Subscription | None = None
        self._outbox = Outbox()
        self._home: Path | None = None
        self._forget_home: Callable[[], Any] | None = None
        self._signalled = False
        self.restricted = self.settings.targets is not None
        self._never: list[str] = []
        self._never_routes: list[Callable[..., Any]] = []
        self._fresh: list[str] = []
        self._fresh_routes: list[Callable[..., Any]] = []
        self.under_way = UnderWay()
        self._operations: Operations | None = None
        self._streams: Streams | None = None
        self._index: StreamIndex | None = None
        _instances.add(self)
        if app is not None:
            self.install(app)

    def __repr__(self) -> str:
        return f"<Restive backend={self.settings.backend!r} hubs={list(self._hubs.values())}>"

    # Installing

    def install(self, app: ASGIApp) -> None:
        """Make ``app`` live. Raises ``SettingError`` where this instance, or the app, is already joined."""
        from starlette.applications import Starlette

        if self._app is not None:
            raise SettingError("This Restive is installed already: make one for each app.")
        if hasattr(app, "wsgi_app"):
            raise SettingError(
                "Restive takes an ASGI app. Wrap a WSGI app first: a2wsgi.WSGIMiddleware(app)."
            )
        if isinstance(app, Starlette):
            self._install_in_place(app)
        else:
            self._app = app
            self._door = FrontDoor(self._with_operations(app), self)
        for declared in (self._operations, self._streams):
            if declared is not None:
                declared.mount(app)

    def _install_in_place(self, app: Any) -> None:
        if isinstance(getattr(app, "restive", None), Restive):
            raise SettingError("This app is live already.")
        self._app = self._in_place = app
        app.restive = self
        build = app.build_middleware_stack
        if app.middleware_stack is not None:
            app.middleware_stack = self._layer(app.middleware_stack)
        # As the outermost layer round the finished stack: middleware that is added later is inside.
        app.build_middleware_stack = lambda: self._layer(build())

    def _layer(self, stack: ASGIApp) -> ASGIApp:
        self._door = FrontDoor(self._with_operations(stack), self)
        return self._serve

    def is_outermost(self, app: Any) -> bool:
        """Whether a call of ``app`` reaches the front door with nothing of the user's in between."""
        if app is self:
            own = type(self).__call__ is Restive.__call__
            return own and (self._in_place is None or self.is_outermost(self._in_place))
        return (
            app is not None
            and app is self._in_place
            and app.middleware_stack == self._serve
            and _calls_frameworks_only(type(app))
        )

    def _with_operations(self, app: ASGIApp) -> ASGIApp:
        """Operations of an app that is not FastAPI are served beside it."""
        fastapi = sys.modules.get("fastapi")
        if fastapi is not None and isinstance(self._app, fastapi.FastAPI):
            return app

        def both(scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
            served = (self._operations, self._streams) if scope["type"] == "http" else ()
            found = (declared.beside(scope) for declared in served if declared is not None)
            return next((beside for beside in found if beside is not None), app)(scope, receive, send)

        return both

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """The ASGI application. Raises ``SettingError`` where nothing is installed."""
        if self._app is None:
            raise SettingError("Nothing is live yet: call live.install(app).")
        if self._in_place is not None:
            await self._in_place(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        assert self._door is not None
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        token = _current.set(self)
        try:
            await self._door(scope, receive, send)
        except CutOff as cut:
            log.info("%s %s is cut off: %s", scope.get("method", ""), scope["path"], cut)
        finally:
            _current.reset(token)

    async def _lifespan(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serves orderly shutdown, and shows looks the state that requests see; nothing depends on it."""
        self._state, self.draining, self._leaving = scope.get("state"), False, False

        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                shutdown.on_stop(self)
                self.observation.begin()
                message = await self._resumed(message)
            await send(message)

        async def stopping() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._stop()
            return message

        assert self._door is not None
        try:
            await self._door.app(scope, stopping, started)
        finally:
            shutdown.forget(self)

    async def _resumed(self, message: Message) -> Message:
        """Take over operations that were left behind. A store that cannot be opened fails the start.

        Not so a server that is away: a worker that starts in that time would take its siblings with it.
        """
        if self._operations is None:
            return message
        try:
            await asyncio.to_thread(self._operations.resume)
        except (BackendError, SettingError) as error:
            if not (isinstance(error, BackendUnavailable) and is_server(self.settings.backend)):
                return {"type": "lifespan.startup.failed", "message": str(error)}
            log.error("Serving without the backend until it is back: %s", error)
        return message

    async def _stop(self) -> None:
        self.draining = True
        await self._drain_now()
        if self._operations is not None:
            await asyncio.to_thread(self._operations.drain, self.settings.drain_operations)
        # Servers end the process by the signal itself, which waits for no thread.
        await asyncio.to_thread(self._outbox.flush, LAST)
        if self._signalled and self._forget_home is not None:
            # The process is about to end, perhaps by the signal itself, which runs no finalizers.
            self._forget_home()

    # Hubs

    def hub(self) -> Hub:
        """The hub of the running event loop, made on first use and gone with its last watch."""
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None:
            assert self._door is not None
            for stale in [old for old in self._hubs if old.is_closed()]:
                del self._hubs[stale]
            hub = self._hubs[loop] = Hub(
                self._door.app,
                self.settings,
                state=lambda: self._state,
                owner=self._in_place,
                is_never=self.is_never,
                is_fresh=self.is_fresh,
                under_way=self.under_way,
                on_use=self._on_use,
                on_idle=self._on_idle,
            )
            hub.draining = self.draining
        return hub

    def current_hub(self) -> Hub | None:
        """The hub of the running event loop, where there is one."""
        return self._hubs.get(asyncio.get_running_loop()) if self._hubs else None

    def _on_use(self, hub: Hub) -> None:
        shutdown.on_stop(self)
        self.observation.begin()
        self._hubs[hub.loop] = hub
        if self.backend.shared and self._subscription is None:
            self._subscription = Subscription(self.backend, self._heard)
            self._subscription.start()

    def _on_idle(self, hub: Hub) -> None:
        if not len(hub) and not hub.connections and self._hubs.get(hub.loop) is hub:
            del self._hubs[hub.loop]
            if self._deserted is not None:
                self._deserted.set()
        if self._subscription is not None and not any(each.listens for each in self._hubs.values()):
            subscription, self._subscription = self._subscription, None
            subscription.stop()

    async def _drain_now(self) -> None:
        """End what is left on this loop, which may be about to end: so the clients' answers are awaited."""
        hub = self.current_hub()
        if hub is None:
            return
        hub.drain_now()
        self._deserted = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL if hub.connections else 0):
                await self._deserted.wait()

    def drain(self) -> None:
        """End every open watch on this loop, over `drain` seconds: each client is told when to come back."""
        self.draining = True
        hub = self.current_hub()
        if hub is not None:
            hub.drain()

    @property
    def ready(self) -> bool:
        """Whether new clients are welcome: false from the first signal to stop on."""
        return not (self._leaving or self.draining)

    def warn(self) -> float:
        """Not ready any more. Returns the seconds for which everything goes on, so that balancers notice."""
        self._leaving = True
        return self.settings.drain_delay

    def drain_soon(self) -> None:
        """End every open watch on every loop, one after the other; may be called from a signal handler."""
        self.draining = self._signalled = True
        for loop, hub in list(self._hubs.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(hub.drain)

    # Announcements

    def changed(self, *targets: str, below: bool = False) -> None:
        """Announce that the resources at ``targets`` may have changed. From any coroutine, thread or process.

        ``targets`` are paths as clients see them, root path included; a query is left out, since a
        change is of all of them. ``below``: everything below them as well. Call it after the commit.
        Raises ``Problem`` for what is no target.
        """
        paths = [normalize(target).partition("?")[0] for target in targets]
        self.announce([Change(path.rstrip("/") or "/" if below else path, below=below) for path in paths])

    def announce(self, changes: Iterable[Change]) -> None:
        """Tell every hub of this process and every other process."""
        found = tuple(changes)
        self._look_again(found)
        try:
            backend = self.backend
        except (BackendError, SettingError) as error:
            log.error("%s was not announced to other processes: %s", ", ".join(c.path for c in found), error)
            return
        if backend.shared:
            self._outbox.put(backend, found)

    def _heard(self, news: News | None) -> None:
        if isinstance(news, Grown):
            self._grew(news.paths)
            return
        if news is None:
            self._grew(None)
        self._look_again(news)

    def _grew(self, paths: Iterable[str] | None) -> None:
        for declared in (self._streams, self._operations):
            if declared is not None:
                declared.grew(paths)

    def _look_again(self, changes: tuple[Change, ...] | None) -> None:
        if self._operations is not None and changes:
            self._operations.grew(change.path for change in changes)
        running = _running_loop()
        for loop, hub in list(self._hubs.items()):
            if loop is running:
                hub.announce_all() if changes is None else hub.announce(changes)
            elif not loop.is_closed():
                hub.announce_soon(changes)

    # What may be watched

    def never(self, what: str | F) -> Any:
        """Take a path glob (``"/admin/*"``) or, as a decorator, a route out of what may be watched."""
        self.restricted = True
        if isinstance(what, str):
            self._never.append(what)
            return None
        self._never_routes.append(what)
        return what

    def may_watch(self, path: str) -> bool:
        """Whether ``never`` and ``targets=`` leave this path watchable."""
        if any(fnmatchcase(path, pattern) for pattern in self._never):
            return False
        return self.settings.targets is None or bool(self.settings.targets(path))

    def is_never(self, endpoint: Any) -> bool:
        """Whether ``never`` takes out the app's function that answered, as its router names it."""
        return endpoint is not None and endpoint in self._never_routes

    def fresh(self, what: str | F) -> Any:
        """Declare a path glob (``"/prices/*"``) or, as a decorator, a route fresh until it is changed.

        While such a resource is watched, equal GETs without credentials of it are answered without waking
        the app, where the response itself says nothing of caching, for ``fresh_max`` seconds at most. Only
        for what every writer announces to this process: by requests through it, or by ``changed()``.
        """
        if isinstance(what, str):
            self._fresh.append(what)
            return None
        self._fresh_routes.append(what)
        return what

    def is_fresh(self, path: str, endpoint: Any) -> bool:
        """Whether ``fresh`` names the path, or the app's function that answered."""
        if endpoint is not None and endpoint in self._fresh_routes:
            return True
        return any(fnmatchcase(path, pattern) for pattern in self._fresh)

    # Backend and operations

    @property
    def backend(self) -> Backend:
        """The backend; its first call opens it. Raises ``SettingError`` for an unknown URL."""
        if self._backend is None:
            backend = open_backend(self.settings.backend, name=self.settings.name or "restive")
            self._backend = self.observation.observed(backend)
        return self._backend

    @property
    def home(self) -> Path:
        """The folder for what operations keep; with ``memory:`` one that goes with this object."""
        if self._home is None:
            if self.backend.shared:
                self._home = home()
            else:
                self._home = Path(tempfile.mkdtemp(prefix="restive-"))
                self._forget_home = weakref.finalize(self, shutil.rmtree, self._home, ignore_errors=True)
        return self._home

    @property
    def streams(self) -> StreamIndex | None:
        """What is declared to be a stream, operations' parts too; None where nothing is."""
        return self._index

    def stream(self, path: str, **options: Any) -> Stream:
        """Declare a stream at ``path``: an append-only sequence that clients read from any offset, and watch.

        See docs/streams.md for the options. Returns what appends to it. Needs ``restive[fastapi]``.
        Raises ``SettingError`` for what cannot be a stream.
        """
        if self._streams is None:
            from .streams import Streams

            self._streams = Streams(self)
            self._index = joined(self._streams, self._operations)
            if self._app is not None:
                self._streams.mount(self._app)
        return self._streams.declare(path, **options)

    def announce_streams(self, paths: Sequence[str]) -> bytes:
        """The announcement that these streams have changed, for an ``Announce`` step."""
        return pack(Grown(tuple(paths)))

    def twin(self) -> Callable[[], Restive]:
        """What makes an instance in another process that runs operations of this one; it can be pickled."""
        names = ("name", "lease", "report_interval", "stop_grace", "owner_bytes", "parts")
        return partial(_twin, backend=self.settings.backend, **{n: getattr(self.settings, n) for n in names})

    def operation(self, path: str, **options: Any) -> Callable[[F], F]:
        """Make a function long work at ``path``: POST starts it, its state and parts are resources.

        See docs/operations.md for the options. Returns the function itself. Needs ``restive[fastapi]``.
        Raises ``SettingError`` for parameters that cannot be stored.
        """

        def declare(function: F) -> F:
            if self._operations is None:
                from .operations import Operations

                self._operations = Operations(self)
                self._index = joined(self._streams, self._operations)
                if self._app is not None:
                    self._operations.mount(self._app)
            self._operations.declare(path, function, **options)
            return function

        return declare


def _twin(**settings: Any) -> Restive:
    live = Restive(None, **settings)
    _instances.discard(live)  # ``changed`` means the app's own, where it is imported here
    return live


def changed(*targets: str, below: bool = False) -> None:
    """Announce a change on the ``Restive`` of the request being served, or the only one there is.

    Parameters as in ``Restive.changed``. Raises ``SettingError`` where there is none, or more than one.
    """
    live = _current.get()
    if live is None:
        found = list(_instances)
        if len(found) != 1:
            raise SettingError(
                f"There are {len(found)} Restive instances: call changed() on the one you mean."
            )
        live = found[0]
    live.changed(*targets, below=below)


def _calls_frameworks_only(kind: type) -> bool:
    """Whether nobody has overridden, or patched, ``__call__`` of a Starlette or FastAPI class."""
    calls = (vars(each)["__call__"] for each in kind.__mro__ if "__call__" in vars(each))
    return all(getattr(call, "__globals__", {}).get("__name__") in FRAMEWORKS for call in calls)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
