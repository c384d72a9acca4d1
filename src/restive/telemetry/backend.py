"""A backend whose calls are counted and timed, and what they say of it: does it answer, and since when.

``Observed`` passes everything on as it is. A conflict is an answer as well; a wrong argument says
nothing, since it may have been refused before the backend was asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, TypeVar, cast

from ..backends.port import Backend, Listener, Page, Record, Step
from ..errors import BackendError, BackendUnavailable, Conflict
from . import metrics
from .instruments import Reading, sources

__all__ = ["Standing", "engine_name", "observed"]

P = ParamSpec("P")
T = TypeVar("T")


class Standing:
    """Whether a backend answers, as its last call or probe has found. Any thread may tell and ask."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.engine: str | None = None
        """Its name, once there is one."""
        self.ok: bool | None = None
        """None: nobody has asked it anything yet."""
        self.since: float | None = None
        """When (Unix time) that became so."""
        sources.add(self)

    def tell(self, *, ok: bool) -> None:
        """It has answered, or has not."""
        if ok is self.ok:
            return
        with self._lock:
            if ok is not self.ok:
                self.ok, self.since = ok, self._clock()

    def readings(self) -> Iterator[Reading]:
        """Whether it is up."""
        if self.engine is not None and self.ok is not None:
            yield metrics.backend_up, (self.engine,), float(self.ok)


def engine_name(backend: Backend) -> str:
    """What the engine of an adapter is called: ``sqlite``, ``redis``, …"""
    return type(backend).__name__.removesuffix("Backend").lower()


def observed(backend: Backend, standing: Standing) -> Backend:
    """``backend``, whose calls are counted from now on, and told to ``standing``."""
    standing.engine = engine_name(backend)
    return cast("Backend", Observed(backend, standing))


class Observed:
    """The port, round an adapter."""

    def __init__(self, inner: Backend, standing: Standing) -> None:
        self.blocking, self.shared = inner.blocking, inner.shared
        self._inner, self._standing = inner, standing
        self._engine = engine_name(inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    def _timed(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        begun = time.perf_counter()
        try:
            result = call(*args, **kwargs)
        except Conflict:
            self._answered(name, begun)
            raise
        except BackendError as error:
            metrics.backend_errors.of(self._engine, name).value += 1
            if isinstance(error, BackendUnavailable):
                self._standing.tell(ok=False)
            raise
        self._answered(name, begun)
        return result

    def _answered(self, name: str, begun: float) -> None:
        metrics.backend_seconds.of(self._engine, name).observe(time.perf_counter() - begun)
        if not self._standing.ok:
            self._standing.tell(ok=True)

    def announce(self, payload: bytes) -> None:
        self._timed("announce", self._inner.announce, payload)

    def listen(self, listener: Listener) -> Callable[[], None]:
        return self._timed("listen", self._inner.listen, listener)

    def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        close: bool = False,
        after: str | None = None,
        keep: int = 0,
    ) -> str:
        append = self._inner.append
        return self._timed("append", append, stream, items, close=close, after=after, keep=keep)

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        return self._timed("read", self._inner.read, stream, after, limit)

    def drop(self, stream: str) -> None:
        self._timed("drop", self._inner.drop, stream)

    def load(self, name: str) -> Record | None:
        return self._timed("load", self._inner.load, name)

    def save(self, name: str, value: bytes, *, version: int) -> int:
        return self._timed("save", self._inner.save, name, value, version=version)

    def delete(self, name: str) -> None:
        self._timed("delete", self._inner.delete, name)

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        return self._timed("scan", self._inner.scan, prefix, before=before, limit=limit)

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:
        return self._timed("apply", self._inner.apply, steps, durable=durable)

    def probe(self) -> None:
        self._timed("probe", self._inner.probe)

    def close(self) -> None:
        self._inner.close()
