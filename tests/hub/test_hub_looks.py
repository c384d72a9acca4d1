"""Looks: their scope and context, what answers mean, and that no storm starts here (design 2.3, 2.4)."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from typing import Any

import pytest
from virtual import Bench, Page, run

from restive.hub.look import Answer
from restive.hub.verdict import Found, Later, Over, judge


def answer_of(status: int, body: bytes = b"", **fields: str) -> Answer:
    return Answer(status, tuple((k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()), body)


@pytest.mark.parametrize("status", [200, 203, 204])
def test_states(status: int) -> None:
    assert isinstance(judge(answer_of(status), absent_is_state=False, now=0), Found)


@pytest.mark.parametrize(
    "status", [301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406, 410, 422, 451]
)
def test_ends(status: int) -> None:
    verdict = judge(answer_of(status, location="/b"), absent_is_state=False, now=0)
    assert isinstance(verdict, Over)
    assert verdict.end.document["status"] == status
    assert verdict.refused == (status in {401, 403})
    assert ("location" in verdict.end.document) == (status < 400)


@pytest.mark.parametrize("status", [0, 408, 429, 500, 502, 503, 504])
def test_laters(status: int) -> None:
    verdict = judge(answer_of(status, retry_after="7"), absent_is_state=False, now=0)
    assert verdict == Later(7.0 if status in {429, 503} else None)


def test_an_absent_resource_can_be_a_state() -> None:
    assert isinstance(judge(answer_of(404, b"secret"), absent_is_state=True, now=0), Found)


def test_the_apps_own_problem_is_told_and_a_huge_or_odd_one_is_not() -> None:
    good = answer_of(403, b'{"title":"No","status":500,"why":"x"}', content_type="application/problem+json")
    verdict = judge(good, absent_is_state=False, now=0)
    assert isinstance(verdict, Over)
    assert verdict.end.document == {"title": "No", "status": 403, "why": "x"}
    for body in (b"[1]", b"{", b'{"detail":"' + b"x" * 5000 + b'"}', b"\xff"):
        odd = judge(
            answer_of(404, body, content_type="application/problem+json"), absent_is_state=False, now=0
        )
        assert isinstance(odd, Over)
        assert odd.end.document == {"status": 404, "title": "Not Found"}


def test_context_state_and_address_of_a_watcher_do_not_reach_a_look() -> None:
    secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="clean")
    seen: list[tuple[str, Any, Any]] = []

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((secret.get(), scope["client"], scope.get("state")))
            await Page()(scope, receive, send)

        secret.set("of one watcher")
        Bench(app).watch()
        await asyncio.sleep(0.1)

    run(main())
    assert seen == [("clean", ("192.88.99.1", 0), None)]


def test_one_look_in_flight_and_one_more_for_what_came_meanwhile() -> None:
    async def main() -> None:
        page = Page()
        page.takes = 0.5
        bench = Bench(page, settle=3600)
        bench.watch()
        for _ in range(40):
            await asyncio.sleep(0.01)
            bench.hub.announce_all()
        await asyncio.sleep(5)
        assert page.most == 1
        assert len(page.looks) == 2

    run(main())


def test_announcements_without_end_cost_at_most_one_look_per_min_interval() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page, min_interval=0.5)
        bench.watch()
        for _ in range(1000):
            bench.hub.announce_all()
            await asyncio.sleep(0.01)
        assert len(page.looks) <= 1 + 10 / 0.5

    run(main())


def test_settle_finds_what_was_committed_behind_the_last_announcement() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page)
        client, _ = bench.watch()
        await asyncio.sleep(0.5)
        bench.hub.announce_all()
        await asyncio.sleep(0.2)
        page.body = b'{"late":true}'
        await asyncio.sleep(1.5)
        assert client.last == b'{"late":true}'

    run(main())


def test_recheck_finds_what_nobody_announced() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page)
        client, _ = bench.watch()
        await asyncio.sleep(1)
        page.body = b'{"n":1}'
        await asyncio.sleep(60)
        assert client.bodies == [b'{"n":0}', b'{"n":1}']

    run(main())


@pytest.mark.parametrize("cache", ["no-cache", "max-age=0", "private, max-age=0, must-revalidate"])
def test_no_timer_by_no_cache_or_max_age_0(cache: str) -> None:
    async def main() -> None:
        page = Page(cache_control=cache)
        Bench(page).watch()
        await asyncio.sleep(44)
        assert len(page.looks) == 1

    run(main())


def test_a_lifetime_that_ran_out_is_looked_at_but_not_below_the_floor() -> None:
    async def main() -> None:
        page = Page(cache_control="max-age=1")
        Bench(page).watch()
        await asyncio.sleep(21)
        assert len(page.looks) == 5

    run(main())


def test_a_nonce_in_the_body_is_slowed_down_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        page = Page()
        count = iter(range(100_000))
        page.answer = lambda _scope: (
            200,
            {"content-type": "text/plain", "cache-control": "max-age=5"},
            b"%d" % next(count),
        )
        Bench(page).watch()
        await asyncio.sleep(600)
        assert len(page.looks) < 6 + 600 / 40

    with caplog.at_level(logging.WARNING, "restive.hub"):
        run(main())
    assert sum("nobody announced" in record.message for record in caplog.records) == 1


def test_failures_keep_the_state_and_are_retried_with_backoff() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page)
        client, _ = bench.watch()
        await asyncio.sleep(2)
        page.status, page.body = 500, b"oops"
        bench.hub.announce_all()
        await asyncio.sleep(120)
        assert client.bodies == [b'{"n":0}']
        assert client.ends == []
        assert len(page.looks) < 20
        page.status, page.body = 200, b'{"n":1}'
        await asyncio.sleep(60)
        assert client.last == b'{"n":1}'

    run(main())


def test_an_app_that_raises_hangs_or_says_nothing_costs_only_a_retry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main() -> None:
        mode = "raise"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if mode == "raise":
                raise RuntimeError("boom")
            if mode == "silent":
                return
            if mode == "hang":
                await asyncio.sleep(3600)
            await Page()(scope, receive, send)

        bench = Bench(app)
        client, watch = bench.watch()
        for each in ("raise", "silent", "hang", "well"):
            mode = each
            await asyncio.sleep(100)
        assert client.bodies == [b'{"n":0}']
        watch.close()
        await asyncio.sleep(0)
        assert not bench.hub.tasks

    run(main())


def test_too_long_is_cut_and_announced_by_fetch_each_time() -> None:
    async def main() -> None:
        page = Page(b"x" * 5000, content_type="text/plain")
        bench = Bench(page, max_representation=1000)
        client, _ = bench.watch()
        await asyncio.sleep(2)
        assert [event.rendering.fetch for event in client.events] == [True]  # type: ignore[union-attr]
        bench.hub.announce_all()
        await asyncio.sleep(0.1)
        assert len(client.events) == 2
        await asyncio.sleep(5)
        told, looks = len(client.events), len(page.looks)
        await asyncio.sleep(200)
        assert len(page.looks) > looks  # rechecks, which nobody announced
        assert len(client.events) == told

    run(main())


def test_a_stream_of_the_apps_own_is_not_watchable() -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-type", b"text/event-stream")] if scope["path"] == "/events" else []
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while True:
                await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
                await asyncio.sleep(1)

        bench = Bench(app)
        clients = [bench.watch(target)[0] for target in ("/events", "/endless")]
        await asyncio.sleep(0.1)
        assert [client.ends for client in clients] == [[406], [406]]
        await asyncio.sleep(0)
        assert not bench.hub.tasks

    run(main())


def test_final_is_told_and_ends() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=31536000, immutable")
        bench = Bench(page)
        client, _ = bench.watch()
        await asyncio.sleep(0.1)
        assert (client.bodies, client.ends) == ([b'{"n":0}'], [200])
        assert len(bench.hub) == 0
        assert bench.idle == 1

    run(main())


def test_nothing_is_left_when_the_last_watch_closes() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page)
        watches = [bench.watch(f"/a/{n}", cookie=f"s={n % 3}")[1] for n in range(20)]
        await asyncio.sleep(1)
        bench.hub.announce_all()
        for watch in watches:
            watch.close()
            watch.close()
        await asyncio.sleep(0.01)
        assert (len(bench.hub), bench.idle) == (0, 1)
        assert not bench.hub.tasks
        before = len(page.looks)
        await asyncio.sleep(300)
        assert len(page.looks) == before

    run(main())


def test_looks_at_once_are_bounded() -> None:
    async def main() -> None:
        page = Page()
        page.takes = 0.2
        bench = Bench(page, look_concurrency=4)
        for n in range(60):
            bench.watch(f"/a/{n}", cookie=f"s={n}")
        await asyncio.sleep(10)
        assert len(page.looks) == 60
        assert page.most == 4

    run(main())


def test_resume_with_the_tag_that_is_current_tells_nothing_new() -> None:
    async def main() -> None:
        page = Page(etag='"v1"')
        bench = Bench(page)
        told, _ = bench.watch(cursor='W/"v1"')
        late, _ = bench.watch(cursor='"v0"')
        await asyncio.sleep(0.5)
        assert (told.bodies, told.currents) == ([], 1)
        assert (late.bodies, late.currents) == ([b'{"n":0}'], 0)

    run(main())


def test_a_cursor_newer_than_what_is_held_is_looked_at_before_it_is_answered() -> None:
    async def main() -> None:
        page = Page(etag='"v1"')
        bench = Bench(page)
        bench.watch()
        await asyncio.sleep(5)
        page.fields["etag"], page.body = '"v2"', b'{"n":2}'
        newer, _ = bench.watch(cursor='"v2"')
        await asyncio.sleep(0.5)
        assert (newer.bodies, newer.currents) == ([], 1)

    run(main())


def test_all_who_come_back_with_what_a_look_under_way_finds_cost_one_look() -> None:
    async def main() -> None:
        page = Page(etag='"v1"')
        page.takes = 0.2
        bench = Bench(page, settle=30)
        back = []
        for _ in range(50):
            back.append(bench.watch(cursor='"v1"')[0])
            await asyncio.sleep(0.01)
        assert [client.currents for client in back] == [1] * 50
        assert len(page.looks) == 1

    run(main())


def test_who_has_a_newer_state_than_a_look_under_way_finds_is_told_by_the_next() -> None:
    async def main() -> None:
        page = Page(etag='"v1"')
        page.takes = 0.2
        bench = Bench(page, settle=30)
        bench.watch()
        await asyncio.sleep(0.1)
        newer, _ = bench.watch(cursor='"v2"')
        await asyncio.sleep(0.11)  # the first look is over
        assert newer.events == []
        page.fields["etag"], page.body = '"v2"', b'{"n":2}'
        await asyncio.sleep(1)
        assert (newer.bodies, newer.currents) == ([], 1)

    run(main())


def test_groups_of_rfc_9875_are_announced_together() -> None:
    from restive.http.invalidation import Change

    async def main() -> None:
        page = Page(cache_groups='"menu", "prices"')
        bench = Bench(page)
        client, _ = bench.watch()
        await asyncio.sleep(0.5)
        page.body = b'{"n":1}'
        bench.hub.announce([Change(group="other")])
        await asyncio.sleep(0.5)
        assert client.bodies == [b'{"n":0}']
        bench.hub.announce([Change(group="prices")])
        await asyncio.sleep(0.5)
        assert client.last == b'{"n":1}'

    run(main())


def test_looks_leave_every_turn_of_the_loop_to_others() -> None:
    """Looks that never wait begin one at a time, with turns between them in which requests are read."""

    async def main() -> None:
        turn, begun = 0, []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.append(turn)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        bench = Bench(app)
        for n in range(50):
            bench.watch(f"/{n}", cookie=f"s={n}")
        while len(begun) < 50:
            turn += 1
            await asyncio.sleep(0)
        assert all(after - before >= 2 for before, after in itertools.pairwise(begun))

    run(main())


def test_looks_go_on_beside_requests_that_never_end() -> None:
    async def main() -> None:
        page = Page()
        bench = Bench(page)
        bench.hub.foreground(+1)
        for n in range(20):
            bench.watch(f"/{n}", cookie=f"s={n}")
        await asyncio.sleep(30)
        assert len(page.looks) == 20

    run(main())
