"""Any sequence of calls leaves in a backend what plain dicts and lists would hold."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from restive.backends.memory import MemoryBackend
from restive.backends.port import Announce, Append, Backend, Delete, Drop, Record, Save, Step, Trimmed
from restive.backends.sqlite import SqliteBackend
from restive.errors import Conflict
from restive.testing.stores import Ear

STREAMS = ("s", "S")
RECORDS = ("r", "r/1", "R\0")
MORE = 999


class Refused(Exception):
    """The model finds a Conflict."""


@dataclass
class Stream:
    life: int
    items: list[bytes] = field(default_factory=list)
    start: int = 0
    """How many are known to be dropped."""
    least: int = 0
    """How many may be."""
    closed: bool = False


@dataclass
class Model:
    """What there is; a version or an offset that is not known yet is the number of its step, negative."""

    records: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    announced: list[bytes] = field(default_factory=list)

    def do(self, step: Step, mark: int, ends: dict[str, tuple[int, int]], life: int) -> None:
        """Do one step; ``ends`` are the offsets that are known, with their life of a stream and position."""
        match step:
            case Save(name, value, version):
                self.expect_version(name, version)
                self.records[name] = (value, mark)
            case Delete(name, version):
                self.expect_version(name, version)
                self.records.pop(name, None)
            case Append():
                self.append(step, ends, life)
            case Drop(stream):
                self.streams.pop(stream, None)
            case Announce(payload):
                self.announced.append(payload)

    def expect_version(self, name: str, version: int | None) -> None:
        current = self.records[name][1] if name in self.records else 0
        if version is not None and version != current:
            raise Refused

    def append(self, step: Append, ends: dict[str, tuple[int, int]], life: int) -> None:
        found = self.streams.get(step.stream)
        if step.after is not None:
            at_end = ends.get(step.after) == (found.life, len(found.items)) if found else step.after == ""
            if not at_end:
                raise Refused
        if found and found.closed:
            raise Refused
        found = self.streams.setdefault(step.stream, Stream(life))
        found.items += step.items
        found.closed = step.close
        if step.keep:
            found.least = max(found.least, len(found.items) - step.keep)


class Walk(RuleBasedStateMachine):
    """Calls of two handles on one store, and of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.ends: dict[str, tuple[int, int]] = {}
        self.versions: list[int] = [0]
        self.numbers = count()
        self.ear = Ear()

    def open(self) -> tuple[Backend, Backend]:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.handles = self.open()
        self.handles[0].listen(self.ear)

    def steps(self, data: st.DataObject) -> list[Step]:
        kinds = data.draw(st.lists(st.sampled_from("svdDaaaAxn"), min_size=1, max_size=5))
        return [self.step(kind, data) for kind in kinds]

    def step(self, kind: str, data: st.DataObject) -> Step:
        """One step, against what there is or was before the batch."""
        name = data.draw(st.sampled_from(RECORDS))
        stream = data.draw(st.sampled_from(STREAMS))
        value = b"%d" % next(self.numbers)
        match kind:
            case "s":
                return Save(name, value, None)
            case "v":
                return Save(name, value, self.version(name, data))
            case "d":
                return Delete(name)
            case "D":
                return Delete(name, self.version(name, data))
            case "a" | "A":
                items = [b"%d" % next(self.numbers) for _ in range(data.draw(st.integers(0, 4)))]
                after = self.offset(stream, data) if kind == "A" else None
                close = data.draw(st.integers(0, 9)) == 9
                return Append(stream, items, close, after, data.draw(st.sampled_from([0, 0, 0, 1, 2, 9])))
            case "x":
                return Drop(stream)
            case _:
                return Announce(value)

    def version(self, name: str, data: st.DataObject) -> int:
        current = self.model.records[name][1] if name in self.model.records else 0
        return data.draw(st.one_of(st.just(current), st.just(current), st.sampled_from(self.versions)))

    def offset(self, stream: str, data: st.DataObject) -> str:
        found = self.model.streams.get(stream)
        end = next((o for o, at in self.ends.items() if found and at == (found.life, len(found.items))), "")
        return data.draw(st.one_of(st.just(end), st.just(end), st.sampled_from(["", "0", *self.ends])))

    @rule(data=st.data(), durable=st.booleans(), handle=st.integers(0, 1))
    def apply(self, data: st.DataObject, durable: bool, handle: int) -> None:
        steps = self.steps(data)
        model = deepcopy(self.model)
        lives: dict[int, tuple[int, int]] = {}
        try:
            for n, step in enumerate(steps, 1):
                model.do(step, -n, self.ends, life=next(self.numbers))
                if isinstance(step, Append):
                    found = model.streams[step.stream]
                    lives[n] = (found.life, len(found.items))
        except Refused:
            with pytest.raises(Conflict):
                self.handles[handle].apply(steps, durable=durable)
            return
        done = self.handles[handle].apply(steps, durable=durable)
        self.model = model
        self.learn(steps, done, lives)

    def learn(self, steps: list[Step], done: list[Any], lives: dict[int, tuple[int, int]]) -> None:
        """Put what the batch returned into the model."""
        assert len(done) == len(steps)
        for n, (step, result) in enumerate(zip(steps, done, strict=True), 1):
            if isinstance(step, Save):
                assert result > max(self.versions)
                self.versions.append(result)
                value, version = self.model.records.get(step.name, (b"", 0))
                if version == -n:
                    self.model.records[step.name] = (value, result)
            elif isinstance(step, Append):
                assert self.ends.setdefault(result, lives[n]) == lives[n]
            else:
                assert result is None

    @rule(stream=st.sampled_from(STREAMS), limit=st.integers(1, 5), handle=st.integers(0, 1), data=st.data())
    def read(self, stream: str, limit: int, handle: int, data: st.DataObject) -> None:
        offset = self.offset(stream, data)
        backend, found = self.handles[handle], self.model.streams.get(stream)
        if found is None:
            with pytest.raises(KeyError):
                backend.read(stream, offset, limit)
            return
        life, position = self.ends.get(offset, (-1, -1)) if offset else (found.life, found.start)
        if life != found.life or position < found.start:
            with pytest.raises(Trimmed if life == found.life else ValueError):
                backend.read(stream, offset, limit)
            return
        page = backend.read(stream, offset, limit)
        end = min(position + limit, len(found.items))
        assert list(page.items) == found.items[position:end]
        assert page.up_to_date == (end == len(found.items))
        assert page.closed == (found.closed and page.up_to_date)
        assert self.ends.setdefault(page.next, (life, end)) == (life, end)

    @rule(prefix=st.sampled_from(["", "r", "R"]), limit=st.integers(1, 6), handle=st.integers(0, 1))
    def scan_and_load(self, prefix: str, limit: int, handle: int) -> None:
        backend, records = self.handles[handle], self.model.records
        for before in (None, "r/", "é"):
            held = [n for n in records if n.startswith(prefix) and (before is None or n < before)]
            expected = [Record(n, *records[n]) for n in sorted(held, reverse=True)[:limit]]
            assert backend.scan(prefix, before=before, limit=limit) == expected
        for name in RECORDS:
            assert backend.load(name) == (Record(name, *records[name]) if name in records else None)

    @rule(handle=st.integers(1, 1))
    def close(self, handle: int) -> None:
        if self.handles[0] is not self.handles[1]:
            self.handles[handle].close()

    @invariant()
    def the_newest_are_kept(self) -> None:
        """What is dropped is no more than may be, and stays dropped."""
        for name, found in self.model.streams.items():
            page = self.handles[0].read(name)
            items, at_end = page.items, (found.life, len(found.items))
            assert self.ends.setdefault(page.next, at_end) == at_end
            start = len(found.items) - len(items)
            assert found.start <= start <= found.least <= start + MORE
            assert list(items) == found.items[start:]
            found.start = start

    def teardown(self) -> None:
        if not hasattr(self, "handles"):
            return
        try:
            self.handles[1].announce(b"the end")
            assert self.ear.until(b"the end") == [*self.model.announced, b"the end"]
        finally:
            for handle in self.handles:
                handle.close()


class MemoryWalk(Walk):
    def open(self) -> tuple[Backend, Backend]:
        backend = MemoryBackend()
        return backend, backend


class SqliteWalk(Walk):
    def open(self) -> tuple[Backend, Backend]:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "restive.db"
        return SqliteBackend(path, interval=0.001), SqliteBackend(path, interval=0.001)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


@pytest.mark.parametrize(("walk", "examples"), [(MemoryWalk, 100), (SqliteWalk, 60)])
def test_a_backend_holds_what_the_model_holds(walk: type[Walk], examples: int):
    # Unshrunk: making a failure small would outlast the test's time, and nothing of it would be shown.
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    options = settings(max_examples=examples, stateful_step_count=25, phases=phases)
    run_state_machine_as_test(walk, settings=options)
