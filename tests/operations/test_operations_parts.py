"""Parts: published at once, listed in order, read whole, by range, or followed while they are written."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import os

import httpx2
import process_functions
import pytest
from pydantic import BaseModel

from restive.errors import Problem
from restive.operations import Operation

memory = pytest.mark.parametrize("backend", ["memory"], indirect=True)


class Count(BaseModel):
    words: int


async def publish(bench, name, *data, **options):
    """Run an operation that publishes one part; the response to a GET of it."""

    @bench.operation(f"/parts-{len(bench.host.announced)}")
    def make(op: Operation) -> str:
        return op.part(name, *data, **options)

    path = next(reversed(bench.operations._declared))
    final = await bench.run(path)
    assert final["status"] == "succeeded", final
    return await bench.client.get(final["result"])


@memory
@pytest.mark.parametrize(
    ("name", "data", "kind", "body"),
    [
        ("a.bin", b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        ("a.json", Count(words=3), "application/json", b'{"words":3}'),
        ("a", {"b": [1]}, "application/json", b'{"b":[1]}'),
        ("a", "dr\u00fcber", "text/plain; charset=utf-8", "dr\u00fcber".encode()),
        ("a.png", b"PNG", "image/png", b"PNG"),
        ("a.csv", "a,b", "text/csv; charset=utf-8", b"a,b"),
        ("a.bin", b"", "application/octet-stream", b""),
    ],
)
async def test_a_part_has_a_type_and_a_digest(bench, name, data, kind, body):
    response = await publish(bench, name, data)
    assert response.status_code == 200
    assert response.content == body
    assert response.headers["content-type"] == kind
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["etag"].startswith('"')
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"


@memory
@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image/png", True),
        ("audio/ogg", True),
        ("video/mp4", True),
        ("text/plain", True),
        ("application/json", True),
        ("image/svg+xml", False),
        ("IMAGE/SVG+XML; charset=utf-8", False),
        ("text/html", False),
        ("application/xhtml+xml", False),
        ("application/pdf", False),
        ("text/javascript", False),
    ],
)
async def test_a_browser_shows_only_what_cannot_run(bench, kind, shown):
    response = await publish(bench, "x", b"data", media_type=kind)
    disposition = response.headers["content-disposition"]
    assert disposition.split(";")[0] == ("inline" if shown else "attachment")


@memory
@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x7f",
        "\x85",
        "x" * 256,
        "\u00e4" * 128,
        "\ud800",
        7,
    ],
)
async def test_a_name_that_no_url_can_have_is_refused_clearly(bench, name):
    @bench.operation("/bad")
    def make(op: Operation) -> None:
        op.part(name, b"")

    final = await bench.run("/bad")
    assert final["status"] == "failed"
    assert final["error"]["status"] == 422
    assert "part's name" in final["error"]["detail"]


@memory
@pytest.mark.parametrize(
    "name",
    ["a b", "%2e%2e", "a%2Fb", "?x=1", "#", "\u65e5\u672c.txt", "...", "-rf", "x" * 255, "a;b\"c'", "con"],
)
async def test_any_other_name_works(bench, name):
    response = await publish(bench, name, b"data")
    assert response.content == b"data"
    assert response.headers["content-disposition"].isascii()


async def test_two_parts_of_one_name_are_refused(bench):
    @bench.operation("/twice")
    def make(op: Operation) -> str:
        op.part("a.txt", "first")
        with pytest.raises(Problem, match=r"a\.txt") as caught:
            op.part("a.txt", "second")
        assert caught.value.status == 409
        writing = op.part("b.txt")
        with pytest.raises(Problem, match=r"b\.txt"):
            op.part("b.txt")
        writing.close()
        return "refused"

    final = await bench.run("/twice")
    assert final["result"] == "refused"
    assert final["parts"] == 2
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).text == "first"


@memory
@pytest.mark.parametrize("media_type", ["text", "text/plain\r\nX: y", "a/b/c", "/", "text/\u00e4"])
async def test_a_media_type_that_is_none_is_refused(bench, media_type):
    @bench.operation("/bad")
    def make(op: Operation) -> None:
        op.part("a", b"", media_type=media_type)

    assert (await bench.run("/bad"))["error"]["title"] == "This is no media type"


async def test_the_list_is_a_stream_with_offsets(bench, gate):
    @bench.operation("/many")
    def make(op: Operation) -> None:
        for number in range(3):
            op.part(f"{number}.txt", str(number))
        gate.wait(10)
        op.part("3.txt", "3")

    location = (await bench.client.post("/many")).headers["location"]
    await bench.until(location, lambda it: it["parts"] == 3)
    first = await bench.client.get(f"{location}/parts")
    assert [each["name"] for each in first.json()] == ["0.txt", "1.txt", "2.txt"]
    assert first.json()[0]["url"] == f"{location}/parts/0.txt"
    assert first.json()[0]["size"] == 1
    assert first.headers["stream-up-to-date"] == "true"
    assert "stream-closed" not in first.headers
    offset = first.headers["stream-next-offset"]
    nothing = await bench.client.get(f"{location}/parts", params={"offset": offset})
    assert nothing.json() == []
    gate.set()
    assert (await bench.done(location))["parts"] == 4
    rest = await bench.client.get(f"{location}/parts", params={"offset": offset})
    assert [each["name"] for each in rest.json()] == ["3.txt"]
    assert rest.headers["stream-closed"] == "true"
    whole = await bench.client.get(f"{location}/parts", params={"offset": "-1"})
    assert len(whole.json()) == 4
    assert whole.headers["stream-next-offset"] == rest.headers["stream-next-offset"]
    assert (await bench.client.get(f"{location}/parts", params={"offset": "nonsense"})).status_code == 400


async def test_parts_of_an_operation_without_any(bench, gate):
    @bench.operation("/none")
    def wait() -> None:
        gate.wait(10)

    location = (await bench.client.post("/none")).headers["location"]
    response = await bench.client.get(f"{location}/parts")
    assert (response.json(), response.headers["stream-next-offset"]) == ([], "-1")
    gate.set()
    await bench.done(location)
    assert (await bench.client.get(f"{location}/parts")).headers["stream-closed"] == "true"


async def test_ranges_of_a_finished_part(bench):
    whole = await publish(bench, "a.bin", b"0123456789")
    url, tag = whole.request.url, whole.headers["etag"]

    async def get(**headers):
        return await bench.client.get(
            url, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    part = await get(Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert (await get(Range="bytes=-3")).content == b"789"
    assert (await get(Range="bytes=99-")).status_code == 416
    assert (await get(Range="bytes=2-4", If_Range=tag)).status_code == 206
    assert (await get(Range="bytes=2-4", If_Range='"other"')).content == b"0123456789"
    assert (await get(If_None_Match=tag)).status_code == 304
    head = await bench.client.head(url)
    assert (head.headers["content-length"], head.headers["etag"], head.content) == ("10", tag, b"")


async def test_an_unknown_part_is_a_404_to_be_asked_again(bench, gate):
    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    location = (await bench.client.post("/waits")).headers["location"]
    early = await bench.client.get(f"{location}/parts/a.txt")
    assert (early.status_code, early.headers["retry-after"]) == (404, "1")
    assert early.headers["cache-control"] == "no-store"
    gate.set()
    await bench.done(location)
    late = await bench.client.get(f"{location}/parts/a.txt")
    assert late.status_code == 404
    assert "retry-after" not in late.headers


async def test_a_file_that_is_not_closed_is_finished_with_the_function(bench):
    @bench.operation("/files")
    def make(op: Operation, fail: bool = False) -> None:
        text = io.TextIOWrapper(op.part("a.txt"), encoding="utf-8", write_through=True)
        text.write("text")
        text.detach()
        if fail:
            raise ValueError

    final = await bench.run("/files")
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).text == "text"
    failed = await bench.run("/files?fail=true")
    assert failed["status"] == "failed"
    assert failed["parts"] == 0
    assert (await bench.client.get(f"{failed['links']['parts']}/a.txt")).status_code == 404


async def test_an_exception_in_its_with_drops_the_part(bench):
    @bench.operation("/files")
    def make(op: Operation) -> str:
        with contextlib.suppress(ZeroDivisionError), op.part("a.txt") as file:
            file.write(b"half")
            raise ZeroDivisionError
        with op.part("a.txt") as file:
            file.write(b"whole")
            assert file.tell() == 5
        with pytest.raises(ValueError, match="finished"):
            file.write(b"more")
        return file.name

    final = await bench.run("/files")
    assert final["result"] == "a.txt"
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).text == "whole"


async def test_a_folder_that_cannot_be_written_to_fails_only_the_operation(bench, home, monkeypatch):
    @bench.operation("/files")
    def make(op: Operation) -> None:
        op.part("a.txt", "a")

    (home / "operations").write_text("a file where the folder should be")
    final = await bench.run("/files")
    assert final["status"] == "failed"
    assert (final["error"]["status"], final["error"]["title"]) == (503, "The part cannot be kept")
    assert str(home) not in str(final)
    os.unlink(home / "operations")
    assert (await bench.run("/files"))["status"] == "succeeded"


# With a real server, because these are about bytes in time


async def read(client, url, each):
    """Read a response to its end, with ``each`` of its chunks."""
    async with client.stream("GET", url) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_raw():
            await each(chunk)


async def test_readers_follow_a_part_to_its_end(bench, gate, serve):
    step = asyncio.Event()
    loop = asyncio.get_running_loop()

    @bench.operation("/logs")
    def write(op: Operation) -> None:
        with op.part("log.txt") as file:
            file.write(b"one\n")
            loop.call_soon_threadsafe(step.set)
            gate.wait(10)
            file.write(b"two\n")

    async with httpx2.AsyncClient(base_url=serve(bench.app).url) as client:
        location = (await client.post("/logs")).headers["location"]
        await asyncio.wait_for(step.wait(), 10)
        bodies = []
        async with client.stream("GET", f"{location}/parts/log.txt") as response:
            assert response.headers["cache-control"] == "no-store"
            assert "etag" not in response.headers
            assert "content-length" not in response.headers
            assert response.headers["x-content-type-options"] == "nosniff"
            async for chunk in response.aiter_raw():
                bodies.append(chunk)
                gate.set()
        assert b"".join(bodies) == b"one\ntwo\n"
        assert len(bodies) >= 2


@pytest.mark.parametrize("ending", ["fails", "deleted"])
async def test_followers_of_a_part_that_is_never_finished_are_cut(bench, gate, serve, ending):
    @bench.operation("/logs")
    def write(op: Operation) -> None:
        file = op.part("log.txt")
        file.write(b"one\n")
        gate.wait(10)
        raise ValueError

    async with httpx2.AsyncClient(base_url=serve(bench.app, log_level="critical").url) as client:
        location = (await client.post("/logs")).headers["location"]
        await bench.until(location, lambda it: it["status"] == "running")
        while (await client.head(f"{location}/parts/log.txt")).status_code == 404:
            await asyncio.sleep(0.005)

        async def end(_: bytes) -> None:
            gate.set() if ending == "fails" else await bench.client.delete(location)

        with pytest.raises(httpx2.RemoteProtocolError):
            await read(client, f"{location}/parts/log.txt", end)


async def test_readers_of_a_finished_part_are_cut_when_it_is_deleted(bench, serve):
    size = 64 * 1024 * 1024

    @bench.operation("/big")
    def write(op: Operation) -> str:
        with op.part("big.bin") as file:
            for _ in range(64):
                file.write(bytes(1024 * 1024))
        return op.id

    async with httpx2.AsyncClient(base_url=serve(bench.app, log_level="critical").url) as client:
        location = (await bench.run("/big"))["links"]["self"]
        received = []

        async def delete(chunk: bytes) -> None:
            if not received:
                assert (await bench.client.delete(location)).status_code == 204
            received.append(len(chunk))

        with pytest.raises(httpx2.RemoteProtocolError):
            await read(client, f"{location}/parts/big.bin", delete)
        assert sum(received) < size


@pytest.mark.parametrize("engine", ["threads", "processes"])
async def test_parts_stay_within_the_quota_of_their_owner(new_bench, engine):
    bench = new_bench(owner_bytes=1000)
    bench.operation("/fills", owner=lambda request: "ann", engine=engine)(process_functions.fill)
    final = await bench.run("/fills?sizes=400&sizes=500")
    assert (final["status"], final["parts"]) == ("succeeded", 2)
    final = await bench.run("/fills?sizes=60&sizes=60")
    assert (final["status"], final["error"]["status"], final["parts"]) == ("failed", 507, 1)
    assert "quota" in final["error"]["detail"]
    listed = (await bench.client.get(final["links"]["parts"])).json()
    assert [each["name"] for each in listed] == ["0.bin"]
