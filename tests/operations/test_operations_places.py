"""``parts=``: finished parts and long results in a folder of their own, or in an object store."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from restive.errors import SettingError
from restive.operations import Operation
from restive.operations.depot import check_parts, open_depot
from restive.operations.files import Files, FilesPlace

MIB = 1024 * 1024

pytestmark = pytest.mark.parametrize("backend", ["memory"], indirect=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """The URL of an S3 API, in a process of its own."""
    port = free_port()
    moto = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen(
        [moto, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if b"Running on" in line:
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def s3(monkeypatch):
    """Point fsspec's S3 at a URL."""
    import fsspec

    def configure(url: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = {"retries": {"max_attempts": 1}, "connect_timeout": 2, "read_timeout": 5}
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": url, "config_kwargs": client})

    return configure


@pytest.fixture
def bucket(object_store, s3, tmp_path):
    """An empty bucket's URL."""
    s3(object_store)
    name = f"b{abs(hash(tmp_path))}"
    urllib.request.urlopen(urllib.request.Request(f"{object_store}/{name}", method="PUT"))
    return f"s3://{name}/parts"


@pytest.fixture(params=["folder", "file-url", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    folder = tmp_path / "parts with a space"
    return str(folder) if request.param == "folder" else folder.as_uri()


def keys(place):
    """What is kept in a place, by its path there."""
    import fsspec

    files, root = fsspec.url_to_fs(check_parts(place))
    files.invalidate_cache()
    return sorted(path.removeprefix(root).strip("/") for path in files.find(root))


async def test_a_finished_part_is_read_from_its_place(new_bench, place, home):
    bench = new_bench(parts=place)
    data = os.urandom(5 * MIB + 11)

    @bench.operation("/make")
    def make(op: Operation) -> str:
        return op.part("a.bin", data)

    final = await bench.run("/make")
    url = final["result"]
    kept = keys(place)
    assert len(kept) == 2
    assert {path.split("/")[0] for path in kept} == {final["id"]}
    here = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size >= MIB]
    assert here == []
    get = bench.client.get
    whole = await get(url)
    assert whole.content == data
    tag = whole.headers["etag"]
    assert whole.headers["repr-digest"].startswith("sha-256=:")
    head = await bench.client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")
    some = await get(url, headers={"Range": f"bytes={4 * MIB - 5}-{4 * MIB + 5}", "If-Range": tag})
    assert (some.status_code, some.content) == (206, data[4 * MIB - 5 : 4 * MIB + 6])
    assert (await get(url, headers={"Range": "bytes=1-2", "If-Range": '"other"'})).content == data
    assert (await get(url, headers={"Range": "bytes=0-0,-1"})).status_code == 206
    assert (await get(url, headers={"If-None-Match": tag})).status_code == 304
    assert (await get(url, headers={"Range": f"bytes={len(data)}-"})).status_code == 416
    assert (await get(f"{final['links']['parts']}/other")).status_code == 404
    assert (await bench.client.delete(final["links"]["self"])).status_code == 204
    assert (await get(url)).status_code == 410
    assert keys(place) == []


async def test_a_part_without_bytes(new_bench, place):
    bench = new_bench(parts=place)

    @bench.operation("/make")
    def make(op: Operation) -> str:
        return op.part("none", b"")

    whole = await bench.client.get((await bench.run("/make"))["result"])
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", "0")


async def test_a_retry_and_a_long_result(new_bench, place):
    bench = new_bench(parts=place)

    @bench.operation("/make", retries=1, backoff=0.0)
    def make(op: Operation) -> str:
        op.part("a.txt", "same")
        if op.attempt == 1:
            raise OSError
        return "x" * 100_000

    final = await bench.run("/make")
    assert (final["status"], final["parts"], final["attempt"]) == ("succeeded", 1, 2)
    assert final["result"] is None
    assert [path for path in keys(place) if "result" in path]
    result = await bench.client.get(final["links"]["result"])
    assert result.json() == "x" * 100_000
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).text == "same"
    await bench.client.delete(final["links"]["self"])
    assert keys(place) == []


async def test_what_is_kept_for_as_long_as_promised_is_removed(new_bench, place):
    bench = new_bench(parts=place)

    @bench.operation("/make", retention=0.0)
    def make(op: Operation) -> None:
        op.part("a.txt", "a")

    location = (await bench.client.post("/make")).headers["location"]

    async def gone():
        while (await bench.client.get(location)).status_code != 410:
            await asyncio.sleep(0.005)

    await asyncio.wait_for(gone(), 20)
    await bench.settled()
    await asyncio.to_thread(bench.operations.service.runner._sweeping.do)
    assert keys(place) == []


async def test_a_follower_reads_on_while_the_part_is_moved(new_bench, place, serve):
    bench = new_bench(parts=place)
    started, go_on = threading.Event(), threading.Event()
    data = os.urandom(2 * MIB)

    @bench.operation("/make")
    def make(op: Operation) -> None:
        with op.part("a.bin") as file:
            file.write(data[:10])
            started.set()
            go_on.wait(10)
            file.write(data[10:])

    async with httpx2.AsyncClient(base_url=serve(bench.app).url) as client:
        location = (await client.post("/make")).headers["location"]
        await asyncio.to_thread(started.wait, 10)
        body = bytearray()
        async with client.stream("GET", f"{location}/parts/a.bin") as response:
            async for chunk in response.aiter_raw():
                if not body:
                    go_on.set()
                    await bench.done(location)  # finished and moved before the rest is read
                body += chunk
        assert bytes(body) == data


async def test_a_reader_of_a_deleted_part_is_cut(new_bench, bucket, serve):
    bench = new_bench(parts=bucket)

    @bench.operation("/make")
    def make(op: Operation) -> str:
        return op.part("a.bin", bytes(40 * MIB))

    url = (await bench.run("/make"))["result"]
    async with httpx2.AsyncClient(base_url=serve(bench.app, log_level="critical").url) as client:

        async def read():
            first = True
            async with client.stream("GET", url) as response:
                async for _ in response.aiter_raw():
                    if first:
                        await bench.client.delete(url.rpartition("/parts/")[0])
                    first = False

        with pytest.raises(httpx2.RemoteProtocolError):
            await asyncio.wait_for(read(), 30)


# Places that fail


async def test_a_place_that_cannot_be_written_to_fails_the_operation(new_bench, s3, object_store):
    s3(object_store)
    bench = new_bench(parts="s3://there-is-no-such-bucket/parts")

    @bench.operation("/make")
    def make(op: Operation) -> None:
        op.part("a.txt", "a")

    final = await bench.run("/make")
    assert (final["error"]["status"], final["error"]["title"]) == (503, "The part cannot be kept")
    assert "bucket" not in json.dumps(final)
    assert final["parts"] == 0
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).status_code == 404


async def test_a_folder_that_cannot_be_written_to_fails_the_operation(new_bench, tmp_path):
    (tmp_path / "file").write_text("no folder")
    bench = new_bench(parts=str(tmp_path / "file" / "parts"))

    @bench.operation("/make")
    def make(op: Operation) -> None:
        op.part("a.txt", "a")

    assert (await bench.run("/make"))["error"]["title"] == "The part cannot be kept"


async def test_a_result_that_the_place_refuses_stays_here(new_bench, s3, object_store):
    s3(object_store)
    bench = new_bench(parts="s3://there-is-no-such-bucket/parts")

    @bench.operation("/make")
    def make() -> str:
        return "x" * 100_000

    final = await bench.run("/make")
    assert final["status"] == "succeeded"
    assert (await bench.client.get(final["links"]["result"])).json() == "x" * 100_000


async def test_a_place_that_is_away_is_a_503(new_bench, bucket, s3, object_store, home, caplog):
    bench = new_bench(parts=bucket)

    @bench.operation("/make")
    def make(op: Operation) -> str:
        op.part("a.txt", "a")
        return "x" * 100_000

    final = await bench.run("/make")
    links = final["links"]
    s3(f"http://127.0.0.1:{free_port()}")
    for url in (f"{links['parts']}/a.txt", links["result"]):
        response = await bench.client.get(url)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "127.0.0.1" not in response.text
    assert (await bench.client.head(f"{links['parts']}/a.txt")).status_code == 200
    # It is forgotten all the same, and removed once its place answers.
    assert (await bench.client.delete(links["self"])).status_code == 204
    assert (await bench.client.get(links["self"])).status_code == 410
    s3(object_store)
    assert len(keys(bucket)) == 3
    again = await bench.run("/make")
    assert (await bench.client.delete(again["links"]["self"])).status_code == 204
    assert keys(bucket) == []
    assert list((home / "removals").iterdir()) == []


# What parts= may be


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (None, None),
        ("/data/parts", "/data/parts"),
        ("parts", str(Path("parts").absolute())),
        ("file:///data/my%20parts", "/data/my parts"),
        ("local:///data", "/data"),
        ("s3://bucket/parts", "s3://bucket/parts"),
        ("memory://parts", "memory://parts"),
    ],
)
def test_a_place_is_a_folder_or_a_url(backend, parts, found):
    assert check_parts(parts) == found


@pytest.mark.parametrize("parts", ["nonsense://bucket", "file://host", "s4://bucket", "://x"])
def test_a_place_that_cannot_be_is_refused(backend, parts):
    with pytest.raises(SettingError, match="parts="):
        check_parts(parts)


def test_a_place_whose_library_is_missing_says_what_to_install(backend):
    code = """
import sys
from restive.errors import SettingError
from restive.operations.depot import check_parts
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
for missing in ("fsspec", "s3fs"):
    try:
        check_parts("s3://bucket")
    except SettingError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.strip().splitlines()
    assert "restive[fsspec]" in first
    assert "s3fs" in second


def test_files_can_be_rebuilt_in_another_process(backend, home):
    place = FilesPlace(home, str(home / "elsewhere"), durable=True)
    files = Files(lambda: pickle.loads(pickle.dumps(place)))
    assert files.place == place
    assert open_depot(files.place.parts).path("a/b") == home / "elsewhere" / "a" / "b"


def test_uploads_are_on_the_disk_where_the_backend_outlives_a_crash(backend, home, monkeypatch):
    synced = []
    fsync = os.fsync

    def watched(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    for durable in (False, True):
        files = Files(lambda durable=durable: FilesPlace(home, durable=durable))
        files.sync("none")
        path = files.upload("it", 0, "a.txt")
        path.write_text("a")
        files.sync("it")
        assert synced == [] or durable
    folders = [path, path.parent, path.parent.parent, path.parent.parent.parent, files.root()]
    assert synced == [str(each) for each in folders]
