"""Streams, operations and requests in Chromium, with its own aborts, forms and sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pages import opened
from playwright.async_api import BrowserContext, Page
from wayward import Wayward

from scenarios.servers import TESTS, ProcessServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    folder = tmp_path_factory.mktemp("work")
    path = os.pathsep.join([str(TESTS), str(TESTS / "browser")])
    server = ProcessServer("work_page_app:app", folder, runner="restive", env={"PYTHONPATH": path})
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def hop(work: ProcessServer) -> AsyncIterator[Wayward]:
    async with Wayward(work.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def worker(context: BrowserContext, hop: Wayward) -> Page:
    return await opened(context, hop)


async def say(work: ProcessServer, room: str, items: list[Any], *, close: bool = False) -> None:
    async with httpx2.AsyncClient(base_url=work.url, trust_env=False) as http:
        answer = await http.post(f"/_/say/{room}", params={"close": close}, json=items)
        answer.raise_for_status()


READ = """(path) => {
  window.items = []
  window.stream = make().stream(path)
  window.over = (async () => { for await (const item of stream) items.push(item) })()
    .then(() => "over", (error) => error.name)
}"""


async def test_a_stream_that_is_cut_again_and_again(worker: Page, hop: Wayward, work: ProcessServer) -> None:
    await worker.evaluate(READ, "/rooms/cut/messages")
    for number in range(10):
        await say(work, "cut", [2 * number, 2 * number + 1])
        if number % 3 == 2:
            hop.cut()
    await worker.wait_for_function("items.length == 20")
    await say(work, "cut", [], close=True)
    assert await worker.evaluate("over") == "over"
    assert await worker.evaluate("items") == list(range(20))
    assert hop.count().total() < 40


async def test_a_stream_behind_a_proxy_that_holds_events(
    worker: Page, hop: Wayward, work: ProcessServer
) -> None:
    hop.sse = "buffer"
    await worker.evaluate(READ, "/rooms/held/messages")
    await say(work, "held", [1])
    await worker.wait_for_function("items.length == 1")
    await worker.evaluate("stream.close()")
    assert await worker.evaluate("over") == "over"


@pytest.mark.parametrize("transport", ["auto", "sse"])
async def test_an_operation(worker: Page, transport: str) -> None:
    found = await worker.evaluate(
        """async (transport) => {
          const form = new FormData()
          form.set("file", new File(["a\\nb\\nc\\n"], "lines.txt"))
          const op = await make({ transport }).operation("/counts?hold=0.1", { method: "POST", body: form })
          const seen = []
          op.onprogress = (progress) => seen.push(progress.completed)
          const parts = []
          for await (const part of op.parts()) parts.push((await part.json()).line)
          const again = await make().operation(op.url)
          return { parts, result: await op.result(), last: seen.at(-1), same: again.state.status }
        }""",
        transport,
    )
    assert found == {"parts": ["a", "b", "c"], "result": {"lines": 3}, "last": 3, "same": "succeeded"}


async def test_requests_go_over_the_open_socket(worker: Page, hop: Wayward) -> None:
    found = await worker.evaluate(
        """async () => {
          const live = make({ transport: "websocket" })
          window.live = live
          const seen = []
          live.watch("/document", (data) => seen.push(data.n))
          while (!seen.length) await new Promise((resolve) => setTimeout(resolve, 10))
          const init = { method: "PUT", body: '{"n": 7}', headers: { "content-type": "application/json" } }
          const answer = await live.fetch("/document", init)
          while (seen.at(-1) != 7) await new Promise((resolve) => setTimeout(resolve, 10))
          const { fields, body } = await (await live.fetch("/reflect", { method: "POST", body: "x" })).json()
          return [answer.status, await answer.json(), body, fields["content-type"], answer.url]
        }"""
    )
    assert found == [200, {"n": 7}, "x", "text/plain;charset=UTF-8", f"{hop.url}/document"]
    assert hop.count()["put"] + hop.count()["post"] == 0
    await worker.evaluate("live.close()")


async def served(work: ProcessServer, method: str) -> int:
    async with httpx2.AsyncClient(base_url=work.url, trust_env=False) as http:
        return int((await http.get("/_/log")).json().get(method, 0))


async def test_a_post_behind_a_lost_socket(worker: Page, hop: Wayward, work: ProcessServer) -> None:
    before = await served(work, "PUT")
    await worker.evaluate(
        """async () => {
          const live = make({ transport: "websocket" })
          const seen = []
          live.watch("/document", (data) => seen.push(data.n))
          while (!seen.length) await new Promise((resolve) => setTimeout(resolve, 10))
          const send = (method) => live.fetch("/reflect?wait=1", { method, body: "x" })
            .then((answer) => answer.status, (error) => error.name)
          window.both = Promise.all([send("POST"), send("PUT")])
        }"""
    )
    async with asyncio.timeout(10):
        while await served(work, "PUT") == before:
            await asyncio.sleep(0.01)
    hop.cut()
    assert await worker.evaluate("both") == ["OutcomeUnknown", 200]
