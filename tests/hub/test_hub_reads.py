"""What the hub may answer plain reads with, and how a stampede becomes one look."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from virtual import Bench, Page, run

from restive.http.invalidation import Change
from restive.http.key import Neutral, RequestKey, request_key
from restive.http.reuse import Stored
from restive.hub.variant import Variant

CHANGED = [Change("/a")]
PUBLIC = {"content-type": "application/json", "cache-control": "public, max-age=600"}


def key(target: str = "/a", **fields: str) -> RequestKey:
    headers = [(b"host", b"shop.test")]
    headers += [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
    scope = {"scheme": "http", "path": target, "query_string": b"", "headers": headers}
    return request_key(scope, Neutral())


def held(bench: Bench, target: str = "/a", **fields: str) -> Variant | None:
    names = frozenset({b"host", *(name.replace("_", "-").encode() for name in fields)})
    return bench.hub.stored(key(target, **fields), names)


def fresh(bench: Bench, **fields: str) -> bytes | None:
    """What a read would get at once."""
    variant = held(bench, **fields)
    return variant.stored.body if variant is not None and variant.known and variant.stored else None


async def read(bench: Bench) -> bytes | None:
    """What a read gets, at once or from a look; None: the app has to answer."""
    variant = held(bench)
    if variant is None:
        return None
    stored: Stored | None = variant.stored
    if not variant.known:
        reader = variant.ask()
        stored = None if reader is None else await reader
    return None if stored is None else stored.body


async def watched(page: Page, **settings: Any) -> Bench:
    """A bench with one watcher, which has its first state."""
    bench = Bench(page, **settings)
    bench.watch()
    await asyncio.sleep(0.1 + page.takes)
    return bench


def test_what_is_shared_and_unchanged_is_known_while_it_is_watched() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = Bench(page)
        assert held(bench) is None
        _, watch = bench.watch()
        assert held(bench) is None
        await asyncio.sleep(0.1)
        assert fresh(bench) == b'{"n":0}'
        assert fresh(bench, cookie="s=1") == b'{"n":0}'
        assert bench.hub.may_hold("/a", "")
        watch.close()
        assert held(bench) is None
        assert not bench.hub.may_hold("/a", "")

    run(main())


@pytest.mark.parametrize("caching", ["max-age=600", "private, max-age=600", "no-cache", "public"])
def test_what_is_not_shared_is_not_held(caching: str) -> None:
    async def main() -> None:
        bench = await watched(Page(cache_control=caching))
        assert held(bench) is None
        assert not bench.hub.may_hold("/a", "")

    run(main())


def test_what_is_not_whole_or_no_200_is_not_held() -> None:
    async def main() -> None:
        long = await watched(Page(b"x" * 5000, cache_control="public, max-age=600"), max_representation=1000)
        assert held(long) is None
        empty = await watched(Page(b"", 204, cache_control="public, max-age=600"))
        assert held(empty) is None

    run(main())


def test_an_announcement_ends_it_until_a_look_that_began_later_is_back() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        page.takes = 1.0
        bench.hub.announce(CHANGED)
        assert fresh(bench) is None
        await asyncio.sleep(0.5)  # a look is under way
        page.body = b'{"n":1}'
        bench.hub.announce(CHANGED)
        await asyncio.sleep(0.6)  # it is back, but began before the last announcement
        assert fresh(bench) is None
        await asyncio.sleep(1.1)
        assert fresh(bench) == b'{"n":1}'

    run(main())


def test_a_look_that_only_time_has_brought_on_leaves_it_known() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page, recheck=10.0)
        page.takes = 3.0
        while page.running == 0:
            await asyncio.sleep(0.5)
        assert fresh(bench) == b'{"n":0}'

    run(main())


def test_a_failure_ends_it_until_the_app_answers_again() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        page.status = 503
        bench.hub.announce(CHANGED)
        await asyncio.sleep(0.1)
        assert fresh(bench) is None
        assert await read(bench) is None  # each asks the app itself
        page.status, page.body = 200, b'{"n":1}'
        await asyncio.sleep(5)
        assert fresh(bench) == b'{"n":1}'

    run(main())


def test_a_response_that_turns_private_is_held_no_longer() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        page.fields["cache-control"] = "private"
        bench.hub.announce(CHANGED)
        waiting = [asyncio.create_task(read(bench)) for _ in range(3)]
        assert await asyncio.gather(*waiting) == [None, None, None]
        assert held(bench) is None

    run(main())


def test_the_fields_of_the_newest_look_count_though_the_content_is_the_same() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600", x_look="1")
        bench = await watched(page)
        page.fields |= {"x-look": "2", "cache-control": "public, max-age=7"}
        bench.hub.announce(CHANGED)
        await asyncio.sleep(0.2)
        variant = held(bench)
        assert variant is not None
        assert variant.stored is not None
        assert dict(variant.stored.fields)[b"x-look"] == b"2"
        assert variant.stored.lifetime == 7

    run(main())


def test_a_stampede_for_what_is_stale_is_one_look_out_of_turn() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page, min_interval=5.0, look_concurrency=1)
        page.takes = 1.0
        for n in range(20):
            bench.watch("/other", cookie=f"s={n}")
        await asyncio.sleep(0.5)  # one of these looks runs, the others wait
        before, page.body = len(page.looks), b'{"n":1}'
        bench.hub.announce(CHANGED)
        waiting = [asyncio.create_task(read(bench)) for _ in range(1000)]
        begun = bench.hub.now()
        assert set(await asyncio.gather(*waiting)) == {b'{"n":1}'}
        assert bench.hub.now() - begun < 1.5
        assert [look["path"] for look in page.looks[before:]].count("/a") == 1
        await asyncio.sleep(30)  # before the rechecks, one of which might be under way
        assert page.running == 0

    run(main())


def test_who_asks_behind_an_announcement_waits_for_the_look_behind_it_and_no_longer() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        # The app reads at the beginning of a look.
        state = {"n": 1}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            page.body = b'{"n":%d}' % state["n"]
            body = page.body
            page.answer = lambda _: (200, page.fields, body)
            await Page.__call__(page, scope, receive, send)

        bench.hub.app = app
        page.takes = 1.0
        bench.hub.announce(CHANGED)
        early = asyncio.create_task(read(bench))
        await asyncio.sleep(0.5)  # it has joined the look under way
        state["n"] = 2
        bench.hub.announce(CHANGED)
        late = asyncio.create_task(read(bench))
        await asyncio.sleep(0.7)
        assert not early.done()  # what it had joined is not fresh
        for n in range(3, 9):  # announcements without end keep nobody waiting
            state["n"] = n
            bench.hub.announce(CHANGED)
            await asyncio.sleep(0.2)
        assert early.done()
        assert await early == await late == b'{"n":2}'

    run(main())


def test_readers_of_a_resource_that_nobody_watches_any_more_ask_the_app() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = Bench(page)
        _, watch = bench.watch()
        await asyncio.sleep(0.1)
        page.takes = 5.0
        bench.hub.announce(CHANGED)
        waiting = asyncio.create_task(read(bench))
        await asyncio.sleep(1)
        watch.close()
        assert await waiting is None
        assert page.running == 0
        assert bench.idle == 1

    run(main())


def test_a_reader_that_is_gone_harms_nobody() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        page.takes = 1.0
        bench.hub.announce(CHANGED)
        gone, stays = (asyncio.create_task(read(bench)) for _ in range(2))
        await asyncio.sleep(0.5)
        gone.cancel()
        assert await stays == b'{"n":0}'

    run(main())


def test_unsafe_requests_under_way_end_it_and_their_end_does_not_bring_it_back() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = await watched(page)
        under_way = bench.hub.under_way
        for changes in ([Change("/a")], [Change("/", below=True)], [Change("/a", below=True)]):
            under_way.begin(changes)
            assert fresh(bench) is None
            under_way.end(changes)
            assert fresh(bench) is not None  # it has changed nothing
        under_way.begin([Change("/b"), Change("/a/b", below=True), Change(group="g")])
        assert fresh(bench) is not None
        under_way.begin(CHANGED)
        assert await read(bench) == b'{"n":0}'  # a look, since the app may have committed
        assert fresh(bench) is None
        page.body = b'{"n":1}'
        bench.hub.announce(CHANGED)
        under_way.end(CHANGED)
        assert fresh(bench) is None
        assert await read(bench) == b'{"n":1}'
        assert fresh(bench) == b'{"n":1}'

    run(main())


def test_a_group_that_is_invalidated_while_the_look_that_joins_it_runs() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600", cache_groups='"offers"')
        page.takes = 1.0
        bench = Bench(page)
        bench.watch()
        await asyncio.sleep(0.5)
        body = b'{"n":0}'
        page.answer = lambda _: (200, page.fields, body)
        bench.hub.announce([Change(group="offers")])
        await asyncio.sleep(0.6)
        assert fresh(bench) is None
        await asyncio.sleep(2)
        assert fresh(bench) == body
        bench.hub.under_way.begin([Change(group="offers")])
        assert fresh(bench) is None

    run(main())


def test_an_announcement_of_another_thread_counts_before_the_loop_has_heard_it() -> None:
    async def main() -> None:
        bench = await watched(Page(cache_control="public, max-age=600"))
        bench.hub.announce_soon(tuple(CHANGED))
        assert fresh(bench) is None
        await asyncio.sleep(0.2)
        assert fresh(bench) is not None

    run(main())


def test_of_two_that_match_the_newest_is_taken() -> None:
    async def main() -> None:
        page = Page()
        by = {"vary": "Accept-Language"}
        page.answer = lambda scope: (
            200,
            PUBLIC | (by if dict(scope["headers"]).get(b"accept-language") == b"de" else {}),
            dict(scope["headers"]).get(b"accept-language", b"-"),
        )
        bench = Bench(page)
        bench.watch(accept_language="de")
        await asyncio.sleep(0.1)
        bench.watch(accept_language="fr")
        await asyncio.sleep(0.1)
        assert fresh(bench, accept_language="de") == b"fr"  # it says that it does not vary
        assert fresh(bench, accept_language="en") == b"fr"

    run(main())


def test_what_is_declared_fresh_is_held_for_equal_requests_and_no_longer_than_fresh_max() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page, fresh_max=30.0, recheck=3600.0)
        bench.hub.is_fresh = lambda path, _: path == "/a"
        bench.watch()
        bench.watch(authorization="Bearer a")
        bench.watch("/b")
        await asyncio.sleep(0.1)
        variant = held(bench)
        assert variant is not None
        assert variant.stored is not None
        assert variant.stored.lifetime == 30
        assert held(bench, authorization="Bearer a") is None
        assert held(bench, authorization="Bearer b") is None
        assert held(bench, accept="text/html") is None
        assert held(bench, "/b") is None

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_the_count_of_readable_paths_survives_any_life(seed: int) -> None:
    """Watches that come and go, kinds that change, merges: at the end nothing is held."""

    async def main() -> None:
        chance = random.Random(seed)
        page = Page()
        caching = ["public, max-age=600", "private", "max-age=5", "public, max-age=3"]
        page.answer = lambda scope: (
            chance.choice([200, 200, 200, 503, 403]),
            {
                "content-type": "application/json",
                "cache-control": chance.choice(caching),
                "vary": chance.choice(["", "Cookie"]) or "x",
            },
            b"%d" % chance.randrange(3),
        )
        bench = Bench(page)
        watches = []
        for _ in range(60):
            watches.append(bench.watch(cookie=f"s={chance.randrange(3)}")[1])
            bench.hub.announce(CHANGED)
            if chance.random() < 0.5:
                watches.pop(chance.randrange(len(watches))).close()
            tasks = [asyncio.create_task(read(bench)) for _ in range(2)]
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.3, 4.0]))
            await asyncio.wait_for(asyncio.gather(*tasks), 60)
        for watch in watches:
            watch.close()
        await asyncio.sleep(0.1)
        assert not bench.hub.may_hold("/a", "")
        assert len(bench.hub) == 0
        assert not bench.hub._gate.running

    run(main())
