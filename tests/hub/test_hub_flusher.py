"""The turns of a loop: what waits for which, and that nothing waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from virtual import run

from restive.hub import flusher
from restive.hub.flusher import GATHER, Flusher
from scenarios.waiting import until


class Told:
    """A push that says when it wrote."""

    def __init__(self, log: list[str], name: str, *, turns: int = 1, fault: bool = False) -> None:
        self._log, self._name, self._turns, self._fault = log, name, turns, fault

    def write(self, count: int) -> bool:
        self._log.append(self._name)
        if self._fault:
            raise ValueError("broken")
        self._turns -= 1
        return self._turns > 0

    mark = write


class Waiting:
    """A connection that says when it wrote."""

    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    def flush(self) -> None:
        self._log.append(self._name)


def test_a_push_waits_for_looks_under_way_and_not_for_ever() -> None:
    async def main() -> None:
        loop, log = asyncio.get_running_loop(), list[str]()
        turns = Flusher(loop, lambda: 2)
        begun = loop.time()
        turns.push(Told(log, "first"))
        await asyncio.sleep(GATHER / 2)
        turns.push(Told(log, "second"))
        turns.look_ended()
        await asyncio.sleep(GATHER / 4)
        assert log == []
        await asyncio.sleep(GATHER / 4)
        assert log == ["first"]
        await asyncio.sleep(0)
        assert log == ["first", "second"]
        assert loop.time() == pytest.approx(begun + GATHER)
        assert len(turns) == 0

    run(main())


@pytest.mark.parametrize("looks", [0, 1, 3])
def test_a_push_waits_no_longer_than_the_looks_that_had_begun(looks: int) -> None:
    """Others begin meanwhile."""

    async def main() -> None:
        loop, log = asyncio.get_running_loop(), list[str]()
        under_way = looks
        turns = Flusher(loop, lambda: under_way)
        begun = loop.time()
        turns.push(Told(log, "push"))
        for _ in range(looks):
            await asyncio.sleep(0)
            assert log == []
            under_way += 1
            turns.push(Told(log, "joins it"))
            turns.look_ended()
        for _ in range(looks + 1):
            await asyncio.sleep(0)
        assert log == ["push", *["joins it"] * looks]
        assert loop.time() == begun
        turns.look_ended()
        turns.push(Told(log, "another"))
        await asyncio.sleep(GATHER * 2)
        assert log[-1] == "another"

    run(main())


async def test_a_fault_stops_no_other() -> None:
    log: list[str] = []
    turns = Flusher(asyncio.get_running_loop())
    for name in ("a", "b"):
        turns.push(Told(log, name, fault=name == "a", turns=3))
    turns.add(Waiting(log, "c"))
    await until(lambda: not len(turns))
    assert log == ["a", "b", "b", "b", "c"]


async def test_what_comes_while_pushes_go_on_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pushes there are, and however long they take."""
    monkeypatch.setattr(flusher, "MOST_PUSHING", 3)
    log: list[str] = []
    turns = Flusher(asyncio.get_running_loop())
    for _ in range(2):
        turns.push(Told(log, "push", turns=20))
    turns.add(Waiting(log, "one"))
    await until(lambda: "one" in log)
    assert log.index("one") <= 3
    await until(lambda: not len(turns))
    assert log.count("push") == 40


async def test_the_end_of_the_loop_writes_all() -> None:
    log: list[str] = []
    turns = Flusher(asyncio.get_running_loop(), lambda: 1)
    turns.push(Told(log, "held", turns=3))
    turns.add(Waiting(log, "waits"))
    turns.finish()
    assert sorted(log) == ["held", "held", "held", "waits"]
    turns.push(Told(log, "held again"))
    turns.finish()
    assert log[-1] == "held again"
    assert len(turns) == 0
