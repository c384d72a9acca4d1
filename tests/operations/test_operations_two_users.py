"""Two users: of the other's operation one sees what one sees of an operation that never was.

Over every route, method and transport of a live app, with the other's cursor and with the other's key.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile

from restive import Restive
from restive.operations import Operation
from scenarios.servers import CALM, ThreadServer
from scenarios.watches import WAYS, End, State, new_client, watch

NEVER = "0" * 36
TOKENS = {"ann": {"authorization": "Bearer ann"}, "bob": {"authorization": "Bearer bob"}}
SHOWN = ("status", "title", "detail", "type")


def user_of(request: Request) -> str:
    name = request.headers.get("authorization", "").removeprefix("Bearer ")
    if name not in TOKENS:
        raise HTTPException(401)
    return name


class Site:
    """A live app whose operations have owners, served; one operation of ann's runs, one is done."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.live = live = Restive(self.app, **{**CALM, "workers": 4})
        self.go_on = threading.Event()
        self.written = threading.Event()

        @live.operation("/jobs", owner=user_of, dependencies=[Depends(user_of)])
        def job(op: Operation, wait: bool = False) -> str:
            op.part("done.txt", "ann's own")
            if wait:
                with op.part("open.txt", media_type="text/plain") as part:
                    part.write(b"ann's own")
                    part.flush()
                    self.written.set()
                    self.go_on.wait(30)
            return "ann's own"

        @live.operation("/files", owner=user_of)
        def file(file: UploadFile) -> int:
            return file.size or 0


@pytest.fixture
async def site(serve):
    made = Site()
    server = serve(made.app)
    async with new_client() as client:
        yield made, server, client
        made.go_on.set()


async def submit(server: ThreadServer, client: Any, user: str, url: str = "/jobs", **headers: str) -> Any:
    response = await client.post(server.url + url, headers={**TOKENS[user], **headers})
    assert response.status_code in {200, 202}, response.text
    return response


def told(response: httpx2.Response) -> Any:
    """All that a response tells: its fields but for those of the moment."""
    kept = {name: value for name, value in response.headers.items() if name != "date"}
    return response.status_code, kept, response.content


ROUTES = [
    ("GET", ""),
    ("HEAD", ""),
    ("GET", "/result"),
    ("HEAD", "/result"),
    ("GET", "/parts"),
    ("HEAD", "/parts"),
    ("GET", "/parts/done.txt"),
    ("HEAD", "/parts/done.txt"),
    ("GET", "/parts/open.txt"),
    ("GET", "/parts/none.txt"),
    ("POST", "/cancel"),
    ("DELETE", ""),
]

CONDITIONS: list[dict[str, str]] = [
    {},
    {"If-None-Match": "*"},
    {"If-Match": "*"},
    {"Range": "bytes=0-1"},
    {"Prefer": "wait=1"},
]


@pytest.mark.parametrize("wait", [False, True])
async def test_every_route(site, wait):
    made, server, client = site
    query = f"?wait={str(wait).lower()}"
    response = await submit(server, client, "ann", f"/jobs{query}", **({} if wait else {"Prefer": "wait=10"}))
    location = response.json()["links"]["self"]
    if wait:
        assert await asyncio.to_thread(made.written.wait, 10)
    own = (await client.get(server.url + location, headers=TOKENS["ann"])).headers["etag"]
    for headers in (*CONDITIONS, {"If-None-Match": own}, {"If-Range": own, "Range": "bytes=0-1"}):
        for method, path in ROUTES:
            sent = {**TOKENS["bob"], **headers}
            mine = await client.request(method, f"{server.url}{location}{path}", headers=sent)
            never = await client.request(method, f"{server.url}/jobs/{NEVER}{path}", headers=sent)
            assert told(mine) == told(never), (method, path, headers)
            assert mine.status_code == 404
    still = await client.get(server.url + location, headers=TOKENS["ann"])
    assert still.json()["status"] == ("running" if wait else "succeeded")


async def test_the_listing_and_its_pages(site):
    _, server, client = site
    for user in ("ann", "bob", "ann", "bob", "ann"):
        await submit(server, client, user, Prefer="wait=10")
    pages: dict[str, list[str]] = {}
    for user, headers in TOKENS.items():
        url, pages[user] = "/jobs?limit=1", []
        while url:
            page = await client.get(server.url + url, headers=headers)
            pages[user] += [each["id"] for each in page.json()]
            url = page.links.get("next", {}).get("url")
    assert (len(pages["ann"]), len(pages["bob"])) == (3, 2)
    assert not set(pages["ann"]) & set(pages["bob"])
    for cursor in pages["ann"]:  # ann's cursor shows bob nothing of hers
        page = await client.get(f"{server.url}/jobs?before={cursor}", headers=TOKENS["bob"])
        assert {each["id"] for each in page.json()} <= set(pages["bob"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", ["", "/result", "/parts"])
async def test_every_transport(site, way, path):
    _, server, client = site
    location = (await submit(server, client, "ann", Prefer="wait=10")).json()["links"]["self"]
    begin = "?offset=-1" if path == "/parts" and way.endswith("-query") else ""  # they are a stream
    ends = []
    for target in (f"{location}{path}{begin}", f"/jobs/{NEVER}{path}{begin}"):
        async with watch(way, server.url, target, headers=TOKENS["bob"]) as seen:
            ends.append(await seen.end())
            assert b"ann's own" not in seen.raw
    assert {name: ends[0].document.get(name) for name in SHOWN} == {
        name: ends[1].document.get(name) for name in SHOWN
    }
    assert ends[0].status == ends[1].status == 404


@pytest.mark.parametrize("way", WAYS)
async def test_the_others_cursor_resumes_nothing(site, way):
    made, server, client = site
    location = (await submit(server, client, "ann", "/jobs?wait=true")).json()["links"]["self"]
    assert await asyncio.to_thread(made.written.wait, 10)
    async with watch(way, server.url, location, headers=TOKENS["ann"]) as own:
        event = await own.next()
        assert isinstance(event, State)
        cursor = event.etag
        for target in (location, f"/jobs/{NEVER}"):
            async with watch(way, server.url, target, etag=cursor, headers=TOKENS["bob"]) as seen:
                end = await seen.end()
                assert isinstance(end, End)
                assert end.status == 404, target
                assert b"ann's own" not in seen.raw


async def test_a_watch_of_the_listing_tells_of_ones_own_only(site):
    _, server, client = site
    mine = (await submit(server, client, "bob", Prefer="wait=10")).json()["id"]
    async with watch("websocket", server.url, "/jobs", headers=TOKENS["bob"]) as seen:
        first = await seen.next()
        assert [each["id"] for each in first.data] == [mine]
        theirs = (await submit(server, client, "ann", Prefer="wait=10")).json()["id"]
        later = (await submit(server, client, "bob", Prefer="wait=10")).json()["id"]
        async with asyncio.timeout(10):
            while {each["id"] for each in (await seen.next()).data} != {mine, later}:
                pass
        assert theirs.encode() not in seen.raw


async def test_a_part_is_followed_by_its_owner_only(site):
    made, server, client = site
    location = (await submit(server, client, "ann", "/jobs?wait=true")).json()["links"]["self"]
    assert await asyncio.to_thread(made.written.wait, 10)
    url = f"{server.url}{location}/parts/open.txt"
    async with client.stream("GET", url, headers=TOKENS["ann"]) as followed:
        assert followed.status_code == 200
        answer = await client.get(url, headers=TOKENS["bob"])
        assert (answer.status_code, answer.json()["title"]) == (404, "There is no such operation")
        made.go_on.set()
        assert b"".join([piece async for piece in followed.aiter_bytes()]) == b"ann's own"


async def test_the_others_key_says_nothing(site):
    """Neither that it is known, nor that it came with another payload, nor that it is gone."""
    made, server, client = site
    key = {"Idempotency-Key": "k"}
    theirs = await submit(server, client, "ann", "/jobs?wait=true", **key)
    mine = await submit(server, client, "bob", "/jobs", **key)
    assert (mine.status_code, mine.json()["status"]) == (202, "queued")
    assert mine.json()["id"] != theirs.json()["id"]
    made.go_on.set()
    await client.delete(f"{server.url}{theirs.headers['location']}", headers=TOKENS["ann"])
    url = f"{server.url}/jobs?wait=true"
    assert (await client.post(url, headers={**TOKENS["ann"], **key})).status_code == 410
    assert (await client.post(url, headers={**TOKENS["bob"], **key})).status_code == 422, "his own payload"
    assert (await submit(server, client, "bob", "/jobs", **key)).json()["id"] == mine.json()["id"]


async def test_the_others_upload_holds_no_key(site):
    made, server, client = site
    url = f"{server.url}/files"
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": "k"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    finish = asyncio.Event()

    async def body():
        yield head + b"x"
        await finish.wait()
        yield b"\r\n--b--\r\n"

    first = asyncio.create_task(client.post(url, content=body(), headers={**TOKENS["ann"], **headers}))
    async with asyncio.timeout(10):
        while not made.live.backend.scan("operation-arriving/"):
            await asyncio.sleep(0.005)
    whole = head + b"y\r\n--b--\r\n"
    again = await client.post(url, content=whole, headers={**TOKENS["ann"], **headers})
    other = await client.post(url, content=whole, headers={**TOKENS["bob"], **headers})
    finish.set()
    assert (again.status_code, other.status_code) == (409, 202)
    assert (await first).status_code == 202
