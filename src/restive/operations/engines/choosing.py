"""Which engine runs a declared function; those that name the same one share it."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from ...settings import Settings
from ..declaration import Declaration
from .local import LoopEngine, ThreadEngine
from .port import Elsewhere, Engine

__all__ = ["AnyEngine", "Engines", "check_engine", "engine_of"]

AnyEngine = Engine | Elsewhere
THREADS, COROUTINES = "threads", "coroutines"


def engine_of(declaration: Declaration, settings: Settings) -> Any:
    """What ``engine=`` of a declaration says, or else the setting."""
    return settings.engine if declaration.engine is None else declaration.engine


def check_engine(declaration: Declaration, settings: Settings) -> None:
    """Raise ``SettingError`` where a declared function can never run on its engine. Starts nothing."""
    given = engine_of(declaration, settings)
    if given != THREADS:
        from . import making  # loads multiprocessing

        making.check_engine(given)
        making.check_function(declaration.function, given)
        if making.is_elsewhere(given):
            making.check_backend(settings)


class Engines:
    """The engines of one ``Restive``, each made when first asked for. ``made`` is called with each."""

    def __init__(
        self,
        settings: Settings,
        home: Callable[[], Path],
        made: Callable[[Hashable, AnyEngine], None],
        twin: Callable[[], Any],
    ) -> None:
        """``twin`` gives what makes a host of the same backend in another process, and can be pickled."""
        self._settings, self._home, self._made, self._twin = settings, home, made, twin
        self._workers = settings.workers or max(2, os.cpu_count() or 1)
        self._lock = threading.RLock()
        self._engines: dict[Hashable, AnyEngine] = {}

    def key(self, declaration: Declaration) -> Hashable:
        """What the engine of a declaration is known by."""
        given = engine_of(declaration, self._settings)
        if given == THREADS and inspect.iscoroutinefunction(declaration.function):
            return COROUTINES
        return given if isinstance(given, str) else id(given)

    def of(self, declaration: Declaration) -> AnyEngine:
        """The engine of a declaration. Raises ``SettingError`` where it cannot be made."""
        key = self.key(declaration)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = self._make(key, declaration)
                self._made(key, self._engines[key])
            return self._engines[key]

    def find(self, key: Hashable) -> AnyEngine | None:
        """The engine of that key, where it is made."""
        return self._engines.get(key)

    def close(self) -> None:
        """Release what they hold."""
        for engine in list(self._engines.values()):
            engine.close()

    def _make(self, key: Hashable, declaration: Declaration) -> AnyEngine:
        if key == THREADS:
            return ThreadEngine(self._workers)
        if key == COROUTINES:
            return LoopEngine(self._settings.coroutines, self._crew().threads)
        from .making import make_engine  # loads multiprocessing

        given = engine_of(declaration, self._settings)
        return make_engine(given, self._workers, self._settings, self._home, self._twin)

    def _crew(self) -> AnyEngine:
        if THREADS not in self._engines:
            self._engines[THREADS] = ThreadEngine(self._workers)
            self._made(THREADS, self._engines[THREADS])
        return self._engines[THREADS]
