"""What waits for a far look: a place on the wheel and no timer, one a variant; and nothing at the end."""

from __future__ import annotations

import asyncio

from virtual import Bench, Page, run

from restive.http.invalidation import Change


def timers() -> int:
    """Those that wait in this loop."""
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


def test_a_far_look_is_made_in_its_time_without_a_timer_of_its_own() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page, recheck=300.0)
        begun = asyncio.get_running_loop().time()
        for n in range(50):
            bench.watch(authorization=f"Bearer {n}")
        await asyncio.sleep(20)
        assert len(page.looks) == 50
        assert timers() <= 2  # the wheel's, and that of this sleep
        await asyncio.sleep(290)
        again = page.times()[50:]
        assert len(again) == 50
        assert len({round(at, 1) for at in again}) > 25, (
            "they were to come at times of their own, not at turns"
        )
        assert all(225 <= at - begun <= 301 for at in again)

    run(main())


def test_announcements_do_not_pile_up_on_the_wheel() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page, recheck=300.0)
        _, watch = bench.watch(authorization="Bearer 1")
        for _ in range(40):
            bench.hub.announce([Change("/a")])
            await asyncio.sleep(3)
        assert len(page.looks) >= 80
        assert len(bench.hub.wheel) <= 3  # the variant's, one that is late, and the gate's
        watch.close()
        assert len(bench.hub.wheel) == 0
        await asyncio.sleep(0)
        assert timers() == 0

    run(main())


def test_a_hub_that_was_idle_forgets_again_who_looked() -> None:
    async def main() -> None:
        bench = Bench(Page(), recheck=300.0)
        for _ in range(2):
            _, watch = bench.watch(authorization="Bearer 1")
            await asyncio.sleep(0.2)
            assert bench.hub._gate.remembers
            watch.close()
        _, watch = bench.watch(authorization="Bearer 1")
        await asyncio.sleep(5)
        assert not bench.hub._gate.remembers
        watch.close()

    run(main())
