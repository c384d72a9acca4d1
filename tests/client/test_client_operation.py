"""Operations: the handle against documents, parts and results that a test scripts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from restive.client import Client, OperationState, Part, Place
from restive.errors import ClientError, OperationCanceled, OperationFailed, RequestRefused, WatchEnded

URL = "/digests/1"
WITHIN = 10.0


class Digest:
    """One operation, moved on by the test."""

    def __init__(self, script: Any) -> None:
        self._script = script
        self.parts: list[dict[str, Any]] = []
        self.asked: list[str | None] = []  # offsets
        self.page = 2
        self.closed = False
        self.links: dict[str, str] = {
            "parts": f"{URL}/parts",
            "result": f"{URL}/result",
            "cancel": f"{URL}/cancel",
        }
        script.routes["GET", f"{URL}/parts"] = self._parts
        script.routes["POST", "/digests"] = lambda _: (202, {"location": URL}, self.document)
        script.routes["POST", f"{URL}/cancel"] = self._cancel
        script.routes["DELETE", URL] = lambda _: (204, {}, None)
        self.move("queued")

    def move(self, status: str, **also: Any) -> None:
        self.document = {"id": "1", "status": status, "parts": len(self.parts), "links": self.links, **also}
        self._script.put(URL, self.document)
        if status in {"succeeded", "failed", "canceled"}:
            self.closed = True
            self._script.finish(URL)

    def part(self, name: str) -> None:
        entry = {"name": name, "url": f"{URL}/parts/{name}", "type": "text/plain", "size": 3, "digest": "d"}
        self.parts.append(entry)
        self.move("running")

    def succeed(self, result: Any) -> None:
        self._script.routes["GET", f"{URL}/result"] = lambda _: (200, {}, result)
        self.move("succeeded")

    def _parts(self, query: Any) -> Any:
        self.asked.append(query.get("offset"))
        begin = int(query.get("offset", "0"))
        end = min(begin + self.page, len(self.parts))
        headers = {"stream-next-offset": str(end)}
        if self.closed and end == len(self.parts):
            headers["stream-closed"] = "true"
        return 200, headers, self.parts[begin:end]

    def _cancel(self, _: Any) -> Any:
        self.move("canceled")
        return 202, {}, self.document


@pytest.fixture
def digest(script):
    return Digest(script)


async def collect(items: Any) -> list[Any]:
    async with asyncio.timeout(WITHIN):
        return [item async for item in items]


async def test_progress_follows_the_document_to_its_final_status(digest, connect):
    client = connect()
    operation = client.operation(await client.post("/digests"))
    documents = operation.progress()
    assert (await anext(documents))["status"] == "queued"
    digest.move("running", progress={"completed": 1, "total": 2})
    assert (await anext(documents))["progress"] == {"completed": 1, "total": 2}
    digest.succeed(1)
    assert [document["status"] for document in await collect(documents)] == ["succeeded"]


async def test_parts_come_once_each_as_they_appear(digest, connect, server):
    digest.part("a")
    operation = connect().operation(URL)
    parts = operation.parts()
    first = await anext(parts)
    assert first == Part("a", f"{server.url}{URL}/parts/a", "text/plain", 3, "d")
    for name in "bcdef":
        digest.part(name)
    assert [(await anext(parts)).name for _ in range(5)] == list("bcdef")
    digest.part("g")
    digest.succeed(1)
    assert [part.name for part in await collect(parts)] == ["g"]
    assert digest.asked[0] is None
    assert None not in digest.asked[1:]


async def test_the_parts_that_are_there_now(digest, connect):
    for name in "abcde":
        digest.part(name)
    operation = connect().operation(URL)
    assert [part.name for part in await collect(operation.parts(follow=False))] == list("abcde")
    digest.succeed(1)
    assert [part.name for part in await collect(operation.parts(follow=False))] == list("abcde")


@pytest.mark.parametrize(
    ("queue", "place"),
    [
        (
            {"position": 3, "starts": "2026-11-23T01:12:05.192Z"},
            Place(3, datetime(2026, 11, 23, 1, 12, 5, 192_000, UTC)),
        ),
        ({"position": 1, "starts": None}, Place(1, None)),
        ({"position": None, "starts": "soon"}, Place(None, None)),
        (None, None),
    ],
)
async def test_the_place_in_the_queue_is_typed(digest, connect, queue, place):
    digest.move("queued", queue=queue)
    operation = connect().operation(URL)
    assert (await operation.status()).queue == place
    assert (await anext(operation.progress())).queue == place


def test_a_server_that_tells_no_place_is_no_error():
    assert OperationState({"status": "queued"}, URL).queue is None


async def test_an_operation_without_parts_has_none(digest, connect):
    digest.succeed(1)
    assert await collect(connect().operation(URL).parts()) == []


@pytest.mark.parametrize("result", [{"lines": 3}, None, 0, "text", [1, 2]])
async def test_the_result_is_awaited(digest, connect, result):
    waiting = asyncio.ensure_future(connect().operation(URL).result())
    digest.move("running")
    digest.succeed(result)
    assert await waiting == result


async def test_a_failure_raises_its_problem(digest, connect):
    digest.move("failed", error={"status": 500, "title": "Broken", "detail": "Division by zero."})
    with pytest.raises(OperationFailed) as caught:
        await connect().operation(URL).result()
    assert caught.value.problem.detail == "Division by zero."


async def test_cancel(digest, connect):
    operation = connect().operation(URL)
    waiting = asyncio.ensure_future(operation.result())
    assert (await operation.cancel())["status"] == "canceled"
    with pytest.raises(OperationCanceled):
        await waiting
    assert (await operation.status())["status"] == "canceled"


async def test_delete(digest, script, connect):
    operation = connect().operation(URL)
    await operation.delete()
    script.end(URL, status=410, title="Gone")
    with pytest.raises(RequestRefused) as caught:
        await operation.status()
    assert caught.value.problem.status == 410
    with pytest.raises(WatchEnded, match="410 Gone"):
        await operation.result()


async def test_a_server_that_is_away_for_a_moment_is_asked_again(digest, script, connect, until):
    digest.succeed({"n": 1})
    script.busy = (503, {})
    waiting = asyncio.ensure_future(connect().operation(URL).status())
    await until(lambda: len(script.log) >= 3)
    script.busy = None
    assert (await waiting)["status"] == "succeeded"


async def test_what_refuses_the_operation_is_raised(script, connect):
    import httpx2

    script.routes["POST", "/digests"] = lambda _: (422, {}, {"detail": "no"})
    client = connect()
    refused = await client.post("/digests")
    with pytest.raises(httpx2.HTTPStatusError):
        client.operation(refused)


async def test_an_answer_in_time_names_the_operation_by_content_location(digest, script, connect, server):
    digest.succeed(1)
    script.routes["POST", "/digests"] = lambda _: (200, {"content-location": URL}, digest.document)
    client = connect()
    operation = client.operation(await client.post("/digests"))
    assert operation.url == server.url + URL
    assert await operation.result() == 1


async def test_credentials_do_not_follow_a_link_to_another_server(digest, connect):
    digest.links["result"] = "http://elsewhere.test/result"
    digest.move("succeeded")
    with pytest.raises(ClientError, match="another server"):
        await connect().operation(URL).result()


async def test_what_is_no_operation_is_said_to_be_none(script, connect):
    with pytest.raises(ClientError, match="not the document"):
        await connect().operation("/a").result()


class Listing:
    """A collection of so many operations, which it answers page by page."""

    def __init__(self, script: Any, count: int) -> None:
        self.asked: list[dict[str, str]] = []
        self.elsewhere = ""
        self._ids = [str(number) for number in range(count)]
        script.routes["GET", "/digests"] = self._page

    def _page(self, query: Any) -> Any:
        self.asked.append(dict(query))
        begin, limit = int(query.get("before", "0")), int(query["limit"])
        documents = [
            {"id": each, "status": "queued", "links": {"self": f"/digests/{each}"}}
            for each in self._ids[begin : begin + limit]
        ]
        more = begin + limit < len(self._ids)
        link = f'<{self.elsewhere}/digests?before={begin + limit}&limit={limit}>; rel="next"'
        return 200, {"link": link} if more else {}, documents


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (2, 1), (3, 2), (5, 3)])
async def test_a_listing_is_followed_from_page_to_page(script, connect, server, count, pages):
    listing = Listing(script, count)
    found = await collect(connect().operations("/digests", status="queued", page=2))
    assert [each.url for each in found] == [f"{server.url}/digests/{number}" for number in range(count)]
    assert len(listing.asked) == pages
    assert listing.asked[0] == {"limit": "2", "status": "queued"}


async def test_a_listing_that_leads_to_another_server_is_not_followed(script, connect):
    Listing(script, 3).elsewhere = "http://elsewhere.test"
    with pytest.raises(ClientError, match="another server"):
        await collect(connect().operations("/digests", page=2))


@pytest.mark.parametrize("answer", [{"n": 1}, "text", [1], [{"no": "id"}], [{"id": "1"}]])
async def test_what_is_no_listing_is_said_to_be_none(script, connect, answer):
    script.routes["GET", "/digests"] = lambda _: (200, {}, answer)
    with pytest.raises(ClientError, match=r"no list of operations|not the document"):
        await collect(connect().operations("/digests"))


async def test_a_listing_that_is_refused_raises_its_problem(script, connect):
    script.routes["GET", "/digests"] = lambda _: (404, {}, {"title": "There is no listing"})
    with pytest.raises(RequestRefused, match="404"):
        await collect(connect().operations("/digests"))


def test_the_same_without_await(digest, server, script, policy):
    digest.part("a")
    digest.succeed({"n": 1})
    with Client(server.url, policy=policy, headers={"x-script": str(id(script))}) as client:
        operation = client.operation(client.post("/digests"))
        assert [document["status"] for document in operation.progress()] == ["succeeded"]
        assert [part.name for part in operation.parts()] == ["a"]
        assert [part.name for part in operation.parts(follow=False)] == ["a"]
        assert operation.result() == {"n": 1}
        assert operation.status()["status"] == "succeeded"
        assert operation.cancel()["status"] == "canceled"
        operation.delete()
        Listing(script, 3)
        assert [document["id"] for document in client.operations("/digests", page=2)] == ["0", "1", "2"]
        assert operation.url == server.url + URL
