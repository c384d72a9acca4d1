"""The backend ``nats:``: streams, records and announcements of any number of machines in JetStream.

A batch is one atomic batch of JetStream. What an acknowledgement means, the settings of the server and
the number of replicas decide: docs/backends/nats.md.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from .. import forks
from ..limits import check_limit, check_name, check_prefix, check_steps, check_value
from ..port import Append, Delete, Drop, Listener, Page, Record, Save, Step
from . import records, streams
from .announcements import Delivery, Hearing
from .connection import Connection
from .link import give_up
from .loop import LoopThread
from .store import Store
from .url import NatsUrl
from .writing import Writing

__all__ = ["NatsBackend"]

T = TypeVar("T")


class _Parts:
    """What lives in the private loop, from the first call to ``close``."""

    def __init__(self, url: NatsUrl, app: str, delivery: Delivery) -> None:
        self.connection = Connection(url, app, self._lost)
        self.writing = Writing(self.connection)
        self.hearing = Hearing(self.connection, delivery.put, lambda: len(delivery) > 0)

    def _lost(self) -> None:
        self.hearing.wake()

    async def close(self) -> None:
        """Close the connection."""
        await self.hearing.close()
        await self.connection.close()


class NatsBackend:
    """A backend on the servers that ``url`` names; ``name`` is the app's. Raises ``SettingError``."""

    blocking: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, url: str, *, name: str = "") -> None:
        self._url = NatsUrl.parse(url)
        self.name = name
        self._delivery = Delivery()
        self._loop = LoopThread(lambda: _Parts(self._url, name, self._delivery), _Parts.close)
        forks.register(self)

    def __repr__(self) -> str:
        return f"<NatsBackend {self.name!r} in {self._url}: {len(self._delivery)} listeners>"

    def _read(self, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        return self._loop.call(lambda parts: parts.connection.run(work, repeat=True))

    # Announcements

    def announce(self, payload: bytes) -> None:
        """Tell every listener of every process."""
        check_value(payload)
        self._loop.call(lambda parts: parts.writing.announce([payload]))

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` from a thread with each payload until the returned function is called."""
        delivery = self._delivery
        key = delivery.add(listener)
        try:
            self._loop.call(lambda parts: parts.hearing.begin())
        except BaseException:
            delivery.remove(key)
            raise

        def stop() -> None:
            delivery.remove(key)
            self._loop.soon(lambda parts: parts.hearing.wake())

        return stop

    # Streams

    def append(
        self,
        stream: str,
        items: Sequence[bytes],
        *,
        close: bool = False,
        after: str | None = None,
        keep: int = 0,
    ) -> str:
        """Append atomically and return the offset behind the last item. Raises Conflict."""
        (end,) = self.apply([Append(stream, items, close, after, keep)])
        assert isinstance(end, str)
        return end

    def read(self, stream: str, after: str = "", limit: int = 1000) -> Page:
        """Items after an offset. Raises KeyError for no such stream, ValueError for an offset not its own."""
        check_name(stream)
        check_limit(limit)
        return self._read(lambda store: streams.read(store, stream, after, limit))

    def drop(self, stream: str) -> None:
        """Delete a stream; no error where there is none."""
        self.apply([Drop(stream)])

    # Records

    def load(self, name: str) -> Record | None:
        """The record of that name, or None."""
        check_name(name)
        return self._read(lambda store: records.load(store, name))

    def save(self, name: str, value: bytes, *, version: int) -> int:
        """Store if the current version is ``version`` (0: none); return the new one. Raises Conflict."""
        (new,) = self.apply([Save(name, value, version)])
        assert isinstance(new, int)
        return new

    def delete(self, name: str) -> None:
        """Delete a record; no error where there is none."""
        self.apply([Delete(name)])

    def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
        """Records whose name starts with ``prefix``, names descending, only those below ``before``."""
        check_prefix(prefix)
        check_prefix(before or "")
        check_limit(limit)
        return self._read(lambda store: records.scan(store, prefix, before, limit))

    # Batches

    def apply(self, steps: Sequence[Step], *, durable: bool = True) -> list[int | str | None]:  # noqa: ARG002
        """Do all of the steps, or on a Conflict none; what each returned. Then announce.

        More than 1000 messages, of a step or less each, go in several batches, one after the other.
        """
        check_steps(steps)
        if not steps:
            return []
        return self._loop.call(lambda parts: parts.writing.apply(steps))

    def probe(self) -> None:
        """Ask the server for a sign of life. Raises BackendUnavailable."""
        self._read(lambda store: store.link.alive())

    def close(self) -> None:
        """Close the connection; listeners are called no more. The next call opens anew."""
        self._delivery.close()
        self._loop.close()

    # Forks

    def hold(self) -> None:
        """Before a fork: come to rest."""
        self._loop.lock.acquire()
        self._delivery.changed.acquire()

    def resume(self) -> None:
        """After a fork: go on."""
        self._delivery.changed.release()
        self._loop.lock.release()

    def forget(self) -> None:
        """In a forked child: the loop, its connection and the listeners are the parent's."""
        parts = self._loop.forget()
        if parts is not None and parts.connection.handle >= 0:
            give_up(parts.connection.handle)
        self._delivery.forget()
