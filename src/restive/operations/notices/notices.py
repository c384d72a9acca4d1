"""Takes up the notices that ended operations left, tells whom they concern, and tries again what failed.

One daemon thread with an event loop of its own, only while there is something to send, now or later. Slow
receivers do not hold up others: each has few places of its own. A process that dies leaves its claims to
the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

from msgspec.structs import replace

from ...backends.port import Backend
from ...errors import BackendError
from ...settings import Settings
from ..declaration import Declaration
from ..record import OperationRecord
from ..store import Store
from ..witness import count_notice, notice
from .book import CLAIM, Book, Claim, Mark
from .receiver import parse_receiver
from .schedule import ATTEMPTS, retry_at
from .sending import Resolve, resolve
from .telling import OnEnd, Teller, Told
from .times import Times

__all__ = ["Notices"]

logger = logging.getLogger("restive.operations")

AT_ONCE, TO_ONE = 16, 4
"""Deliveries under way, and those of them to one receiver."""

MOST = 2000
"""Notices that are in memory, under way or waiting for a place."""

AGAIN = 5.0
"""Seconds after which a backend that failed is asked again."""

ORPHAN_AFTER = 60.0
"""Seconds after which a mark of an operation that has not ended counts as left behind by a crash."""

LONGEST_SLEEP = 60.0
"""Seconds after which the clock is read again, in case it was set."""


class Notices:
    """The notices of one process. Any thread may call the methods; what is told is told at least once."""

    def __init__(
        self,
        backend: Callable[[], Backend],
        store: Store,
        find: Callable[[str], Declaration | None],
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        resolve: Resolve = resolve,
    ) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._book = Book(backend, holder, clock)
        self._teller = Teller(settings, clock, resolve)
        self._store, self._find, self._clock, self._rng = store, find, clock, rng
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._call_in: Callable[[Callable[[], object]], object] | None = None
        """Has the thread's loop call a function."""
        self._wanted = self._closing = self._scanned = self._full = False
        self._times = Times()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: asyncio.Event
        self._main: asyncio.Task[None]

    # From other threads

    def wake(self) -> None:
        """Look for notices that are due: call this when an operation has ended. Does not block."""
        with self._lock:
            self._wanted = True
            if self._thread is None or not self._thread.is_alive():
                self._call_in = None
                self._thread = threading.Thread(target=self._work, name="restive-notices", daemon=True)
                self._thread.start()
            elif self._call_in is not None:
                self._call_in(self._news.set)

    def sweep(self) -> None:
        """Look for what other processes left. Blocks as the backend does, and raises what it raises."""
        if self._book.any():
            self.wake()

    def close(self, seconds: float) -> None:
        """Let what is due be told within ``seconds``; what is not stays stored for the next process.

        A later ``wake`` begins anew.
        """
        with self._lock:
            thread, self._closing = self._thread, True
            if thread is not None and self._call_in is not None:
                self._call_in(self._news.set)
        try:
            if thread is not None:
                thread.join(seconds)
                self._cut(thread)
        finally:
            with self._lock:
                self._closing = self._scanned = False
                self._times = Times()

    def _cut(self, thread: threading.Thread) -> None:
        """End what is under way; the claims are given back."""
        with self._lock:
            if not thread.is_alive() or self._call_in is None:
                return
            self._call_in(self._main.cancel)
        thread.join(1.0)

    # The thread

    def _work(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self._serve())
        except Exception:
            logger.exception("Notices cannot be sent now; they stay stored.")
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = self._call_in = None

    async def _serve(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._lines: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks = {}
        main = asyncio.current_task()
        assert main is not None
        with self._lock:
            self._main, self._news = main, asyncio.Event()
            self._call_in = asyncio.get_running_loop().call_soon_threadsafe
        while self._goes_on():
            self._news.clear()
            if self._is_time():
                self._look()
            await self._pause()

    def _goes_on(self) -> bool:
        with self._lock:
            later = self._times.next is not None and not self._closing
            if self._wanted or self._tasks or later:
                return True
            self._thread = self._call_in = None
            return False

    def _is_time(self) -> bool:
        with self._lock:
            wanted, self._wanted = self._wanted, False
        return self._times.pass_to(self._clock()) or wanted

    async def _pause(self) -> None:
        """Until there is news, or the next time has come."""
        later = None if self._closing else self._times.next
        if self._wanted or (later is None and not self._tasks):
            return
        seconds = LONGEST_SLEEP if later is None else min(LONGEST_SLEEP, max(0.0, later - self._clock()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    # Looking

    def _look(self) -> None:
        try:
            if not self._scanned:
                for when in self._book.times():
                    self._times.add(when)
                self._scanned = True
            self._take(self._due())
        except BackendError as error:
            logger.warning("Notices cannot be read now: %s", error)
            self._times.add(self._clock() + AGAIN)

    def _due(self) -> list[Mark]:
        """What nobody is at, oldest first."""
        found: list[Mark] = []
        for mark, held in self._book.due():
            if mark.name in self._tasks:
                continue
            if held:
                self._times.add(held)
            else:
                found.append(mark)
        return found[::-1]

    def _take(self, marks: list[Mark]) -> None:
        room = MOST - len(self._tasks)
        self._full = len(marks) > room
        for mark in marks[:room]:
            task = asyncio.create_task(self._handle(mark))
            self._tasks[mark.name] = task
            task.add_done_callback(partial(self._finished, mark.name))

    def _finished(self, name: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        with self._lock:
            self._wanted = self._wanted or self._full
        self._news.set()

    # One notice

    async def _handle(self, mark: Mark) -> None:
        try:
            await self._judge(mark)
        except BackendError as error:
            logger.warning("The notice of operation %s has to wait: %s", mark.identity, error)
            self._times.add(self._clock() + AGAIN)
        except Exception:
            logger.exception("The notice of operation %s cannot be told.", mark.identity)

    async def _judge(self, mark: Mark) -> None:
        entry, now = self._store.load(mark.identity), self._clock()
        if not isinstance(entry, OperationRecord) or (entry.expires() or now + 1) <= now:
            self._book.drop(mark)
        elif not entry.final:
            self._early(mark)
        elif (declaration := self._find(entry.declaration)) is None:
            return  # another version of the app knows it, and will be told of it
        elif entry.webhook is None and declaration.on_end is None:
            self._book.drop(mark)
        else:
            async with self._line(entry.webhook), self._slots:
                await self._deliver(mark, entry, declaration.on_end)

    def _early(self, mark: Mark) -> None:
        """Its operation has not ended: it is about to, or a crash came between."""
        now = self._clock()
        if mark.due < now - ORPHAN_AFTER:
            self._book.drop(mark)
        else:
            self._times.add(now + 1.0)

    def _line(self, url: str | None) -> asyncio.Semaphore:
        """The places of one receiver."""
        host = ""
        with contextlib.suppress(ValueError):
            host = parse_receiver(url or "").host
        return self._lines.setdefault(host, asyncio.Semaphore(TO_ONE))

    async def _deliver(self, mark: Mark, operation: OperationRecord, on_end: OnEnd | None) -> None:
        claim = self._book.claim(mark)
        if claim is None:  # another process was faster; a look shows until when it has claimed it
            with self._lock:
                self._wanted = True
            return
        holding = asyncio.create_task(self._hold(claim))
        try:
            with notice(operation, claim.notice.attempt):
                told = await self._teller.tell(operation, on_end, claim.notice)
        except asyncio.CancelledError:
            self._book.release(claim)
            raise
        finally:
            holding.cancel()
        self._settle(claim, told)

    async def _hold(self, claim: Claim) -> None:
        """Renew the claim for as long as telling takes."""
        while True:
            await asyncio.sleep(CLAIM / 3)
            with contextlib.suppress(BackendError):
                if not self._book.renew(claim):
                    return

    def _settle(self, claim: Claim, told: Told) -> None:
        if told.called and told.sent:
            count_notice("told")
            self._book.close(claim)
            return
        attempt, identity = claim.notice.attempt, claim.mark.identity
        due = retry_at(attempt, self._clock(), told.asked, self._rng())
        if due is None:
            text = "Operation %s: its end could not be told in %d attempts; given up."
            logger.error(text, identity, ATTEMPTS, extra={"operation": identity})
            count_notice("given-up")
            self._book.close(claim)
            return
        count_notice("retried")
        again = replace(claim.notice, attempt=attempt + 1, called=told.called, sent=told.sent)
        self._book.postpone(claim, again, due)
        self._times.add(due)
