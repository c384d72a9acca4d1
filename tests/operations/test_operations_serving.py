"""The bytes of parts over HTTP: resumed downloads, removal in mid-read, many who follow one file."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import os
import resource
import subprocess
import threading
from contextlib import contextmanager, nullcontext

import httpx2
import pytest

from restive.errors import Problem
from restive.operations import Operation

memory = pytest.mark.parametrize("backend", ["memory"], indirect=True)
MIB = 1024 * 1024


def content(size):
    """Bytes of which no two pages are the same."""
    return b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(size // 32 + 1))[:size]


@pytest.fixture
def published(bench):
    """Publish ``data`` under ``name``; the part's path."""

    async def publish(data, name="a.bin"):
        @bench.operation(f"/publish-{len(bench.operations._declared)}")
        def make(op: Operation) -> str:
            return op.part(name, data)

        return (await bench.run(list(bench.operations._declared)[-1]))["result"]

    return publish


@memory
async def test_fields_of_a_finished_part(bench, published):
    url = await published(b"0123456789")
    whole = await bench.client.get(url)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == "10"
    head = await bench.client.head(url, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers
    some = await bench.client.get(url, headers={"Range": "bytes=1-2"})
    assert (some.status_code, some.content, some.headers["content-length"]) == (206, b"12", "2")
    for name in ("etag", "repr-digest", "cache-control", "content-disposition", "x-content-type-options"):
        assert some.headers[name] == whole.headers[name]
    unchanged = await bench.client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["cache-control"] == whole.headers["cache-control"]
    several = await bench.client.get(url, headers={"Range": "bytes=0-0,-1"})
    assert several.status_code == 206
    assert several.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert len(several.content) == int(several.headers["content-length"])


@memory
async def test_refused_ranges_are_problems(bench, published):
    url = await published(b"0123456789")
    refused = await bench.client.get(url, headers={"Range": "bytes=99-"})
    assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */10")
    assert refused.headers["content-type"] == "application/problem+json"
    changed = await bench.client.get(url, headers={"If-Match": '"other"'})
    assert changed.status_code == 412


@memory
async def test_a_part_of_no_bytes(bench, published):
    url = await published(b"")
    whole = await bench.client.get(url)
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", "0")
    assert (await bench.client.get(url, headers={"Range": "bytes=-5"})).status_code == 200
    assert (await bench.client.get(url, headers={"Range": "bytes=0-"})).status_code == 416


@memory
async def test_ranges_across_the_pieces_it_is_read_in(bench, published):
    data = content(3 * MIB + 77)
    url = await published(data)
    edge = MIB // 4
    for start, end in [(0, len(data)), (1, 2), (edge - 1, edge + 1), (MIB, 3 * MIB), (3 * MIB, None)]:
        last = "" if end is None else end - 1
        response = await bench.client.get(url, headers={"Range": f"bytes={start}-{last}"})
        assert response.content == data[start:end]


@memory
async def test_curl_resumes_a_download(bench, published, serve, tmp_path):
    data = content(2 * MIB)
    url = serve(bench.app).url + await published(data)
    target = tmp_path / "a.bin"
    target.write_bytes(data[: MIB + 3])
    done = await asyncio.to_thread(
        subprocess.run, ["curl", "-sS", "-f", "-C", "-", "-o", target, url], timeout=20, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes() == data


@memory
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=5-"}, {"Range": "bytes=0-9,20-"}])
async def test_whoever_reads_a_deleted_part_is_cut(bench, published, serve, asked):
    url = await published(bytes(64 * MIB))
    operation = url.rpartition("/parts/")[0]
    async with httpx2.AsyncClient(base_url=serve(bench.app, log_level="critical").url) as client:
        received = 0

        async def read():
            nonlocal received
            async with client.stream("GET", url, headers=asked) as response:
                async for chunk in response.aiter_raw():
                    if not received:
                        assert (await bench.client.delete(operation)).status_code == 204
                    received += len(chunk)

        with pytest.raises(httpx2.RemoteProtocolError):
            await read()
        assert 0 < received < 60 * MIB


async def test_fifty_readers_follow_one_file_with_one_look(bench, gate, serve):
    data = content(2 * MIB)
    ready, caught_up = threading.Event(), asyncio.Event()

    @bench.operation("/logs")
    def write(op: Operation) -> None:
        with op.part("log.bin") as file:
            file.write(data[:1000])
            ready.set()
            gate.wait(20)
            for start in range(1000, len(data), 100_000):
                file.write(data[start : start + 100_000])

    limits = httpx2.Limits(max_connections=60)
    async with httpx2.AsyncClient(base_url=serve(bench.app).url, limits=limits) as client:
        location = (await client.post("/logs")).headers["location"]
        await asyncio.to_thread(ready.wait, 10)
        waiting = set(range(50))

        async def follow(number):
            body = bytearray()
            async with client.stream("GET", f"{location}/parts/log.bin") as response:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= 1000:
                        waiting.discard(number)
                    if not waiting:
                        caught_up.set()
            return bytes(body)

        followers = [asyncio.ensure_future(follow(number)) for number in range(50)]
        await asyncio.wait_for(caught_up.wait(), 20)
        looks = looking()
        gate.set()
        bodies = await asyncio.wait_for(asyncio.gather(*followers), 30)
        assert all(body == data for body in bodies)
        assert len(looks) == 1
        assert (await client.get(f"{location}/parts/log.bin")).content == data


def looking():
    """The looks at growing files, on all event loops of this process."""
    loops = [it for it in gc.get_objects() if isinstance(it, asyncio.AbstractEventLoop) and it.is_running()]
    return [task for it in loops for task in asyncio.all_tasks(it) if "_Tail" in repr(task)]


async def test_a_follower_that_leaves_ends_the_look(bench, gate, serve):
    ready = threading.Event()

    @bench.operation("/logs")
    def write(op: Operation) -> None:
        with op.part("log.bin") as file:
            file.write(b"one")
            ready.set()
            gate.wait(20)

    async with httpx2.AsyncClient(base_url=serve(bench.app).url) as client:
        location = (await client.post("/logs")).headers["location"]
        await asyncio.to_thread(ready.wait, 10)
        async with client.stream("GET", f"{location}/parts/log.bin") as response:
            assert await anext(response.aiter_raw()) == b"one"
            assert looking()

        async def ended():
            while looking():
                await asyncio.sleep(0.005)

        await asyncio.wait_for(ended(), 10)


@memory
async def test_head_of_an_open_part_has_no_promises(bench, gate):
    @bench.operation("/logs")
    def write(op: Operation) -> None:
        with op.part("log.txt") as file:
            file.write(b"one")
            gate.wait(10)

    location = (await bench.client.post("/logs")).headers["location"]
    while (response := await bench.client.head(f"{location}/parts/log.txt")).status_code == 404:
        await asyncio.sleep(0.005)
    assert (response.status_code, response.content) == (200, b"")
    for name in ("etag", "repr-digest", "accept-ranges", "content-length"):
        assert name not in response.headers
    assert response.headers["cache-control"] == "no-store"


# Disks


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@memory
@pytest.mark.parametrize("full", ["limit", "device"])
async def test_a_full_disk_in_the_middle_of_a_part(bench, home, full):
    left = []

    @bench.operation("/big")
    def write(op: Operation) -> None:
        file = op.part("big.bin")
        file.write(bytes(100_000))
        if full == "device":
            device = os.open("/dev/full", os.O_WRONLY)
            os.dup2(device, file._descriptor)
            os.close(device)
        try:
            with files_of_at_most(200_000) if full == "limit" else nullcontext():
                file.write(bytes(150_000))
        finally:
            left.extend((home / "operations" / op.id / "parts").iterdir())
            with pytest.raises(ValueError, match="finished"):
                file.write(b"more")

    final = await bench.run("/big")
    assert (final["error"]["status"], final["error"]["title"]) == (507, "The disk is full")
    assert "big.bin" in final["error"]["detail"]
    assert str(home) not in str(final)
    assert (final["parts"], left) == (0, [])
    assert (await bench.client.get(f"{final['links']['parts']}/big.bin")).status_code == 404


@memory
async def test_a_function_may_go_on_after_a_full_disk(bench):
    @bench.operation("/smaller")
    def write(op: Operation) -> str:
        with files_of_at_most(50_000), pytest.raises(Problem) as caught:
            op.part("a.bin", bytes(100_000))
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EFBIG
        return op.part("a.bin", b"small")

    final = await bench.run("/smaller")
    assert final["status"] == "succeeded", final
    assert (await bench.client.get(final["result"])).content == b"small"


@pytest.mark.parametrize("backend", ["memory", "sqlite"], indirect=True)
async def test_a_part_is_on_the_disk_before_it_is_published(bench, monkeypatch):
    """With a backend that outlives a power loss: its bytes, its description, and the names of both."""
    synced, renamed = [], []
    fsync, rename = os.fsync, os.rename

    def watched(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), len(renamed)))
        fsync(descriptor)

    def renaming(source, target, **rest):
        if str(source).endswith(".open"):
            renamed.append(str(target))
        rename(source, target, **rest)

    @bench.operation("/durable")
    def write(op: Operation) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", watched)
            patch.setattr(os, "rename", renaming)
            return op.part("a.txt", "a")

    assert (await bench.run("/durable"))["status"] == "succeeded"
    parts = [(path, after) for path, after in synced if "/parts" in path]
    if not bench.host.backend.shared:
        assert parts == []
        return
    names = [path.rpartition("/")[2] for path, after in parts if not after]
    assert "data" in names
    assert any(name.startswith("about.json") for name in names)
    assert any(name.endswith(".open") for name in names)
    assert [path.rpartition("/")[2] for path, after in parts if after] == ["parts"]
