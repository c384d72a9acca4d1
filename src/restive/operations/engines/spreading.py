"""``op.map`` in a worker of Dask: its pieces are tasks of their own, which idle workers of the cluster take.

A caller that has nothing left to do but wait for such a piece leaves its place in the worker to others, and
pieces go before new operations: so each piece finds a thread, however many operations map at once.
"""

from __future__ import annotations

import contextvars
import inspect
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..mapping import Crew, Work
from ..running import mapped
from ..station import Alone
from .jobs import pickler

__all__ = ["crew_of"]

PRIORITY = 1
"""Of a piece; tasks of Dask have 0."""


def crew_of(function: Callable[..., Any]) -> Crew:
    """Who helps an ``op.map`` of ``function`` here: in a worker of Dask the whole cluster, else nobody.

    A coroutine function maps on another thread than its own, which cannot leave its place to others.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or inspect.iscoroutinefunction(function):
        return Alone()
    try:
        distributed.get_worker()
    except ValueError:
        return Alone()
    return _Cluster(distributed)


class _Cluster:
    """The threads of all workers of a cluster, for a function that runs on one of them."""

    def __init__(self, distributed: Any) -> None:
        self._distributed, self._client = distributed, distributed.get_client()
        self.workers = max(1, sum(self._client.nthreads().values()))
        self._thread = threading.get_ident()
        self._left = False
        self._lock = threading.Lock()
        self._away: dict[Work, set[Any]] = {}

    def share(self, shared: Work, pieces: int) -> None:
        """Send so many pieces away; the caller works on the rest by itself, and on what cannot be sent."""
        if threading.get_ident() != self._thread:
            return
        for _ in range(pieces):
            taken = shared.take()
            if taken is None:
                return
            try:
                data = pickler(True)(taken)
            except Exception:  # noqa: BLE001 - whatever pickling raises
                shared.put_back(taken[1])
                return
            future = self._client.submit(_piece, data, pure=False, priority=PRIORITY)
            with self._lock:
                self._away.setdefault(shared, set()).add(future)
            future.add_done_callback(lambda it: self._done(shared, it))

    def waits(self) -> None:
        """The caller has nothing to do but wait: another task may have its place."""
        if not self._left and threading.get_ident() == self._thread:
            self._left = True
            self._distributed.secede()

    def unshare(self, shared: Work) -> None:
        """What was not begun is not needed any more."""
        with self._lock:
            away = self._away.pop(shared, set())
        for future in away:
            future.cancel()

    def _done(self, shared: Work, future: Any) -> None:
        with self._lock:
            self._away.get(shared, set()).discard(future)
        try:
            result = future.result()
        except BaseException as error:  # noqa: BLE001 - it is raised where op.map is iterated
            shared.done(error=error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            shared.done(result)


def _piece(data: bytes) -> Any:
    function, item = pickle.loads(data)  # noqa: S301 - from a worker of the same cluster
    context = contextvars.copy_context()
    context.run(mapped.set, True)
    return context.run(function, item)
