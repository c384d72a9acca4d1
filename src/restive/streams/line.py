"""The line in which everything that changes or measures one stream waits in this process.

One thread at a time works on a line. It knows what the writers' state was at an offset and takes all that
waits: the writes are judged in their order and become one append, which holds only at that offset. Where
it does not hold, nothing was done, and all is judged anew by what others have appended. A refusal, too, is
given only by a state that was the last one.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..backends.port import Append, Backend, Step
from ..errors import BackendUnavailable, Conflict
from ..http.fields import media_type
from .items import unpack
from .known import Known, Reader
from .lives import Found, Life, Lives
from .producers import Outcome, State, Write, decide
from .tasks import Creation, Deletion, Look, Sight, Task, Writing

__all__ = ["Line", "Process"]

TRIES = 50
"""How often all is judged anew because others wrote first."""

PAUSE = 0.002
"""Seconds before the next try, times the number of failed ones and a random part."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes after which an append takes no further write in."""


@dataclass(frozen=True, slots=True)
class Process:
    """What the lines of one process share."""

    backend: Callable[[], Backend]
    lives: Lives
    reader: Reader
    announcement: Callable[[str], Sequence[Step]]
    """The steps that tell other processes of a change of the stream at a path."""
    changed: Callable[[str], None]
    """Tells this process of it."""


class _Judged:
    """What becomes of looks and writes in a state, if the log still ends there."""

    def __init__(self, state: State, tasks: Sequence[Look | Writing], life: Life, producers: int) -> None:
        self.state = state.copy()
        self.items: list[bytes] = []
        self.outcomes: list[tuple[Look | Writing, Outcome | None]] = []
        self.closes = False
        for task in tasks:
            outcome = None if isinstance(task, Look) else self._judge(task.write, life, producers)
            self.outcomes.append((task, outcome))

    @property
    def appends(self) -> bool:
        return bool(self.items) or self.closes

    def _judge(self, write: Write, life: Life, producers: int) -> Outcome:
        outcome = decide(self.state, write, media_type(life.content_type))
        if outcome.verdict != "appended":
            return outcome
        for stored in self.state.stored(write):
            self.items.append(stored)
            self.state.fold(unpack(stored), producers)
        self.closes = self.state.closed = write.close
        return outcome


class Line:
    """What waits for one stream, and what is known of it."""

    def __init__(self, key: str, path: str, process: Process, lock: threading.Lock) -> None:
        self.key, self.path = key, path
        self._process = process
        self._lock = lock
        self._waiting: deque[Task] = deque()
        self.busy = False
        self._known: Known | None = None
        self._behind = False
        """Others have appended what is not known yet."""

    def put(self, task: Task) -> bool:
        """Add what is asked, under the lock.

        True: nobody works here, so the caller has to see that ``work`` is called.
        """
        self._waiting.append(task)
        idle, self.busy = not self.busy, True
        return idle

    def work(self) -> bool:
        """Do what waits and may go together. True: there is more, so ``work`` is to be called again."""
        tasks = self._next()
        try:
            self._serve(tasks)
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            self._known = None  # nobody knows how far it came
            for task in tasks:
                if not task.future.done():
                    task.future.set_exception(error)
        with self._lock:
            self.busy = bool(self._waiting)
            return self.busy

    def _next(self) -> list[Task]:
        """What goes together: looks and writes, or one of the others."""
        with self._lock:
            tasks = [self._waiting.popleft()]
            room = MOST_BYTES - _size(tasks[0])
            while self._waiting and not isinstance(tasks[0], Creation | Deletion):
                room -= _size(self._waiting[0])
                if room < 0 or isinstance(self._waiting[0], Creation | Deletion):
                    break
                tasks.append(self._waiting.popleft())
        return tasks

    def _serve(self, tasks: list[Task]) -> None:
        for tries in range(TRIES):
            left = [task for task in tasks if not task.future.done()]
            if not left:
                return
            try:
                self._attempt(left)
            except Conflict:
                self._stale(tries)
        raise BackendUnavailable(f"Too many others write to the stream at {self.path} just now.")

    def _stale(self, tries: int) -> None:
        """Others were first: forget what may have changed."""
        self._process.lives.forget(self.key)
        self._behind = True
        if self._known is not None:
            self._known.version = None
        if tries:
            time.sleep(PAUSE * tries * random.random())  # noqa: S311 - it only spreads load

    def _attempt(self, tasks: list[Task]) -> None:
        """Answer some of ``tasks``, or learn more first. Raises ``Conflict``."""
        task = tasks[0]
        if isinstance(task, Creation):
            task.future.set_result(self._create(task))
        elif isinstance(task, Deletion):
            task.future.set_result(self._delete())
        else:
            self._answer([each for each in tasks if isinstance(each, Look | Writing)])

    # Looks and writes

    def _answer(self, tasks: list[Look | Writing]) -> None:
        found = self._process.lives.present(self.key)
        if found is None:
            self._answer_absent(tasks)
            return
        known, fresh = self._known, False
        if known is None or known.life != found.life.id:
            known, fresh = self._learn(found), True
        if known is None or (self._behind and not fresh and not self._read_on(known, found)):
            return
        fresh, self._behind = fresh or self._behind, False
        judged = self._judge(known, tasks, found)
        if not judged.appends and not fresh:
            if not self._read_on(known, found):
                return
            judged = self._judge(known, tasks, found)
        if judged.appends:
            found = self._append(known, found, judged)
        self._tell(known, found, judged)

    def _judge(self, known: Known, tasks: Sequence[Look | Writing], found: Found) -> _Judged:
        return _Judged(known.state, tasks, found.life, self._process.reader.producers)

    def _learn(self, found: Found) -> Known | None:
        self._known = self._process.reader.load(found)
        if self._known is None:
            self._process.lives.lost(found)
        return self._known

    def _read_on(self, known: Known, found: Found) -> bool:
        """Whether all that was appended since is known; else the log is not the one that was known."""
        try:
            self._process.reader.read_on(known, found)
        except KeyError:
            self._known = None
            self._process.lives.lost(found)
            return False
        except ValueError:  # Trimmed, too: others have gone far ahead
            self._known = None
            return False
        return True

    def _tell(self, known: Known, found: Found, judged: _Judged) -> None:
        for task, outcome in judged.outcomes:
            if isinstance(task, Look):
                task.future.set_result(Sight(found, known.offset, known.state.closed))
            else:
                assert outcome is not None
                task.future.set_result(_told(outcome, known))

    def _answer_absent(self, tasks: list[Look | Writing]) -> None:
        """Whoever may begin a life does so with the first write; what waits behind it is judged then."""
        for task in tasks:
            if isinstance(task, Look):
                task.future.set_result(None)
            elif task.life is None:
                task.future.set_result(Outcome("absent"))
            else:
                outcome = decide(State(), task.write, media_type(task.life.content_type))
                if outcome.verdict == "appended":
                    _, known = self._begin(task.life, State().stored(task.write), close=task.write.close)
                    outcome = _told(outcome, known)
                task.future.set_result(outcome)
                return

    def _append(self, known: Known, found: Found, judged: _Judged) -> Found:
        """Raises ``Conflict`` where the log does not end where it is known to."""
        process = self._process
        touch = process.lives.touch(found)
        snapshot, keep = process.reader.snapshot(known, found, judged.state.count)
        before = [step for step in (touch, snapshot) if step is not None]
        append = Append(found.log, judged.items, judged.closes, known.offset, keep)
        results = process.backend().apply([*before, append, *process.announcement(self.path)])
        if touch is not None:
            found = process.lives.remember(found.saved(touch, _version(results[0])))
        if snapshot is not None:
            known.version = _version(results[len(before) - 1])
            known.saved, known.read = known.state.count, 0
        end = results[len(before)]
        assert isinstance(end, str)
        known.state, known.offset = judged.state, end
        known.read += sum(map(len, judged.items))
        process.changed(self.path)
        return found

    # Lives

    def _begin(self, life: Life, items: Sequence[bytes], *, close: bool) -> tuple[Found, Known]:
        process = self._process
        found, end = process.lives.begin(
            self.key, life, items, close=close, then=process.announcement(self.path)
        )
        known = self._known = Known(found.life.id, State(closed=close), end)
        for stored in items:
            known.state.fold(unpack(stored), process.reader.producers)
        process.changed(self.path)
        return found, known

    def _create(self, task: Creation) -> Sight:
        while True:
            found = self._process.lives.find(self.key)
            if found is None:
                found, known = self._begin(task.life, State().stored(Write(task.items)), close=task.close)
                return Sight(found, known.offset, known.state.closed, created=True)
            there = self._learn(found)
            if there is not None:
                return Sight(found, there.offset, there.state.closed)

    def _delete(self) -> bool:
        process = self._process
        self._known = None
        while (found := process.lives.find(self.key)) is not None:
            if process.lives.delete(found, process.announcement(self.path)):
                process.changed(self.path)
                return True
        return False


def _told(outcome: Outcome, known: Known) -> Outcome:
    """The outcome with where the stream ends now."""
    return Outcome(outcome.verdict, known.offset, known.state.closed, outcome.epoch, outcome.seq)


def _version(result: int | str | None) -> int:
    assert isinstance(result, int)
    return result


def _size(task: Task) -> int:
    return sum(map(len, task.write.items)) if isinstance(task, Writing) else 0
