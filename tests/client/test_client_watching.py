"""Watches against a real server that misbehaves: what arrives, over which transport, at what cost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hop import Link

from restive.client import Watch
from restive.errors import ClientError, Unreachable, WatchEnded

TRANSPORTS = ["websocket", "sse", "ndjson", "long-poll", "poll"]
LADDER = ["websocket", "sse", "long-poll", "poll"]
LOGGED = {"poll": "get"}
WITHIN = 10.0


async def read(watch: Watch) -> Any:
    """The next state's data."""
    async with asyncio.timeout(WITHIN):
        return (await anext(watch)).data


async def read_until(watch: Watch, data: Any) -> list[Any]:
    """The data of all states up to the one that holds ``data``."""
    seen = [await read(watch)]
    while seen[-1] != data:
        seen.append(await read(watch))
    return seen


async def rest(watch: Watch) -> list[Any]:
    """The data of all states up to the end."""
    async with asyncio.timeout(WITHIN):
        return [state.data async for state in watch]


# -- every transport ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_states_arrive_and_a_final_one_stops_the_iteration(script, connect, transport):
    watch = connect(transport=transport).watch("/a")
    assert await read(watch) == {"n": 0}
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}
    script.finish("/a")
    assert await rest(watch) == []
    assert await rest(watch) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_resource_that_is_final_at_once_gives_its_state(script, connect, transport):
    script.finish("/a")
    assert await rest(connect(transport=transport).watch("/a")) == [{"n": 0}]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_another_end_raises_its_problem(script, connect, transport, status):
    watch = connect(transport=transport).watch("/a")
    assert await read(watch) == {"n": 0}
    script.end("/a", status=status, title="Over", detail="Go.")
    with pytest.raises(WatchEnded) as caught:
        await rest(watch)
    assert (caught.value.problem.status, caught.value.problem.detail) == (status, "Go.")
    assert await rest(watch) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_resource_that_is_not_there_ends_the_watch(connect, transport):
    with pytest.raises(WatchEnded, match="404 Not Found"):
        await rest(connect(transport=transport).watch("/none"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_known_tag_gives_only_what_is_newer(script, connect, transport, until):
    tag = script.resources["/a"].etag
    watch = connect(transport=transport).watch("/a", etag=tag)
    following = asyncio.ensure_future(read(watch))
    await until(lambda: script.log)
    script.put("/a", {"n": 1})
    assert await following == {"n": 1}
    assert watch.etag == script.resources["/a"].etag


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_change_that_was_missed_is_made_good_by_the_tag(script, connect, transport):
    tag = script.resources["/a"].etag
    script.put("/a", {"n": 1})
    assert await read(connect(transport=transport).watch("/a", etag=tag)) == {"n": 1}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_text_and_nothing_are_states(script, connect, transport):
    script.put("/t", "one\ntwo", media_type="text/plain")
    state = await anext(connect(transport=transport).watch("/t"))
    assert (state.data, state.text) == ("one\ntwo", "one\ntwo")
    script.put("/nothing", None)
    assert await read(connect(transport=transport).watch("/nothing")) is None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_is_announced_only_is_fetched(script, connect, transport):
    script.put("/b", b"\x00\xff", media_type="application/octet-stream", fetch=True)
    watch = connect(transport=transport).watch("/b")
    state = await anext(watch)
    assert state.data == b"\x00\xff"
    assert state.fetch == (transport not in {"long-poll", "poll"})
    script.put("/b", b"\x01")
    assert await read(watch) == b"\x01"
    script.finish("/b")
    assert await rest(watch) == []


# -- loss and return ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_restart_of_the_server_shows_no_state_twice_and_loses_none(
    script, mortal, connect, transport
):
    watch = connect(mortal.url, transport=transport).watch("/a")
    assert await read(watch) == {"n": 0}
    script.hang_up()
    mortal.stop()
    mortal.start()
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}
    script.put("/a", {"n": 2})
    assert await read(watch) == {"n": 2}
    asked = [etag for kind, _, etag in script.log if kind == LOGGED.get(transport, transport)]
    resumed = [frame.get("etag") for frame in script.frames] if transport == "websocket" else asked
    assert resumed[0] is None
    assert None not in resumed[1:]


@pytest.mark.parametrize("transport", ["websocket", "sse", "ndjson", "long-poll"])
async def test_a_connection_that_is_cut_again_and_again_loses_nothing(
    script, server, connect, transport, until
):
    async with Link(server.port) as link:
        watch = connect(link.url, transport=transport).watch("/a")
        assert await read(watch) == {"n": 0}
        for n in range(1, 6):
            link.cut()
            script.put("/a", {"n": n})
            assert await read(watch) == {"n": n}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cut_in_the_middle_of_a_message_shows_it_whole_afterwards(script, server, connect, transport):
    """Each connection brings a little more than the one before, until one brings all of it."""
    big = {"text": "ä" * 3000}
    script.put("/a", big)
    async with Link(server.port) as link:
        link.cut_after = 100
        watch = connect(link.url, transport=transport).watch("/a")
        reading = asyncio.ensure_future(read(watch))
        for size in range(1000, 19_000, 3000):
            connections = link.connections
            async with asyncio.timeout(WITHIN):
                while link.connections == connections and not reading.done():
                    await asyncio.sleep(0.005)
            link.cut_after = size
        link.cut_after = None
        assert await reading == big


@pytest.mark.parametrize("transport", ["websocket", "sse", "ndjson"])
async def test_the_server_says_when_to_come_back(script, connect, transport):
    """`retry` before the end is obeyed: the time between is at least what it names."""
    script.retry_ms = 400
    watch = connect(transport=transport).watch("/a")
    assert await read(watch) == {"n": 0}
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}
    loop = asyncio.get_running_loop()
    began, requests = loop.time(), len(script.log)
    script.hang_up()
    script.put("/a", {"n": 2})
    assert await read_until(watch, {"n": 2}) == [{"n": 2}]
    if loop.time() - began < 0.4:
        # The new state can have gone out before the hang-up was noticed, over the old connection.
        assert len(script.log) == requests


@pytest.mark.parametrize("transport", ["sse"])
async def test_retry_after_is_obeyed_and_nobody_storms(script, connect, transport, until):
    script.busy = (503, {"retry-after": "1"})
    watch = connect(transport=transport).watch("/a")
    reading = asyncio.ensure_future(read(watch))
    await until(lambda: script.log)
    script.busy = None
    assert await reading == {"n": 0}
    assert [etag for _, _, etag in script.log].count(None) == 2, "without the field it is 20 times faster"


@pytest.mark.parametrize("transport", ["auto", *TRANSPORTS])
async def test_a_bad_gateway_for_a_while_costs_few_requests(script, connect, transport, until):
    script.busy, script.websocket = (502, {}), "502"
    reading = asyncio.ensure_future(read(connect(transport=transport).watch("/a")))
    await until(lambda: len(script.log) >= 5)
    script.busy, script.websocket = None, "ok"
    assert await reading == {"n": 0}
    assert len(script.log) <= 10


async def test_an_end_of_the_watch_stops_all_requests(script, connect, until):
    script.busy = (502, {})
    watch = connect(transport="sse").watch("/a")
    reading = asyncio.ensure_future(read(watch))
    await until(lambda: len(script.log) >= 2)
    await watch.aclose()
    with pytest.raises(StopAsyncIteration):
        await reading


# -- the ladder --------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["refuse", "redirect", "502", "drop", "silent", "other-protocol"])
async def test_a_socket_that_delivers_nothing_gives_way_to_the_event_stream(script, connect, behaviour):
    script.websocket = behaviour
    client = connect()
    watch = client.watch("/a")
    assert await read(watch) == {"n": 0}
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}
    assert script.count() == {"websocket": 1, "sse": 1}
    script.put("/b", "other")
    assert await read(client.watch("/b")) == "other"
    assert script.count() == {"websocket": 1, "sse": 2}, "the origin is remembered"


@pytest.mark.parametrize("behaviour", ["refuse", "drop", "silent", "buffer", "ignore"])
async def test_an_event_stream_that_delivers_nothing_gives_way_to_the_long_poll(script, connect, behaviour):
    script.websocket, script.sse = "refuse", behaviour
    watch = connect().watch("/a")
    assert await read(watch) == {"n": 0}
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}
    assert script.count()["sse"] == 1


@pytest.mark.parametrize("behaviour", ["ignore", "504", "silent"])
async def test_a_long_poll_that_does_not_wait_gives_way_to_polls(script, connect, behaviour, until):
    script.websocket, script.sse, script.long_poll = "refuse", "ignore", behaviour
    watch = connect().watch("/a")
    assert await read(watch) == {"n": 0}
    await until(lambda: script.count()["get"])
    for n in (1, 2, 3):
        script.put("/a", {"n": n})
        assert await read(watch) == {"n": n}
    assert script.count()["long-poll"] <= 2
    script.finish("/a")
    assert await rest(watch) == []


async def test_comments_show_that_a_stream_is_not_buffered(script, connect, until):
    """A slow app is waited for, where the stream itself lives."""
    script.websocket, script.sse = "refuse", "comments"
    watch = connect().watch("/a")
    reading = asyncio.ensure_future(read(watch))
    await asyncio.sleep(0.8)  # longer than the patience: nothing else can show that it is not used up
    assert not reading.done()
    script.sse = "ok"
    script.ring()
    assert await reading == {"n": 0}
    assert script.count() == {"websocket": 1, "sse": 1}


async def test_a_silent_tcp_connection_is_given_up(script, server, connect):
    async with Link(server.port) as link:
        link.mode = "swallow"
        reading = asyncio.ensure_future(read(connect(link.url).watch("/a")))
        async with asyncio.timeout(WITHIN):
            while link.connections < 2:
                await asyncio.sleep(0.005)
        link.mode = "pass"
        assert await reading == {"n": 0}


async def test_connections_that_are_dropped_at_once_are_no_storm(script, server, connect, until):
    async with Link(server.port) as link:
        link.mode = "drop"
        reading = asyncio.ensure_future(read(connect(link.url).watch("/a")))
        await until(lambda: link.connections >= 8)  # the whole ladder, twice
        link.mode = "pass"
        assert await reading == {"n": 0}
        assert link.connections <= 14


async def test_a_better_transport_is_tried_again_beside_the_one_that_works(script, connect, policy, until):
    from dataclasses import replace

    script.websocket = "refuse"
    watch = connect(policy=replace(policy, better_after=0.1)).watch("/a")
    assert await read(watch) == {"n": 0}
    reading = asyncio.ensure_future(read(watch))
    await until(lambda: script.count()["websocket"] >= 3)
    assert script.streams == 1
    script.websocket = "ok"
    await until(lambda: script.sockets == 1 and script.streams == 0)
    assert not reading.done(), "the same state is not shown again"
    script.put("/a", {"n": 1})
    assert await reading == {"n": 1}


async def test_a_server_that_delivers_once_and_drops_is_no_storm(script, connect):
    script.websocket = "once"
    watch = connect(transport="websocket").watch("/a")
    assert await read(watch) == {"n": 0}
    reading = asyncio.ensure_future(read(watch))
    await asyncio.sleep(0.5)  # what is counted is how often it tries in this time
    assert script.count()["websocket"] <= 20
    script.websocket = "ok"
    script.put("/a", {"n": 1})
    assert await reading == {"n": 1}


async def test_nothing_at_all_raises_unreachable_in_time(mortal, connect):
    mortal.stop()
    watch = connect(mortal.url, connect_within=0.5).watch("/a")
    try:
        with pytest.raises(Unreachable) as caught:
            await read(watch)
    finally:
        mortal.start()
    assert caught.value.__cause__ is not None


async def test_a_watch_that_had_something_never_gives_up(script, mortal, connect):
    watch = connect(mortal.url, connect_within=0.2).watch("/a")
    assert await read(watch) == {"n": 0}
    reading = asyncio.ensure_future(read(watch))
    script.hang_up()
    mortal.stop()
    await asyncio.sleep(0.6)
    mortal.start()
    script.put("/a", {"n": 1})
    assert await reading == {"n": 1}


# -- one socket --------------------------------------------------------------------------------


async def test_all_watches_share_one_socket_which_closes_after_the_last(script, connect, until):
    client = connect()
    assert script.sockets == 0, "opened with the first watch only"
    watches = []
    for n in range(20):
        script.put(f"/n/{n}", n)
        watches.append(client.watch(f"/n/{n}"))
    assert await asyncio.gather(*(read(watch) for watch in watches)) == list(range(20))
    assert script.count() == {"websocket": 1}
    for watch in watches[1:]:
        await watch.aclose()
    await until(lambda: sum("unwatch" in frame for frame in script.frames) == 19)
    assert script.sockets == 1
    await watches[0].aclose()
    await until(lambda: script.sockets == 0)
    assert await read(client.watch("/n/3")) == 3
    assert script.count() == {"websocket": 2}


async def test_two_watches_of_one_uri_both_see_all(script, connect, until):
    client = connect(transport="websocket")
    one, two = client.watch("/a"), client.watch("/a")
    assert await read(one) == {"n": 0}
    assert await read(two) == {"n": 0}
    script.put("/a", {"n": 1})
    assert [await read(one), await read(two)] == [{"n": 1}, {"n": 1}]
    await one.aclose()
    script.put("/a", {"n": 2})
    assert await read(two) == {"n": 2}
    assert script.count()["websocket"] == 1


async def test_a_watch_without_a_reader_is_ended(script, connect, until):
    """Breaking out of the loop is enough."""

    async def first(client):
        async for state in client.watch("/a"):
            seen.append(state.data)
            break

    seen = []
    await first(connect())
    assert seen == [{"n": 0}]
    await until(lambda: script.sockets == 0)
    assert {"unwatch": "/a"} in script.frames


@pytest.mark.parametrize("transport", ["sse", "ndjson", "long-poll"])
async def test_a_closed_watch_closes_its_request(script, connect, transport, until):
    async with connect(transport=transport).watch("/a") as watch:
        assert await read(watch) == {"n": 0}
    await until(lambda: script.streams == 0)
    requests = len(script.log)
    script.put("/a", {"n": 1})
    assert await rest(watch) == []
    assert len(script.log) == requests


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_closed_client_tells_its_readers(script, connect, transport, until):
    client = connect(transport=transport)
    watch = client.watch("/a")
    assert await read(watch) == {"n": 0}
    reading = asyncio.ensure_future(read(watch))
    await client.aclose()
    with pytest.raises(ClientError, match="closed"):
        await reading
    await until(lambda: script.sockets == 0 and script.streams == 0)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cancelled_reader_can_read_on(script, connect, transport):
    watch = connect(transport=transport).watch("/a")
    assert await read(watch) == {"n": 0}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await anext(watch)
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}


async def test_a_slow_reader_gets_the_last_state(script, connect, until):
    watch = connect().watch("/a")
    assert await read(watch) == {"n": 0}
    for n in range(1, 30):
        script.put("/a", {"n": n})
    script.finish("/a")
    seen = await rest(watch)
    assert seen[-1] == {"n": 29}
    assert [state["n"] for state in seen] == sorted({state["n"] for state in seen})


# -- credentials -------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_clients_headers_cookies_and_auth_go_with_every_watch(script, connect, transport):
    client = connect(
        transport=transport, headers={"x-api-key": "k"}, cookies={"session": "s"}, auth=("user", "secret")
    )
    assert await read(client.watch("/a")) == {"n": 0}
    sent = script.headers[-1]
    assert (sent["x-api-key"], sent["cookie"]) == ("k", "session=s")
    assert sent["authorization"].startswith("Basic ")


async def test_headers_of_one_watch_go_in_its_frame_where_a_frame_takes_them(script, connect):
    client = connect()
    assert await read(client.watch("/a", headers={"Authorization": "Bearer t"})) == {"n": 0}
    assert script.frames[-1]["headers"] == {"authorization": "Bearer t"}
    script.put("/b", 1)
    assert await read(client.watch("/b", headers={"X-Tenant": "7"})) == 1
    assert script.headers[-1]["x-tenant"] == "7"
    assert script.count() == {"websocket": 1, "sse": 1}


async def test_two_watches_of_one_uri_with_other_credentials_do_not_share_the_socket(script, connect):
    client = connect()
    one = client.watch("/a", headers={"authorization": "Bearer a"})
    two = client.watch("/a", headers={"authorization": "Bearer b"})
    assert [await read(one), await read(two)] == [{"n": 0}, {"n": 0}]
    assert script.count() == {"websocket": 1, "sse": 1}


async def test_a_replaced_cookie_opens_the_socket_anew(script, connect, until):
    client = connect()
    watch = client.watch("/a")
    assert await read(watch) == {"n": 0}
    script.busy = (200, {"set-cookie": "session=new"})
    await client.post("/login")
    script.busy = None
    await until(lambda: script.count()["websocket"] == 2)
    assert script.headers[-1]["cookie"] == "session=new"
    script.put("/a", {"n": 1})
    assert await read(watch) == {"n": 1}


# -- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "sse", "long-poll"])
async def test_the_apps_own_query_comes_first(script, connect, transport):
    """In normal form, which is what a socket takes; parameters for one watch as for one GET."""
    script.put("/q?b=~&a=1%2F2&etag=mine", 1)
    assert await read(connect(transport=transport).watch("/q?b=%7e&a=1%2f2&etag=mine")) == 1
    script.put("/q?a=1%2F2", 2)
    assert await read(connect(transport=transport).watch("/q", params={"a": "1/2"})) == 2


async def test_a_watch_needs_a_whole_url(connect):
    from restive.client import AsyncClient

    async with AsyncClient() as client:
        with pytest.raises(ValueError, match="base_url"):
            client.watch("/a")
        with pytest.raises(ValueError, match="transport= is one of"):
            client.watch("http://h/a", transport="pigeon")
    with pytest.raises(ValueError, match="transport= is one of"):
        AsyncClient(transport="pigeon")


async def test_a_socket_elsewhere(script, server, connect):
    client = connect(transport="websocket", websocket_url=server.ws + "/root/-/live")
    assert await read(client.watch("/a")) == {"n": 0}
    assert script.log[0][:2] == ("websocket", "/root/-/live")
