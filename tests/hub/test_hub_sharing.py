"""Who shares a rendering, decided for each response before a byte is written (design 2.1)."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest
from virtual import Bench, Page, run

from restive.errors import Problem

PUBLIC = {"content-type": "application/json", "cache-control": "public, max-age=60"}
PLAIN = {"content-type": "application/json"}


def by_cookie(scope: Any) -> bytes:
    return dict(scope["headers"]).get(b"cookie", b"nobody")


def test_a_thousand_watchers_of_a_public_resource_cost_one_look_per_change() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = Bench(page)
        clients = [bench.watch(cookie="s=0")[0]]
        await asyncio.sleep(0.1)
        clients += [bench.watch(cookie=f"s={n}")[0] for n in range(1, 1000)]
        await asyncio.sleep(0.1)
        assert len(page.looks) == 1
        for n in range(1, 4):
            page.body = b'{"n":%d}' % n
            bench.hub.announce_all()
            await asyncio.sleep(0.2)
            assert len(page.looks) == 1 + n
        assert all(client.bodies == [b'{"n":0}', b'{"n":1}', b'{"n":2}', b'{"n":3}'] for client in clients)

    run(main())


def test_different_requests_do_not_share_what_is_not_public() -> None:
    async def main() -> None:
        page = Page()
        page.answer = lambda scope: (200, PLAIN, by_cookie(scope))
        bench = Bench(page)
        clients = {name: bench.watch(cookie=name)[0] for name in ("s=a", "s=b", "s=c")}
        await asyncio.sleep(0.1)
        assert {name: client.bodies for name, client in clients.items()} == {n: [n.encode()] for n in clients}

    run(main())


@pytest.mark.parametrize("evil_first", [True, False])
@pytest.mark.parametrize("name", ["x_forwarded_host", "x_original_url", "x_unknown"])
def test_a_field_that_no_cache_knows_shapes_nobody_elses_rendering(name: str, evil_first: bool) -> None:
    """Web cache poisoning: who watches with it is neither the first nor the most recent of the others."""

    async def main() -> None:
        page = Page()
        page.answer = lambda scope: (
            200, PUBLIC, dict(scope["headers"]).get(name.replace("_", "-").encode(), b"shop.test")
        )  # fmt: skip
        bench = Bench(page)
        evil = [bench.watch(**{name: "evil.test"})[0]] if evil_first else []
        await asyncio.sleep(0.1)
        victims = [bench.watch(cookie=f"s={n}")[0] for n in range(3)]
        await asyncio.sleep(0.1)
        if not evil_first:
            evil = [bench.watch(**{name: "evil.test"})[0]]
        for _ in range(3):
            bench.hub.announce_all()
            await asyncio.sleep(2)
        assert evil[0].bodies == [b"evil.test"]
        assert [victim.bodies for victim in victims] == [[b"shop.test"]] * 3
        assert len(page.looks) < 20

    run(main())


def test_who_asks_and_the_same_proxy_split_nothing() -> None:
    """The usual case: browsers of many users behind one proxy that authenticates them."""

    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = Bench(page)
        for n in range(200):
            bench.watch(
                cookie=f"s={n}", authorization=f"Bearer {n}", x_api_key=str(n), x_forwarded_user=f"u{n}",
                x_auth_request_email=f"u{n}@shop.test", accept_language=("de", "en")[n % 2],
                x_forwarded_host="shop.test", x_forwarded_proto="https", x_requested_with="fetch",
            )  # fmt: skip
            await asyncio.sleep(0.1 if n == 0 else 0)
        await asyncio.sleep(0.1)
        assert len(page.looks) == 1
        bench.hub.announce_all()
        await asyncio.sleep(0.1)
        assert len(page.looks) == 2

    run(main())


def test_a_response_that_turns_private_reaches_nobody_else() -> None:
    async def main() -> None:
        page = Page(cache_control="public, max-age=600")
        bench = Bench(page)
        clients = {}
        for name in ("s=a", "s=b", "s=c"):
            clients[name], _ = bench.watch(cookie=name)
            await asyncio.sleep(0.1)
        assert len(page.looks) == 1
        page.answer = lambda scope: (200, {**PLAIN, "cache-control": "private"}, by_cookie(scope))
        bench.hub.announce_all()
        await asyncio.sleep(0.1)
        for name, client in clients.items():
            assert client.bodies == [b'{"n":0}', name.encode()]

    run(main())


def test_vary_tells_sharers_apart() -> None:
    async def main() -> None:
        page = Page()
        page.answer = lambda scope: (
            200, {**PUBLIC, "vary": "Accept-Language"}, dict(scope["headers"]).get(b"accept-language", b"-")
        )  # fmt: skip
        bench = Bench(page)
        clients = [
            (lang, bench.watch(accept_language=lang, cookie=f"s={n}")[0])
            for n, lang in enumerate(["de", "en"] * 5)
        ]
        await asyncio.sleep(0.5)
        assert all(client.bodies == [lang.encode()] for lang, client in clients)
        before = len(page.looks)
        page.body = b"x"
        bench.hub.announce_all()
        await asyncio.sleep(0.5)
        assert len(page.looks) == before + 2

    run(main())


def test_the_same_request_shares() -> None:
    async def main() -> None:
        page = Page(cache_control="private")
        bench = Bench(page)
        clients = [bench.watch(cookie="s=a")[0] for _ in range(50)]
        await asyncio.sleep(0.5)
        assert len(page.looks) <= 2
        assert all(len(client.bodies) == 1 for client in clients)

    run(main())


@pytest.mark.parametrize("fields", [{"set_cookie": "s=1"}, {"vary": "*"}])
def test_one_per_watcher_where_not_even_the_same_request_may_share(fields: dict[str, str]) -> None:
    async def main() -> None:
        page = Page(**fields)
        served = iter(range(1000))
        head = page.fields
        page.answer = lambda _scope: (200, head, b'{"n":%d}' % next(served))
        bench = Bench(page)
        clients = [bench.watch()[0] for _ in range(5)]
        await asyncio.sleep(0.9)
        seen = [body for client in clients for body in client.bodies]
        assert len(seen) == len(set(seen)) == 5

    run(main())


def test_a_refused_member_ends_alone_and_the_next_is_asked() -> None:
    async def main() -> None:
        page = Page()
        refused = b"nobody"

        def answer(scope: Any) -> tuple[int, dict[str, str], bytes]:
            if by_cookie(scope) == refused:
                return 403, PLAIN, b'{"detail":"no"}'
            return 200, PUBLIC, page.body

        page.answer = answer
        bench = Bench(page)
        clients = {}
        for name in ("s=a", "s=b", "s=c"):
            clients[name], _ = bench.watch(cookie=name)
            await asyncio.sleep(0.1)
        refused = b"s=c"
        page.body = b'{"n":1}'
        bench.hub.announce_all()
        await asyncio.sleep(0.1)
        assert clients["s=c"].ends == [403]
        assert clients["s=c"].bodies == [b'{"n":0}']
        for name in ("s=a", "s=b"):
            assert clients[name].last == b'{"n":1}'
            assert clients[name].ends == []

    run(main())


def test_a_404_that_may_not_be_shared_ends_only_whom_it_was_said_to() -> None:
    async def main() -> None:
        page = Page()

        def answer(scope: Any) -> tuple[int, dict[str, str], bytes]:
            if page.body == b"hidden" and by_cookie(scope) != b"s=a":
                return 404, PLAIN, b"{}"
            return 200, PUBLIC, page.body

        page.answer = answer
        bench = Bench(page)
        clients = {}
        for name in ("s=a", "s=b", "s=c"):
            clients[name], _ = bench.watch(cookie=name)
            await asyncio.sleep(0.1)
        page.body = b"hidden"
        bench.hub.announce_all()
        await asyncio.sleep(0.5)
        assert clients["s=a"].ends == []
        assert clients["s=a"].last == b"hidden"
        assert clients["s=b"].ends == clients["s=c"].ends == [404]

    run(main())


def test_an_audience_shares_after_own_looks_agreed_and_costs_one_look_per_change() -> None:
    async def main() -> None:
        page = Page()
        page.answer = lambda scope: (200, PLAIN, b"other" if by_cookie(scope) == b"s=3" else page.body)
        bench = Bench(page)
        clients = [bench.watch(cookie=f"s={n}", audience="team")[0] for n in range(5)]
        await asyncio.sleep(0.9)
        assert [client.bodies for client in clients] == [[b'{"n":0}']] * 3 + [[b"other"], [b'{"n":0}']]
        before = len(page.looks)
        page.body = b'{"n":1}'
        bench.hub.announce_all()
        await asyncio.sleep(0.3)
        assert len(page.looks) == before + 2
        assert [client.last for client in clients] == [b'{"n":1}'] * 3 + [b"other"] + [b'{"n":1}']

    run(main())


def test_an_audience_is_rechecked_with_each_members_own_request() -> None:
    async def main() -> None:
        page = Page()
        withdrawn = b"-"

        def answer(scope: Any) -> tuple[int, dict[str, str], bytes]:
            return (401, PLAIN, b"{}") if by_cookie(scope) == withdrawn else (200, PLAIN, page.body)

        page.answer = answer
        bench = Bench(page)
        clients = [bench.watch(cookie=f"s={n}", audience="team")[0] for n in range(4)]
        await asyncio.sleep(2)
        withdrawn = b"s=0"
        await asyncio.sleep(130)
        assert clients[0].ends == [401]
        assert all(client.ends == [] for client in clients[1:])
        assert all(client.bodies == [b'{"n":0}'] for client in clients)

    run(main())


def test_a_credential_is_checked_by_a_look_before_a_held_rendering_is_told() -> None:
    async def main() -> None:
        page = Page(cache_control="private")
        bench = Bench(page)
        first, _ = bench.watch(authorization="Bearer t")
        await asyncio.sleep(0.5)
        page.status = 401
        second, _ = bench.watch(authorization="Bearer t")
        await asyncio.sleep(0.5)
        assert second.bodies == []
        assert second.ends == [401]
        assert first.ends == [401]

    run(main())


def test_variants_of_one_path_are_bounded_per_principal() -> None:
    async def main() -> None:
        bench = Bench(Page(), max_variants=3)
        watches = [bench.watch(f"/a?n={n}", cookie="s=1")[1] for n in range(3)]
        with pytest.raises(Problem) as refused:
            bench.watch("/a?n=3", cookie="s=1")
        assert refused.value.status == 429
        bench.watch("/a?n=3", cookie="s=2")
        watches[0].close()
        bench.watch("/a?n=3", cookie="s=1")

    run(main())


def test_the_log_says_once_that_many_credentials_each_cost_a_look(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bench = Bench(Page())
        for n in range(30):
            bench.watch(cookie=f"s={n}")
        await asyncio.sleep(3)
        bench.hub.announce_all()
        bench.hub.announce_all()
        await asyncio.sleep(3)

    with caplog.at_level(logging.WARNING, "restive.hub"):
        run(main())
    assert [record.message for record in caplog.records if "each cost a look" in record.message] == [
        "30 credentials each cost a look of /a: declare it public, or give audience=."
    ]


@pytest.mark.parametrize(("fields", "last"), [({"cookie": "s=a"}, b"after"), ({}, b"before")])
def test_with_a_credential_a_look_that_began_before_the_watch_does_not_count(
    fields: dict[str, str], last: bytes
) -> None:
    async def main() -> None:
        page = Page(cache_control="private")
        page.takes = 1.0
        said = itertools.chain([b"before"], itertools.repeat(b"after"))
        page.answer = lambda _scope: (200, PLAIN, next(said))
        bench = Bench(page)
        bench.watch(**fields)
        await asyncio.sleep(0.5)
        late, _ = bench.watch(**fields)
        await asyncio.sleep(0.9)
        assert late.bodies == ([] if fields else [b"before"])
        await asyncio.sleep(1.5)
        assert late.bodies == [last]

    run(main())
