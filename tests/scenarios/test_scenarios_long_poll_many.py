"""One long poll for many resources: answered with what is ready, in the socket's objects."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from apps import shop as shop_app
from apps.shop import TEA
from restive import Restive
from scenarios.servers import CALM, Serve, Spawn
from scenarios.waiting import until
from scenarios.watches import Client


class Shop:
    """A server of a shop with orders 3, 4 and 5."""

    def __init__(self, serve: Serve, http: Client, **settings: Any) -> None:
        app, self.live, self.shop = shop_app.make(**{**CALM, **settings})
        self.shop.orders.update({4: {"n": 4}, 5: {"n": 5}})
        self.server = serve(app)
        self.url, self.http = self.server.url, http

    async def ask(self, *frames: Mapping[str, Any], wait: float = 20, **headers: str) -> httpx2.Response:
        """A long poll by POST."""
        body = "\n".join(map(json.dumps, frames)).encode()
        target = f"{self.url}/-/live?live=long-poll&wait={wait}&n=1"
        return await self.http.post(target, content=body, headers=headers, timeout=25)

    async def begin(self, *frames: Mapping[str, Any], **options: Any) -> asyncio.Task[httpx2.Response]:
        """The same, once all of its resources were looked at."""
        looks = {frame["watch"]: self.shop.looks[frame["watch"]] for frame in frames}
        task = asyncio.create_task(self.ask(*frames, **options))
        await until(lambda: all(self.shop.looks[target] > before for target, before in looks.items()))
        return task

    async def tagged(self, *numbers: int) -> list[dict[str, str]]:
        """Frames that have the present tags."""
        answer = await self.ask(*({"watch": f"/orders/{number}"} for number in numbers))
        return [{"watch": event["on"], "etag": event["etag"]} for event in answer.json()]


@pytest.fixture
def shop(serve: Serve, http: Client) -> Shop:
    return Shop(serve, http)


async def test_all_first_states_come_in_one_answer(shop: Shop) -> None:
    answer = await shop.ask({"watch": "/orders/3"}, {"watch": "/orders/4"}, {"watch": "/orders/99"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "preference-applied" not in answer.headers
    told = {event["on"]: event for event in answer.json()}
    assert told["/orders/3"]["data"] == TEA
    assert told["/orders/4"]["data"] == {"n": 4}
    assert told["/orders/99"]["end"]["status"] == 404
    assert len(answer.json()) == 3


async def test_a_change_is_told_beside_what_is_current(shop: Shop) -> None:
    """Who is told nothing of a resource knows that it could not be looked at yet."""
    waiting = await shop.begin(*await shop.tagged(3, 4, 5))
    assert not waiting.done()
    await shop.http.put(shop.url + "/orders/4", json={"n": 44})
    told = {event["on"]: event for event in (await waiting).json()}
    assert told["/orders/4"]["data"] == {"n": 44}
    assert told["/orders/3"]["current"]
    assert told["/orders/5"]["current"]
    assert len(told) == 3


async def test_by_get_with_a_tag_for_each(shop: Shop) -> None:
    frames = await shop.tagged(3, 4)
    query = "&".join(f"watch={frame['watch']}&etag={frame['etag']}" for frame in frames)
    answer = await shop.http.get(f"{shop.url}/-/live?live=long-poll&wait=0&{query}&watch=/orders/5")
    told = {event["on"]: event for event in answer.json()}
    assert told["/orders/5"]["data"] == {"n": 5}
    assert told["/orders/3"]["current"]


async def test_nothing_new_is_204_when_the_time_is_up(shop: Shop) -> None:
    answer = await shop.ask(*await shop.tagged(3, 4), wait=0.2)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"


async def test_a_preference_is_applied(shop: Shop) -> None:
    body = "\n".join(map(json.dumps, await shop.tagged(3, 4))).encode()
    headers = {"prefer": "wait=1"}
    answer = await shop.http.post(shop.url + "/-/live", content=body, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["preference-applied"] == "wait=1"


async def test_a_slow_resource_keeps_no_other_waiting(shop: Shop) -> None:
    """It is left out of the answer, and told when it is asked for again."""
    (three,) = await shop.tagged(3)
    shop.shop.slow["/orders/4"] = 5.0
    answer = await shop.ask({**three, "etag": '"old"'}, {"watch": "/orders/4"})
    assert [event["on"] for event in answer.json()] == ["/orders/3"]
    answer = await shop.ask(three, {"watch": "/orders/4"}, wait=0)
    assert answer.json() == [{"on": "/orders/3", "etag": three["etag"], "current": True}]
    shop.shop.slow.clear()
    assert len((await shop.ask({"watch": "/orders/4"}, three)).json()) == 2


async def test_an_app_that_fails_is_503_where_nothing_else_is_known(serve: Serve, http: Client) -> None:
    shop = Shop(serve, http, look_timeout=0.5)
    shop.shop.failing.update({"/orders/3": (503, {}), "/orders/4": (500, {})})
    answer = await shop.ask({"watch": "/orders/3"}, {"watch": "/orders/4"}, wait=0)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_an_app_that_fails_for_one_is_told_after_the_time_of_a_look(serve: Serve, http: Client) -> None:
    """By what is said of the others alone, however long the client would wait."""
    shop = Shop(serve, http, look_timeout=0.5)
    (three,) = await shop.tagged(3)
    shop.shop.failing["/orders/4"] = (503, {})
    async with asyncio.timeout(8):
        answer = await shop.ask(three, {"watch": "/orders/4"}, wait=20)
    assert answer.json() == [{"on": "/orders/3", "etag": three["etag"], "current": True}]


async def test_each_has_its_own_credentials(shop: Shop) -> None:
    """And a right that is withdrawn ends that watch alone."""
    vault = {"watch": "/vault/3", "headers": {"authorization": "Bearer ann"}}
    nobody = {"watch": "/vault/4"}
    told = {event["on"]: event for event in (await shop.ask(vault, nobody)).json()}
    assert told["/vault/3"]["data"] == {"owner": "ann", **TEA}
    assert told["/vault/4"]["end"]["status"] == 401
    waiting = await shop.begin({**vault, "etag": told["/vault/3"]["etag"]}, *await shop.tagged(3))
    shop.shop.allowed.clear()
    shop.live.changed("/vault/3")
    told = {event["on"]: event for event in (await waiting).json()}
    assert told["/vault/3"]["end"]["status"] == 403
    assert told["/orders/3"]["current"]


async def test_a_final_state_is_told_with_its_end(shop: Shop) -> None:
    shop.shop.caching["/orders/3"] = "public, max-age=31536000, immutable"
    first = (await shop.ask({"watch": "/orders/3"})).json()
    assert first[0]["data"] == TEA
    assert first[1] == {"on": "/orders/3", "end": {"status": 200}}
    again = (await shop.ask({"watch": "/orders/3", "etag": first[0]["etag"]})).json()
    assert again == [
        {"on": "/orders/3", "etag": first[0]["etag"], "current": True},
        {"on": "/orders/3", "end": {"status": 200}},
    ]


async def test_the_last_of_several_states_is_told_whole(shop: Shop) -> None:
    """While a slow resource is waited for; no patch is of a state that was not told."""
    shop.shop.slow["/orders/4"] = 0.3
    (three,) = await shop.tagged(3)
    asked = {**three, "etag": '"old"', "patch": True}
    waiting = await shop.begin(asked, {"watch": "/orders/4"})
    for n in range(1, 4):
        await shop.http.put(shop.url + "/orders/3", json={"long": "text " * 50, "n": n})
    told = [event for event in (await waiting).json() if event["on"] == "/orders/3"]
    assert [event.get("data", {}).get("n") for event in told] == [3]


@pytest.mark.parametrize("mode", ["sse", "ndjson", "long-poll"])
async def test_a_watch_that_is_refused_touches_no_other(mode: str, serve: Serve, http: Client) -> None:
    shop = Shop(serve, http, targets=lambda path: path.startswith("/orders"))
    body = b'{"watch": "/vault/3"}\n{"watch": "/orders/99"}\n{"watch": "/orders/98"}'
    answer = await http.post(f"{shop.url}/-/live?live={mode}", content=body)
    assert answer.status_code == 200
    text = answer.text.replace("data: ", "").strip()
    objects = (
        text if mode == "long-poll" else f"[{','.join(filter(lambda line: '{' in line, text.splitlines()))}]"
    )
    told = {event["on"]: event for event in json.loads(objects)}
    assert told["/vault/3"]["error"]["status"] == 403
    assert told["/orders/99"]["end"]["status"] == told["/orders/98"]["end"]["status"] == 404
    alone = await http.post(f"{shop.url}/-/live?live={mode}", content=b'{"watch": "/vault/3"}')
    assert alone.status_code == 403


async def test_items_of_a_stream_beside_states(serve: Serve, http: Client) -> None:
    app = FastAPI()
    live = Restive(app, **CALM)
    rooms = live.stream("/rooms/{room}")

    @app.get("/topic")
    def topic() -> str:
        return "tea"

    @app.post("/say")
    async def say(text: str) -> None:
        await rooms.append(text, room=5)

    url = serve(app).url
    await http.post(url + "/say?text=a")

    async def ask(*frames: dict[str, str]) -> dict[str, Any]:
        body = "\n".join(map(json.dumps, frames))
        answer = await http.post(f"{url}/-/live?live=long-poll&wait=9", content=body)
        return {event["on"]: event for event in answer.json()}

    first = await ask({"watch": "/rooms/5"}, {"watch": "/topic"})
    assert first["/rooms/5"]["items"] == ["a"]
    state = await ask({"watch": "/topic"})
    waiting = asyncio.create_task(
        ask(
            {"watch": "/rooms/5", "offset": first["/rooms/5"]["offset"]},
            {"watch": "/topic", "etag": state["/topic"]["etag"]},
        )
    )
    await http.post(url + "/say?text=b")
    assert (await waiting)["/rooms/5"]["items"] == ["b"]


async def test_it_counts_as_one_connection_while_it_waits(serve: Serve, http: Client) -> None:
    shop = Shop(serve, http, max_connections=1)
    frames = await shop.tagged(3, 4)
    waiting = await shop.begin(*frames)
    assert (await shop.ask(*frames)).status_code == 429
    await http.put(shop.url + "/orders/3", json={})
    assert (await waiting).status_code == 200
    assert (await shop.ask(*frames, wait=0)).status_code == 200


async def test_a_client_that_goes_leaves_nothing(shop: Shop) -> None:
    waiting = await shop.begin(*await shop.tagged(3, 4))
    waiting.cancel()
    await until(lambda: "hubs=[]" in repr(shop.live))


@pytest.mark.parametrize(
    "query",
    ["live=long-poll&wait=abc&watch=/orders/3", "live=long-poll", "live=long-poll&watch=//evil"],
)
async def test_bad_requests(query: str, shop: Shop) -> None:
    answer = await shop.http.get(f"{shop.url}/-/live?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_pages_of_other_origins_are_refused(shop: Shop) -> None:
    origin = {"origin": "https://evil.test", "cookie": "a=b"}
    assert (await shop.ask({"watch": "/orders/3"}, **origin)).status_code == 403


async def test_a_server_that_stops_answers_at_once(spawn: Spawn, http: Client) -> None:
    server = spawn("apps.shop:app")
    (state,) = (await http.get(server.url + "/-/live?live=long-poll&watch=/orders/3")).json()
    body = json.dumps({"watch": "/orders/3", "etag": state["etag"]})
    waiting = asyncio.create_task(
        http.post(server.url + "/-/live?live=long-poll&wait=60", content=body, timeout=30)
    )
    await asyncio.sleep(0.3)  # nothing tells from outside that a long poll has begun to wait
    server.signal(signal.SIGTERM)
    assert (await waiting).status_code == 204
    await asyncio.to_thread(server.wait, 10)
