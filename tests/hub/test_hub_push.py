"""Pushes: the same bytes to every descriptor that takes them, and the usual way for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from connections import Member, Party, Play

from restive.hub.fanout import Send
from restive.hub.push import Push
from restive.hub.rendering import Rendering
from restive.hub.watch import End
from scenarios.waiting import until


def test_a_push_writes_to_all_without_their_help(send_all: Send, play: Play) -> None:
    async def main() -> None:
        party = Party()
        members = await party.join(300)
        for n in range(1, 6):
            body = party.change(n)
            for member in members:
                await member.has(body)
        assert {tuple(member.lines()) for member in members} == {tuple(b'{"n":%d}' % n for n in range(6))}
        assert all(member.wrote for member in members)
        assert sum(member.flushes for member in members) == 0
        party.close()

    play(main)


def test_what_the_kernel_does_not_take_is_written_later_once(send_all: Send, play: Play) -> None:
    """Each change is more than a kernel keeps; some do not read it, and then do."""

    async def main() -> None:
        party = Party(max_representation=2**21)
        quick, slow = await party.join(33), await party.join(4)
        padding = "7" * 400_000
        for n in range(1, 5):
            body = party.change(f"{n}{padding}")
            for member in quick:
                await member.has(body)
                member.got = b""
        assert [len(member.rests) for member in slow] == [1] * 4
        assert all(member.fd < 0 for member in slow)
        for member in slow:
            await member.has(body)
            heads = [each[:6] for each in member.lines()]
            assert heads == [b'{"n":0', b'{"n":1', b'{"n":4']
            assert {len(each) for each in member.lines()[1:]} == {len(body)}
            assert member.fd >= 0
        body = party.change(5)
        for member in (*slow, *quick):
            await member.has(body)
        assert [len(member.rests) for member in slow] == [1] * 4
        party.close()

    play(main)


def test_descriptors_that_fail_harm_nobody(send_all: Send, play: Play) -> None:
    async def main() -> None:
        party = Party()
        members = await party.join(40)
        members[3].client.close()
        members[5].fd = 2**20  # as if the system had refused it: its transport writes
        members[7].leave()
        body = party.change(1)
        for index, member in enumerate(members):
            if index not in {3, 7}:
                await member.has(body)
                assert member.lines() == [b'{"n":0}', body]
        assert members[5].rests == [len(body) + 1]
        members[5].fd = members[5]._descriptor
        await until(lambda: len(party.bench.hub.connections) == 38)
        assert members[3].fd == members[7].fd == -1
        body = party.change(2)
        for index in set(range(40)) - {3, 7}:
            await members[index].has(body)
        party.close()

    play(main)


# Who is told by itself, and who is not told


@pytest.fixture
async def party() -> AsyncIterator[Party]:
    party = Party()
    await party.join(3)
    yield party
    party.close()


def renewed(party: Party) -> Push:
    """A push of a new state, by hand."""
    watches = [member.watches[0] for member in party.members]
    home = watches[0].variant
    assert home is not None
    fields = ((b"content-type", b"application/json"),)
    home.rendering = Rendering(200, fields, b'{"n":1}', '"1"')
    return Push(home, watches)


OLD, NEW = b'{"n":0}', b'{"n":1}'


async def shown(member: Member, *expected: bytes) -> None:
    if expected[-1] == OLD:
        for _ in range(5):
            await asyncio.sleep(0)
    else:
        await member.has(expected[-1])
    assert member.lines() == list(expected)


async def test_members_in_one_push(party: Party) -> None:
    renewed(party).write(10)
    for member in party.members:
        await shown(member, OLD, NEW)
        assert (member.told, member.flushes) == ([], 0)


async def test_who_has_left_gets_nothing(party: Party) -> None:
    first, second, third = party.members
    pushed = renewed(party)
    first.watches[0].close()
    second.leave()
    await until(lambda: second.watches[0].variant is None)
    pushed.write(10)
    await shown(third, OLD, NEW)
    await shown(first, OLD)
    await shown(second, OLD)
    assert first.told == second.told == []


async def test_an_end_is_told_with_what_belongs_to_it(party: Party) -> None:
    first, second, _ = party.members
    pushed = renewed(party)
    first.watches[0].ended(End({"status": 403}))
    second.watches[0].ended(End({"status": 200}))
    pushed.write(10)
    await shown(first, OLD, b"end")
    await shown(second, OLD, b"end")


async def test_who_has_moved_is_told_by_the_new_home(party: Party) -> None:
    first, second, _ = party.members
    pushed = renewed(party)
    home = first.watches[0].variant
    assert home is not None
    home.resource.rehome([first.watches[0]], solo=True)
    pushed.write(10)
    await shown(second, OLD, NEW)
    assert first.told == []
    await until(lambda: len(party.page.looks) == 2)
    await shown(first, OLD)  # its own look found what it has


async def test_who_was_never_told_takes_it_by_itself(party: Party) -> None:
    pushed = renewed(party)
    party.members[0].watches[0].seen = None
    pushed.write(10)
    await shown(party.members[0], OLD, NEW)
    assert party.members[0].flushes == 1


async def test_who_wants_patches_gets_one(party: Party) -> None:
    pushed = renewed(party)
    party.members[0].watches[0].patch = True
    pushed.write(10)
    await shown(party.members[0], OLD, b"patch")
    await shown(party.members[1], OLD, NEW)


async def test_who_takes_nothing_gets_it_later(party: Party) -> None:
    first = party.members[0]
    first.pause_writing()
    renewed(party).write(10)
    await shown(first, OLD)
    first.resume_writing()
    await shown(first, OLD, NEW)
    assert party.members[1].flushes == 0


async def test_who_writes_already_writes_it_with_that(party: Party) -> None:
    """Not before what it has to say."""
    first, second, _ = party.members
    other = first.watch(party.bench, "/b")
    await until(lambda: first.flushes == 1)
    assert other.variant is not None
    other.variant.rendering = Rendering(200, (), b"null", '"b"')
    first.ready(other)
    renewed(party).write(10)
    assert first.flushes == 1
    await shown(first, OLD, OLD, b"null", NEW)
    assert first.flushes == 2
    await shown(second, OLD, NEW)


async def test_who_has_it_is_not_told_again(party: Party) -> None:
    pushed = renewed(party)
    home = party.members[0].watches[0].variant
    assert home is not None
    assert home.rendering is not None
    same = Rendering(200, home.rendering.fields, OLD, party.members[1].watches[0].seen.etag)  # type: ignore[union-attr]
    party.members[0].watches[0].seen = home.rendering
    pushed.write(1)
    home.rendering = same
    pushed.write(10)
    for member in party.members:
        await shown(member, OLD)
    assert all(member.watches[0].seen is same for member in party.members[1:])


async def test_who_waits_for_a_later_look_is_not_told(party: Party) -> None:
    """Moved here with what it had before, or come back with a cursor."""
    first, second, _ = party.members
    home = first.watches[0].variant
    assert home is not None
    first.watches[0].since = home.looks + 1
    pushed = renewed(party)
    home.looks += 1  # which begins now, and has found nothing yet
    pushed.write(10)
    await shown(second, OLD, NEW)
    await shown(first, OLD)
    assert first.told == []


async def test_marking_writes_nothing_but_what_there_is_to_tell(party: Party) -> None:
    first, second, _ = party.members
    pushed = renewed(party)
    first.watches[0].close()
    assert pushed.mark(2)
    assert not pushed.write(2)
    assert (first.told, second.told) == ([], [second.watches[0]])
    for member in party.members[1:]:
        await shown(member, OLD, NEW)


class Steps:
    """An app whose answers the test gives."""

    def __init__(self) -> None:
        self.looks: list[asyncio.Future[tuple[int, bytes]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.looks.append(answer)
        status, body = await answer
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"private")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def begun(self, count: int) -> None:
        await until(lambda: len(self.looks) == count)


async def test_who_waits_for_a_look_is_not_told_what_an_earlier_one_found() -> None:
    """A right may have been withdrawn since that had begun (design 1.1).

    Its push waits for looks at something else; meanwhile the look that the member waits for begins.
    """
    app = Steps()
    party = Party(app)  # type: ignore[arg-type]
    ann = {"authorization": "Bearer ann"}
    party.members = [await Member.of(party.bench) for _ in range(42)]
    *members, late, other = party.members
    for member in members:
        member.watch(party.bench, **ann)
    await app.begun(1)
    app.looks[0].set_result((200, OLD))
    for member in members:
        await member.has(OLD)
    party.announce(["/a"])
    await app.begun(2)
    late.watch(party.bench, **ann)
    other.watch(party.bench, "/other")
    await app.begun(3)
    app.looks[1].set_result((200, NEW))
    await app.begun(4)
    for member in members:
        await member.has(NEW)
    assert late.lines() == []
    app.looks[3].set_result((403, b""))
    await late.has(b"end")
    assert late.lines() == [b"end"]
    app.looks[2].set_result((200, OLD))
    party.close()


# Together


def test_at_the_end_every_client_has_the_last_state(send_all: Send, play: Play) -> None:
    async def main() -> None:
        party = Party()
        members = await party.join(700)
        body = party.change(1)
        hub = party.bench.hub
        async with asyncio.timeout(10):
            while not len(hub.flusher):
                await asyncio.sleep(0)
        hub.drain_now()
        await asyncio.sleep(0)
        for member in members:
            assert member.lines() == [OLD, body]
        party.close()

    play(main)


def test_what_comes_together_is_written_together(play: Play) -> None:
    """Four resources change in one moment; each connection is written to once for all of them."""

    async def main() -> None:
        party, targets = Party(), ["/a", "/b", "/c", "/d"]
        members = await party.join(40)
        for target in targets[1:]:
            for member in members:
                member.watch(party.bench, target)
        for member in members:
            await until(lambda member=member: len(member.lines()) == 4)  # type: ignore[misc]
        await until(lambda: not len(party.bench.hub.flusher))
        for member in members:
            member.flushes = 0
        for n in range(1, 4):
            body = party.change(n, *targets)
            for member in members:
                await until(lambda member=member, body=body: member.lines().count(body) == 4)  # type: ignore[misc]
            assert {member.flushes for member in members} == {n}
        party.close()

    play(main)
