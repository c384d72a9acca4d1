"""Writing: batches decided by compare-and-set, appends that go together, dropping the oldest.

What is remembered of a stream's end spares a read; where the server says that it has moved, everything
that was compared is read and decided again. Nothing is sent twice whose outcome is unknown.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from restive.errors import BackendUnavailable, Conflict

from ..limits import SPARE
from ..port import Announce, Append, Delete, Drop, Save, Step
from .connection import Connection
from .gathering import Gathering
from .messages import Items, items_of, split
from .plan import Plan, Result, State, plan
from .store import Moved, Store, TooMany

__all__ = ["Writing"]

TOGETHER = 256
"""Appends, or steps, of several callers that go together, at most, and their bytes."""
TOGETHER_BYTES = 500_000

REMEMBERED = 10_000
"""Streams whose end is remembered."""

LEAST_SPARE = 64
PROBES = 12
"""Looks for where to cut a stream, at most; each halves what is left, or better."""


class Writing:
    """Changes of one app, over its connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._appends: dict[str, Gathering] = {}
        self._batches = Gathering(self._change, _disjoint)

    async def apply(self, steps: Sequence[Step]) -> list[Result]:
        """Do the steps as one atomic batch, or in parts where they are more than JetStream takes."""
        changes = [step for step in steps if not isinstance(step, Announce)]
        announced = [step.payload for step in steps if isinstance(step, Announce)]
        done = iter(await self._gather(changes) if changes else [])
        if announced:
            await self.announce(announced)
        return [None if isinstance(step, Announce) else next(done) for step in steps]

    async def _gather(self, steps: Sequence[Step]) -> list[Result]:
        """A batch costs the server some milliseconds, a message a tenth of one: so callers share."""
        if len(steps) > 1:
            return await self._batches.add(steps)
        (step,) = steps
        if not isinstance(step, Append) or step.after is not None or step.close:
            return await self._change(steps)
        appends = self._appends.setdefault(step.stream, Gathering(self._change, _together))
        try:
            return await appends.add(steps)
        finally:
            if appends.idle:
                self._appends.pop(step.stream, None)

    async def announce(self, payloads: Sequence[bytes]) -> None:
        """Announce all of them, in order."""

        async def work(store: Store) -> None:
            subject = store.news_subject
            news = [split(subject, payload, "announcement", store.room) for payload in payloads]
            await asyncio.gather(*map(store.publish, news))

        await self._connection.run(work, size=sum(map(len, payloads)))

    async def _change(self, steps: Sequence[Step]) -> list[Result]:
        try:
            return await self._connection.run(lambda store: self._decide(store, steps), size=_size(steps))
        except TooMany:
            if len(steps) == 1:
                raise BackendUnavailable(
                    "NATS: an append is larger than an atomic batch of JetStream (1000 messages)."
                ) from None
        half = len(steps) // 2
        return [*await self._change(steps[:half]), *await self._change(steps[half:])]

    # Deciding

    async def _decide(self, store: Store, steps: Sequence[Step]) -> list[Result]:
        """Publish what the steps come to, decided again as long as others are quicker."""
        states = await self._remembered(store, steps)
        fresh, tries = False, 0
        while True:
            try:
                made = plan(steps, states, store.subjects, store.room)
                if made.messages:
                    first = await store.publish(made.messages)
                    return await self._done(store, steps, made, first)
                if fresh:
                    return made.results(store.lives.number)
            except Conflict:
                if fresh:
                    raise
            except Moved:
                await asyncio.sleep(tries * random.uniform(0, 0.002))  # noqa: S311 - jitter
            states, fresh, tries = await self._read(store, steps), True, min(tries + 1, 10)

    async def _done(self, store: Store, steps: Sequence[Step], made: Plan, first: int) -> list[Result]:
        self._remember(store, made, first)
        await self._shorten(store, steps)
        return made.results(lambda index: store.lives.number(first + index))

    async def _remembered(self, store: Store, steps: Sequence[Step]) -> dict[str, State]:
        """What is there as far as the steps say and this process knows; streams that it does not are read."""
        states: dict[str, State] = {}
        for subject, step in _first(store, steps).items():
            if isinstance(step, Append):
                states[subject] = store.tails.get(subject) or await store.state(subject, stream=True)
            elif isinstance(step, Save | Delete) and step.version:
                sequence = store.lives.sequence(step.version)
                states[subject] = State(sequence or 0, step.version, present=sequence is not None)
            elif isinstance(step, Delete):  # of nothing: it writes nothing that the server would compare
                states[subject] = await store.state(subject, stream=False)
        return states

    async def _read(self, store: Store, steps: Sequence[Step]) -> dict[str, State]:
        """What is there now."""
        compared = _first(store, steps)
        found = await asyncio.gather(
            *(store.state(subject, stream=isinstance(step, Append)) for subject, step in compared.items())
        )
        return dict(zip(compared, found, strict=True))

    def _remember(self, store: Store, made: Plan, first: int) -> None:
        for subject, tail in made.tails.items():
            store.tails.pop(subject, None)
            if tail is None:
                store.starts.pop(subject, None)
                continue
            items, index = tail
            store.tails[subject] = State(first + index, store.lives.number(first + index), True, items)
            if len(store.tails) > REMEMBERED:
                oldest = next(iter(store.tails))
                del store.tails[oldest]
                store.starts.pop(oldest, None)

    # Dropping the oldest

    async def _shorten(self, store: Store, steps: Sequence[Step]) -> None:
        """Drop what the appends need not keep. They are done: what fails here is done by the next one."""
        for step in steps:
            if isinstance(step, Append) and step.keep:
                subject = store.subjects.stream(step.stream)
                state = store.tails.get(subject)
                if state is not None and state.items is not None:
                    try:
                        await _cut(store, subject, state.items, state.sequence, step.keep)
                    except BackendUnavailable:
                        return


async def _cut(store: Store, subject: str, tail: Items, last: int, keep: int) -> None:
    """Remove the messages that hold nothing of the newest ``keep`` items, once it is worth it."""
    spare = min(max(keep // 8, LEAST_SPARE), SPARE)
    target = tail.end - keep
    if target - store.starts.get(subject, 0) < spare:
        return
    low = await _look(store, subject, 1)
    if low is None:
        return
    store.starts[subject] = low[0]
    if target - low[0] < spare:
        return
    high = tail.end, last + 1
    for probe in range(PROBES):
        if low[0] == target or high[1] - low[1] <= 1:
            break
        part = (target - low[0]) / (high[0] - low[0]) if probe % 3 < 2 else 0.5
        guess = low[1] + max(1, int((high[1] - low[1]) * part))
        found = await _look(store, subject, guess)
        if found is None or found[0] > target:
            high = (found[0] if found else tail.end), guess
        else:
            low = found
    await store.remove_before(subject, low[1])
    store.starts[subject] = low[0]


async def _look(store: Store, subject: str, sequence: int) -> tuple[int, int] | None:
    """Position and sequence of the first whole message of a stream from that sequence on."""
    messages, _ = await store.following(subject, sequence, 1, 1)
    if not messages:
        return None
    held = items_of(messages[0])
    return held.position, messages[0].sequence - held.part.piece + 1


def _first(store: Store, steps: Sequence[Step]) -> dict[str, Step]:
    """The first step of each subject, where it looks at what is there."""
    first: dict[str, Step] = {}
    for step in steps:
        first.setdefault(store.subjects.of(step), step)
    return {subject: step for subject, step in first.items() if _compares(step)}


def _compares(step: Step) -> bool:
    if isinstance(step, Save | Delete):
        return step.version is not None
    return not isinstance(step, Drop)


def _together(waiting: Sequence[Sequence[Step]]) -> int:
    """How many appends to one stream go into one message."""
    room = TOGETHER_BYTES
    for count, steps in enumerate(waiting[:TOGETHER]):
        room -= _size(steps)
        if count and room < 0:
            return count
    return min(len(waiting), TOGETHER)


def _disjoint(waiting: Sequence[Sequence[Step]]) -> int:
    """How many batches go together: those that are about different things."""
    room, most = TOGETHER_BYTES, TOGETHER
    touched: set[tuple[bool, str]] = set()
    for count, steps in enumerate(waiting):
        about = {
            (isinstance(step, Append | Drop), step.stream if isinstance(step, Append | Drop) else step.name)
            for step in steps
            if not isinstance(step, Announce)
        }
        room, most = room - _size(steps), most - len(steps)
        if count and (room < 0 or most < 0 or about & touched):
            return count
        touched |= about
    return len(waiting)


def _size(steps: Sequence[Step]) -> int:
    sizes = (len(step.value) if isinstance(step, Save) else 0 for step in steps)
    items = (sum(map(len, step.items)) if isinstance(step, Append) else 0 for step in steps)
    return sum(sizes) + sum(items)
