"""Makes the engine that ``engine=`` names, and says what is wrong with it where that cannot be."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from ...errors import SettingError
from ...settings import Settings
from .executor import ExecutorEngine
from .foreign import celery_app, celery_task, is_dask_client, is_of_celery
from .hosted import HostedEngine
from .own import OwnPool
from .port import Elsewhere, Engine
from .shared import SharedPool

__all__ = ["check_backend", "check_engine", "check_function", "is_elsewhere", "make_engine"]


def make_engine(
    given: Any,
    workers: int,
    settings: Settings,
    home: Callable[[], Path],
    twin: Callable[[], Any] = lambda: None,
) -> Engine | Elsewhere:
    """The engine for ``processes``, ``loky``, an executor, a function that makes one, or a Celery app.

    ``workers`` is the number of processes of our own pools; ``home`` the folder for the line's socket.
    ``twin`` gives what makes a host of the same backend in another process.
    Raises ``SettingError`` for what is none of these, or cannot work.
    """
    task = celery_task(given)
    if task is not None:
        from .given_task import GivenTask

        return GivenTask(task)
    app = celery_app(given)
    if app is not None:
        from .tasks import CeleryEngine

        return CeleryEngine(app)
    interval = settings.report_interval
    if given in ("processes", "loky"):
        context = _spawning() if given == "processes" else _loky()
        own = functools.partial(OwnPool, context, workers)
        return ExecutorEngine(own, workers, home, interval=interval, by_value=given == "loky")
    executor = _checked(given() if _makes(given) else given)
    workers = getattr(executor, "_max_workers", None) or workers
    if isinstance(executor, ThreadPoolExecutor):
        return HostedEngine(executor, workers, owned=_makes(given))
    if is_elsewhere(executor):
        from .elsewhere import ExecutorElsewhere

        check_backend(settings)
        return ExecutorElsewhere(executor, twin, owned=_makes(given))
    shared = functools.partial(SharedPool, executor, _checking(given) if _makes(given) else None)
    by_value = _is_loky(executor)
    return ExecutorEngine(shared, workers, home, interval=interval, by_value=by_value)


def check_engine(given: Any) -> None:
    """Refuse what ``make_engine`` could make nothing of. Starts nothing. Raises ``SettingError``."""
    if given == "loky":
        _loky()
    elif given not in ("threads", "processes") and not _makes(given) and not is_of_celery(given):
        _checked(given)


def is_elsewhere(given: Any) -> bool:
    """Whether its workers are, or may be, on other machines: all but threads, our processes and loky's."""
    if is_of_celery(given) or is_dask_client(given):
        return True
    local = (ThreadPoolExecutor, ProcessPoolExecutor)
    return isinstance(given, Executor) and not isinstance(given, local) and not _is_loky(given)


def check_backend(settings: Settings) -> None:
    """Refuse a backend that no other machine can reach. Raises ``SettingError``."""
    if settings.backend == "auto" or settings.backend.startswith("memory:"):
        raise SettingError(
            "An engine whose workers are elsewhere needs a backend that they reach too, named in backend= or "
            f"RESTIVE_BACKEND: redis://…, nats://…, postgresql://…, or on one machine sqlite:///path, "
            f"not {settings.backend!r}."
        )


def _is_loky(executor: Any) -> bool:
    return any("loky" in each.__module__.split(".") for each in type(executor).__mro__)


def check_function(function: Callable[..., Any], engine: Any) -> None:
    """Refuse a function that the processes of ``engine`` could not find. Raises ``SettingError``."""
    if engine != "processes" and not isinstance(engine, ProcessPoolExecutor):
        return
    name = getattr(function, "__qualname__", "")
    if "<locals>" in name or "<lambda>" in name:
        raise SettingError(
            f"{name} cannot be called in another process, which finds functions by their names: define it at "
            'the top level of its module, or use engine="loky".'
        )


def _makes(given: Any) -> bool:
    """Whether it is a function that makes an executor: what it makes is seen when it is called."""
    return callable(given) and not isinstance(given, Executor) and not is_elsewhere(given)


def _spawning() -> BaseContext:
    """A fork server would save little, and a signal to the whole group would end it."""
    return multiprocessing.get_context("spawn")


def _loky() -> BaseContext:
    try:
        from loky.backend import get_context  # type: ignore[import-untyped]
    except ImportError:
        raise SettingError('engine="loky" needs loky: pip install "restive[loky]".') from None
    context: BaseContext = get_context("loky")
    return context


def _checked(given: Any) -> Executor:
    if is_dask_client(given):
        executor: Executor = given.get_executor(pure=False)
        return executor
    if not isinstance(given, Executor):
        raise SettingError(
            "engine= is one of 'threads', 'processes' and 'loky', a concurrent.futures.Executor, a function "
            f"that makes one, a Celery app or a Dask client, not {given!r}."
        )
    context = getattr(given, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise SettingError(
            "This ProcessPoolExecutor forks, and a forked child holds the server's port and sockets: make it "
            'with mp_context=multiprocessing.get_context("spawn"), or "forkserver".'
        )
    if type(given).__name__ == "InterpreterPoolExecutor":
        raise SettingError("Interpreters in threads cannot run operations: use a ProcessPoolExecutor.")
    return given


def _checking(make: Callable[[], Any]) -> Callable[[], Executor]:
    return lambda: _checked(make())
