"""A page that watches, in Chromium: over each transport, and through what networks and servers do to it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from pages import opened
from playwright.async_api import BrowserContext, CDPSession, Page
from wayward import Wayward

from scenarios.servers import ProcessServer
from scenarios.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEA = {"item": "tea", "count": 1}


def tea(count: int) -> dict[str, Any]:
    return {"item": "tea", "count": count}


async def put(server: ProcessServer, count: int) -> None:
    """Past the proxy."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        (await http.put(f"{server.url}/orders/3", json=tea(count))).raise_for_status()


async def shown(page: Page, count: int) -> None:
    """Wait until this is the last state that was shown."""
    await page.wait_for_function("(count) => w.seen.at(-1)?.count === count", arg=count)


@pytest.mark.parametrize("transport", ["auto", "websocket", "sse", "long-poll", "poll"])
async def test_shows_the_state_and_each_change(
    page: Page, proxy: Wayward, served: ProcessServer, transport: str
) -> None:
    await page.evaluate(
        "(transport) => { w = follow(make({ transport }, { patience: 9000, silence: 2e4 }), '/orders/3') }",
        transport,
    )
    for count in range(1, 5):
        if count > 1:
            await put(served, count)
        await shown(page, count)
    assert await page.evaluate("w.seen") == [tea(count) for count in range(1, 5)]
    used = "websocket" if transport == "auto" else transport
    assert await page.evaluate("[w.stop.status.transport, w.states, w.errors]") == [used, [used], []]
    kinds = proxy.count()
    assert kinds["get" if used == "poll" else used] >= 1
    assert not set(kinds) & {"websocket", "sse", "long-poll"} - {used}
    if used in {"websocket", "sse"}:
        assert kinds[used] == 1
    await page.evaluate("w.stop()")


async def test_survives_a_restart(page: Page, proxy: Wayward, served: ProcessServer) -> None:
    await page.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(page, 1)
    served.signal()
    served.wait()
    await page.wait_for_function("w.states.at(-1) === 'connecting'")
    served.start()
    await put(served, 2)
    await shown(page, 2)
    assert await page.evaluate("w.seen") == [tea(1), tea(2)]
    assert await page.evaluate("w.errors") == []


async def test_a_gateway_that_is_down_for_a_while_is_not_stormed(
    page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    usual = "{ backoff: 500, mostBackoff: 30_000 }"
    await page.evaluate(f"() => {{ w = follow(make({{}}, {usual}), '/orders/3') }}")
    await shown(page, 1)
    proxy.down = "502"
    before = len(proxy.log)
    proxy.cut()
    await put(served, 2)
    await page.wait_for_timeout(3_000)
    assert 1 <= len(proxy.log) - before <= 25
    proxy.down = "no"
    await shown(page, 2)
    assert await page.evaluate("w.seen") == [tea(1), tea(2)]


async def test_a_proxy_that_drops_websockets_means_event_streams(
    context: BrowserContext, page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    proxy.websocket = "drop"
    await page.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(page, 1)
    await put(served, 2)
    await shown(page, 2)
    assert await page.evaluate("w.stop.status") == {"is": "live", "transport": "sse"}
    assert proxy.count()["websocket"] == 1
    # The next page begins with what works.
    other = await opened(context, proxy)
    await other.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(other, 2)
    assert await other.evaluate("w.states") == ["sse"]
    assert proxy.count()["websocket"] == 1


async def test_comes_back_up_when_websockets_work(page: Page, proxy: Wayward, served: ProcessServer) -> None:
    proxy.websocket = "refuse"
    await page.evaluate("() => { w = follow(make({}, { betterAfter: 500 }), '/orders/3') }")
    await page.wait_for_function("w.stop.status.transport === 'sse'")
    proxy.websocket = "pass"
    await page.wait_for_function("w.stop.status.transport === 'websocket'")
    await put(served, 2)
    await shown(page, 2)
    assert await page.evaluate("w.seen") == [tea(1), tea(2)]


async def test_a_proxy_that_buffers_means_long_polls(
    page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    proxy.websocket, proxy.sse = "refuse", "buffer"
    await page.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(page, 1)
    await put(served, 2)
    await shown(page, 2)
    assert await page.evaluate("w.stop.status.transport") == "long-poll"
    assert proxy.count()["sse"] == 1


async def test_offline_for_a_while(
    context: BrowserContext, page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    await page.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(page, 1)
    await context.set_offline(True)
    await page.wait_for_function("w.states.at(-1) === 'paused'")
    before = len(proxy.log)
    await put(served, 2)
    await page.wait_for_timeout(1_000)
    assert len(proxy.log) == before
    await context.set_offline(False)
    await shown(page, 2)
    assert await page.evaluate("w.states") == ["websocket", "paused", "connecting", "websocket"]
    assert len(proxy.log) == before + 1


@pytest.mark.parametrize("transport", ["websocket", "sse", "long-poll", "poll"])
async def test_an_expired_token_is_renewed(page: Page, served: ProcessServer, transport: str) -> None:
    await page.evaluate(
        """(transport) => {
          tokens = ["ann", "bob"]
          asked = 0
          w = follow(make({ transport, token: async () => tokens[asked++] }), "/vault/3")
        }""",
        transport,
    )
    await page.wait_for_function("w.seen.length === 1")
    async with httpx2.AsyncClient(trust_env=False) as http:
        await http.put(f"{served.url}/tokens", json=["bob"])
        await page.wait_for_function("w.seen.length === 2")
        assert await page.evaluate("[asked, w.seen.map(({ owner }) => owner)]") == [2, ["ann", "bob"]]
        # The next ones are refused too: that is told.
        await http.put(f"{served.url}/tokens", json=["eve"])
    await page.wait_for_function("w.errors.length === 1")
    assert (await page.evaluate("w.errors"))[0].startswith("WatchEnded: 403")
    assert await page.evaluate("w.stop.status.is") == "ended"
    assert await page.evaluate("asked") <= 4


async def test_a_new_cookie_is_taken_up(page: Page, proxy: Wayward, served: ProcessServer) -> None:
    """Refused by the cookies of the socket, it is asked once more with those of now."""
    await page.evaluate("() => { live = make(); w = follow(live, '/orders/3') }")
    await shown(page, 1)
    await page.evaluate("() => { me = follow(live, '/me') }")
    await page.wait_for_function("me.errors.length === 1")
    await page.evaluate("() => fetch('/session/ann', { method: 'PUT' })")
    await page.evaluate("() => { me = follow(live, '/me') }")
    await page.wait_for_function("me.seen.length === 1")
    assert await page.evaluate("[me.seen, me.errors]") == [[{"name": "ann"}], []]
    await page.evaluate("() => fetch('/session/bob', { method: 'PUT' }).then(() => live.reconnect())")
    await page.wait_for_function("me.seen.length === 2")
    assert await page.evaluate("me.seen[1]") == {"name": "bob"}


async def test_a_hidden_page_pauses_and_catches_up(page: Page, proxy: Wayward, served: ProcessServer) -> None:
    await page.evaluate("() => { w = follow(make({}, { hiddenAfter: 100 }), '/orders/3') }")
    await shown(page, 1)
    await turn(page, hidden=True)
    await page.wait_for_function("w.states.at(-1) === 'paused'")
    await put(served, 2)
    await put(served, 3)
    await turn(page, hidden=False)
    await shown(page, 3)
    assert await page.evaluate("w.seen") == [tea(1), tea(3)]


async def turn(page: Page, *, hidden: bool) -> None:
    """Headless tabs are never hidden by themselves."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true })
          document.dispatchEvent(new Event("visibilitychange"))
        }""",
        hidden,
    )


async def test_goes_on_when_the_page_comes_back(page: Page, proxy: Wayward, served: ProcessServer) -> None:
    """From the back/forward cache, which takes no page with an open socket."""
    await page.evaluate("() => { w = follow(make(), '/orders/3') }")
    await shown(page, 1)
    await page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await page.wait_for_function("w.states.at(-1) === 'paused'")
    await put(served, 2)
    await page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await shown(page, 2)
    assert await page.evaluate("w.states") == ["websocket", "paused", "connecting", "websocket"]


async def test_the_socket_goes_with_the_last_watch(page: Page, proxy: Wayward) -> None:
    await page.evaluate(
        """() => {
          live = make({}, { linger: 50 })
          all = ["/orders/3", "/orders", "/orders?limit=1"].map((url) => follow(live, url))
        }"""
    )
    await page.wait_for_function("all.every(({ seen }) => seen.length)")
    assert proxy.count()["websocket"] == 1
    assert len(proxy._open) == 2
    await page.evaluate("all.forEach(({ stop }) => stop())")
    await until(lambda: not proxy._open)


async def test_a_loop_gets_the_latest_and_break_ends_it(
    page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    await page.evaluate(
        """() => {
          live = make({}, { linger: 50 })
          got = []
          go = () => {}
          loop = (async () => {
            for await (const order of live.watch("/orders/3")) {
              got.push(order.count)
              if (order.count === 4) break
              await new Promise((resolve) => { go = resolve })
            }
            return "done"
          })()
        }"""
    )
    await page.wait_for_function("got.length === 1")
    await page.evaluate("() => { w = follow(live, '/orders/3') }")
    for count in (2, 3, 4):
        await put(served, count)
        await shown(page, count)
    await page.evaluate("() => { w.stop(); go() }")
    assert await page.evaluate("loop") == "done"
    assert await page.evaluate("got") == [1, 4]
    await until(lambda: not proxy._open)


@pytest.mark.timeout(180)
async def test_a_thousand_lost_connections_leave_nothing_behind(
    context: BrowserContext, page: Page, proxy: Wayward, served: ProcessServer
) -> None:
    """Neither in the page's memory nor in open connections; and none of them is a storm."""
    await page.evaluate("() => { w = follow(make({}, { stable: 0, backoff: 1 }), '/orders/3') }")
    devtools = await context.new_cdp_session(page)
    await shown(page, 1)
    await lose(page, proxy, 100)
    before = await heap(devtools)
    asked = len(proxy.log)
    await lose(page, proxy, 1000)
    assert await heap(devtools) - before < 200_000
    assert len(proxy.log) - asked <= 2100  # a handshake each, and now and then the question why one failed
    await until(lambda: len(proxy._open) <= 2)
    await put(served, 2)
    await shown(page, 2)
    assert await page.evaluate("w.seen") == [tea(1), tea(2)]


async def lose(page: Page, proxy: Wayward, times: int) -> None:
    for _ in range(times):
        await page.evaluate("w.states.length = 0")
        proxy.cut()
        await page.wait_for_function(
            "w.states.at(-1) === 'websocket' || w.states.at(-1) === 'sse'", polling=5
        )


async def heap(devtools: CDPSession) -> int:
    """Bytes in use, once the garbage is gone."""
    for _ in range(3):
        await devtools.send("HeapProfiler.collectGarbage")
    return int((await devtools.send("Runtime.getHeapUsage"))["usedSize"])
