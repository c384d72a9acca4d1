"""Whether two renderings are the same, and that those which nobody has any more are gone."""

from __future__ import annotations

import asyncio
import gc

from connections import Party
from hypothesis import given
from hypothesis import strategies as st

from restive.http.validators import same
from restive.hub.rendering import Rendering
from scenarios.waiting import until

KIND = ((b"content-type", b"application/json"),)
BODIES = [b"1", b"2", b"1 "]
TAGS = ['"a"', '"b"', 'W/"a"', 'W/"b"']

MADE = st.tuples(st.sampled_from(BODIES), st.sampled_from(TAGS), st.booleans())
"""Body, tag, and whether it follows the one before as another."""


@given(
    made=st.lists(MADE, min_size=2, max_size=6),
    asked=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40),
)
def test_it_is_the_plain_comparison(
    made: list[tuple[bytes, str, bool]], asked: list[tuple[int, int]]
) -> None:
    """Of any two, in any order and direction, however often."""
    found: list[Rendering] = []
    unseen: list[int] = []
    for body, tag, follows in made:
        found.append(Rendering(200, KIND, body, tag))
        unseen.append(unseen[-1] + 1 if follows and unseen else 0)
        if follows and len(found) > 1:
            found[-1].follows(found[-2], announced=True)
            assert not found[-1].same_as(found[-2])
    for one, other in asked:
        i, j = one % len(found), other % len(found)
        content = (found[i].body, unseen[i]) == (found[j].body, unseen[j])
        plainly = content and same(found[i].etag, found[j].etag)
        assert found[i].same_as(found[j]) == plainly


def alive() -> int:
    return sum(type(each) is Rendering for each in gc.get_objects())


def test_a_thousand_states_leave_a_few(send_all: object) -> None:
    """One client has the first for all the time, one misses some, one asks for patches, forty take each."""

    async def main() -> None:
        party = Party()
        still, slow, patching, *_ = await party.join(43)
        patching.watches[0].patch = True
        still.pause_writing()
        home = still.watches[0].variant
        assert home is not None
        for n in range(1, 1001):
            body = party.change(n)
            async with asyncio.timeout(10):
                while home.rendering is None or home.rendering.body != body or len(party.bench.hub.flusher):
                    await asyncio.sleep(0)
            if n % 7 == 3:
                slow.pause_writing()
            elif n % 7 == 0:
                slow.resume_writing()
            for member in party.members:
                member.read()
        assert alive() - before <= 5
        assert still.watches[0].seen is not None
        assert still.watches[0].seen.body == b'{"n":0}'
        still.resume_writing()
        await until(lambda: still.lines()[-1] == body)
        assert still.lines() == [b'{"n":0}', body]
        party.close()

    gc.collect()
    gc.disable()  # what is left is held
    before = alive()
    try:
        with asyncio.Runner() as runner:
            runner.run(main())
    finally:
        gc.enable()
