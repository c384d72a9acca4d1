"""Announcements: what the second JetStream stream delivers, with every number checked.

That stream holds nothing else, so its sequences have no gap: one that is missing, whoever lost it, is
LOST for the listeners, as are a lost connection and a consumer that is silent. A task keeps the consumer
up; a thread calls the listeners, so that a slow one keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from restive.errors import BackendUnavailable

from ..port import LOST, Listener
from .connection import Connection
from .messages import Foreign, Message, parts_of
from .store import KEPT, Store

__all__ = ["Delivery", "Hearing"]

_log = logging.getLogger("restive.backends")

HEARTBEAT = 1.0
"""Seconds of silence after which the server gives a sign of life."""

SILENT = 3 * HEARTBEAT
ROOM = 256 * 2**20
"""Bytes that may wait in this process; what comes then is LOST."""

NANOSECONDS = 1_000_000_000
JOIN = 5.0


class Delivery:
    """The listeners of one backend, and the thread that calls them while there are any."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start empty: in a forked child the parent's thread does not exist."""
        self.changed = threading.Condition()
        self._listeners: dict[object, Listener] = {}
        self._waiting: deque[bytes | None] = deque()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> object:
        """Call ``listener`` with what comes from now on; what ``remove`` takes."""
        key = object()
        with self.changed:
            self._listeners[key] = listener
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="restive-listening", daemon=True)
                self._thread.start()
        return key

    def remove(self, key: object) -> None:
        """Call it no more."""
        with self.changed:
            self._listeners.pop(key, None)
            self.changed.notify()

    def put(self, payload: bytes | None) -> None:
        """Have it delivered; what is too much together becomes one LOST."""
        with self.changed:
            if len(self._waiting) >= KEPT or payload is LOST:
                self._waiting.clear()
                payload = LOST
            self._waiting.append(payload)
            self.changed.notify()

    def close(self) -> None:
        """Forget all listeners and wait until none is being called any more."""
        with self.changed:
            self._listeners.clear()
            thread = self._thread
            self.changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN)

    def _run(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._waiting or not self._listeners)
                if not self._listeners:
                    self._waiting.clear()
                    self._thread = None
                    return
                payload = self._waiting.popleft()
                listeners = tuple(self._listeners.items())
            for key, listener in listeners:
                if key not in self._listeners:
                    continue
                try:
                    listener(payload)
                except Exception:  # noqa: BLE001 - the code is not ours
                    _log.exception("A listener to announcements raised; it goes on listening.")


class Hearing:
    """Keeps a consumer for ``heard`` while ``wanted`` says so. All methods run in the private loop."""

    def __init__(
        self, connection: Connection, heard: Callable[[bytes | None], None], wanted: Callable[[], bool]
    ) -> None:
        self._connection = connection
        self._heard = heard
        self._wanted = wanted
        self._task: asyncio.Task[None] | None = None
        self._consumer: _Consumer | None = None
        self._up = asyncio.Event()
        self._woken = asyncio.Event()

    async def begin(self) -> None:
        """Return once nothing that is announced is missed. Raises ``BackendUnavailable``."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep())
        task = self._task
        if not self._up.is_set():
            up = asyncio.ensure_future(self._up.wait())
            await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            if not self._up.is_set():
                task.result()

    async def close(self) -> None:
        """End the consumer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """The connection was lost, or the last listener has gone: look what is to be done."""
        self._woken.set()

    async def _keep(self) -> None:
        """Listen while somebody does. Only the first consumer that cannot be made is an error."""
        first = True
        try:
            while self._wanted():
                try:
                    await self._renew(behind=not first)
                except BackendUnavailable:
                    if first:
                        raise
                    await asyncio.sleep(0.1)
                    continue
                first = False
                self._up.set()
                await self._while_well()
                self._up.clear()
        finally:
            self._up.clear()
            await self._end()

    async def _renew(self, *, behind: bool) -> None:
        await self._end()
        self._woken.clear()
        store = await self._connection.run(_the_store)
        consumer = _Consumer(store, self._heard, behind=behind)
        await consumer.open()
        consumer.catch_up()
        self._consumer = consumer

    async def _while_well(self) -> None:
        """Return when the consumer is of no use, or nobody listens any more."""
        while self._wanted() and self._consumer is not None and self._consumer.well():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), HEARTBEAT)
            self._woken.clear()

    async def _end(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.close()


async def _the_store(store: Store) -> Store:
    return store


class _Consumer:
    """One consumer of the stream of announcements: numbers checked, pieces joined.

    ``behind``: what was announced before it was made is missing.
    """

    def __init__(self, store: Store, heard: Callable[[bytes | None], None], *, behind: bool) -> None:
        self._store = store
        self._heard = heard
        self._name = ""
        self._subscription: Subscription | None = None
        self._last = 0
        self._latest = 0.0
        self._pieces: list[bytes] = []
        self._deaf = False
        self._behind = behind

    async def open(self) -> None:
        """Deliver from now on. Raises ``BackendUnavailable``."""
        link, stream, subject = self._store.link, self._store.news_stream, self._store.news_subject
        self._subscription = await link.subscribe(self._come, room=ROOM)
        inbox = self._subscription.subject
        self._name = inbox.rpartition(".")[2]
        config = {
            "name": self._name,
            "deliver_subject": inbox,
            "deliver_policy": "new",
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": subject,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT * NANOSECONDS),
            "inactive_threshold": int(30 * NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        asked = f"CONSUMER.CREATE.{stream}.{self._name}.{subject}"
        said = await link.ask(asked, {"stream_name": stream, "config": config})
        # What was delivered before this answer was read has moved the number on already.
        self._last = max(self._last, int(said["delivered"]["stream_seq"]))
        self._latest = asyncio.get_running_loop().time()

    def well(self) -> bool:
        """Whether it still gives signs of life."""
        silent = asyncio.get_running_loop().time() - self._latest
        return not self._deaf and not self._store.link.dead and silent < SILENT

    async def close(self) -> None:
        """Deliver nothing more, and have the server forget it."""
        self._deaf = True
        if not self._store.link.dead and self._subscription is not None:
            with suppress(BackendUnavailable):
                await self._store.link.tell(f"$JS.API.CONSUMER.DELETE.{self._store.news_stream}.{self._name}")
                await self._store.link.unsubscribe(self._subscription)

    async def _come(self, message: Msg) -> None:
        self._latest = asyncio.get_running_loop().time()
        if self._deaf:
            return
        headers = message.headers or {}
        if "Status" not in headers:
            self._take(message)
            return
        if message.reply:  # flow control: what came before it was taken
            await self._store.link.tell(message.reply)
        elif "Nats-Consumer-Stalled" in headers:
            await self._store.link.tell(headers["Nats-Consumer-Stalled"])
        elif headers["Status"] != "100":
            self._deaf = True
        elif self._last and int(headers.get("Nats-Last-Stream", 0)) > self._last:
            self._miss(int(headers["Nats-Last-Stream"]))

    def catch_up(self) -> None:
        """Say that something is missing, if it is: before the first payload, and when nothing more can be."""
        if self._behind:
            self._behind = False
            self._heard(LOST)

    def _take(self, message: Msg) -> None:
        try:
            sequence = message.metadata.sequence.stream
            found = Message(message.subject, sequence, message.headers or {}, message.data)
        except Exception:  # noqa: BLE001 - nats-py raises many kinds for what is none of JetStream's
            _log.warning("Somebody else sends to the inbox of a NATS consumer.")
            return
        self.catch_up()
        if self._last and sequence != self._last + 1:
            self._miss(sequence - 1)
        self._last = sequence
        try:
            part = parts_of(found, "announcement")
        except Foreign as error:
            _log.warning("%s", error)
            return
        if part.piece != len(self._pieces) + 1:  # its beginning was lost, which was said
            self._pieces.clear()
            return
        self._pieces.append(message.data)
        if part.last:
            payload, self._pieces = b"".join(self._pieces), []
            self._heard(payload)

    def _miss(self, last: int) -> None:
        self._last = last
        self._pieces.clear()
        self._heard(LOST)
