"""Whatever happens in whatever order: each connection ends with the current state, and never goes back."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from connections import Member, Party
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restive.hub import flusher, push, variant
from restive.hub.fanout import _send_all
from restive.hub.rendering import Rendering
from scenarios.waiting import until

TARGETS = ["/a", "/b"]

Op = tuple[Any, ...]
WHO = st.integers(0, 5)
OPS = st.one_of(
    st.tuples(st.just("change"), st.sampled_from([("/a",), ("/a", "/b"), ("/b",)]), st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 12)),
    st.tuples(st.just("join"), st.sampled_from([("/a",), ("/a", "/b")])),
    st.tuples(st.sampled_from(["pause", "resume", "unwatch", "cut", "tight", "roomy"]), WHO),
)


def named(rendering: Rendering, on: str) -> bytes:
    return on.encode() + b" " + rendering.body + b"\n"


class Kernel:
    """Takes only a part of what is written to some descriptors, the rest a moment later."""

    def __init__(self) -> None:
        self.tight: set[int] = set()

    def send_all(self, descriptors: list[int], data: bytes) -> list[tuple[int, int]]:
        short = []
        for index, number in enumerate(descriptors):
            if number in self.tight:
                short.append((index, os.write(number, data[: len(data) // 2])))
            else:
                assert _send_all([number], data) == []
        return short


class Story:
    """What happens, and what each connection may have got."""

    def __init__(self) -> None:
        self.party = Party()
        self.kernel = Kernel()
        self.said: list[bytes] = [self.party.page.body]
        """The page's states, in their order; one may come again."""
        self.gone: dict[Member, int] = {}
        """Who has left, and how many states there were then."""

    async def join(self, targets: tuple[str, ...]) -> None:
        member = await Member.of(self.party.bench)
        member.form = named
        for target in targets:
            member.watch(self.party.bench, target)
        self.party.members.append(member)

    async def do(self, op: Op) -> None:
        match op:
            case ("change", targets, back):
                n = len(self.said)
                body = self.said[max(0, n - 2)] if back else b'{"n":%d}' % n
                self.said.append(body)
                self.party.page.body = body
                # The page is one: who watches the other target is to see it as well, if later.
                self.party.announce(targets)
            case ("turns", count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case ("join", targets):
                await self.join(targets)
            case (what, index):
                member = self.party.members[index % len(self.party.members)]
                if member not in self.gone:
                    self.meet(what, member)

    def meet(self, what: str, member: Member) -> None:
        if what == "pause" and member._late_at is None:
            member.pause_writing()
        elif what == "resume" and member._late_at is not None:
            member.resume_writing()
        elif what == "tight":
            self.kernel.tight.add(member._descriptor)
        elif what == "roomy":
            self.kernel.tight.discard(member._descriptor)
        elif what in {"unwatch", "cut"}:
            self.gone[member] = len(self.said)
            self.kernel.tight.discard(member._descriptor)
            if what == "cut":
                member.leave()
            for watch in member.watches:
                member.forget(watch)
                watch.close()

    async def end(self) -> None:
        """All read on, and nothing more happens."""
        self.party.announce(TARGETS)
        here = [member for member in self.party.members if member not in self.gone]
        for member in here:
            if member._late_at is not None:
                member.resume_writing()
        for member in here:
            await until(lambda member=member: self.current(member))  # type: ignore[misc]
        await until(lambda: not len(self.party.bench.hub.flusher))
        for _ in range(10):
            await asyncio.sleep(0)

    def current(self, member: Member) -> bool:
        return all(got and got[-1] == self.said[-1] for got in told(member).values())

    def judge(self) -> None:
        for member in self.party.members:
            states = self.said[: self.gone.get(member)]
            for got in told(member).values():
                assert all(one != another for one, another in itertools.pairwise(got)), got
                rest = iter(states)
                assert all(each in rest for each in got), (got, states)
            if member not in self.gone:
                assert self.current(member)


def told(member: Member) -> dict[str, list[bytes]]:
    """What the connection got for each of its targets."""
    found: dict[str, list[bytes]] = {watch.on: [] for watch in member.watches}
    member.read()
    for each in member.got.split(b"\n")[:-1]:
        on, _, body = each.partition(b" ")
        found[on.decode()].append(body)
    return found


async def play(ops: list[Op]) -> None:
    story = Story()
    for targets in ("/a", "/b"), ("/a",), ("/a",):
        await story.join(targets)
    with pytest.MonkeyPatch.context() as patch:
        # Small slices, so that a few connections take many turns.
        patch.setattr(variant, "FEW", 0)
        patch.setattr(flusher, "SLICE", 2)
        patch.setattr(flusher, "MARKS", 2)
        patch.setattr(push, "send_all", story.kernel.send_all)
        try:
            for op in ops:
                await story.do(op)
            await story.end()
            story.judge()
        finally:
            story.party.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@settings(max_examples=100)
@given(ops=st.lists(OPS, max_size=30))
@example(
    ops=[("turns", 12), ("pause", 0), ("change", ("/a",), False), ("turns", 12), ("change", ("/a",), True)]
)
def test_every_connection_ends_with_the_current_state(
    new_loop: Callable[[], asyncio.AbstractEventLoop], ops: list[Op]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play(ops))
