"""Parts of several attempts: what one has published stays, and a late writer gets nothing in."""

from __future__ import annotations

import asyncio
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from restive.backends.memory import MemoryBackend
from restive.errors import Interrupted, Problem
from restive.operations import Operation
from restive.operations.files import Files, FilesPlace, Part
from restive.operations.partfile import PartFile
from restive.operations.record import OperationRecord
from restive.operations.run import Run
from restive.operations.store import Store

memory = pytest.mark.parametrize("backend", ["memory"], indirect=True)


class Stage:
    """One stored operation, and real runs of it, one after the other."""

    def __init__(self, home, **place):
        backend = MemoryBackend()
        self.store = Store(lambda: backend)
        self.files = Files(lambda: FilesPlace(home, **place))
        record = OperationRecord("it", "/it", "/it", "/it", self.store.clock(), 60.0, retries=9, backoff=0.0)
        self.store.create(record, b"{}")

    def begin(self) -> Run:
        """The next run; the one before it counts as interrupted."""
        now = self.store.clock()
        self.store.update("it", lambda it: it.interrupted(now) if it.status == "running" else None)
        claimed = self.store.update("it", lambda it: it.claimed("me", self.store.clock() + 1, 60.0))
        assert claimed is not None
        nothing = lambda *_: None  # noqa: E731
        run = Run(claimed, self.store, self.files, interval=1.0, lease=60.0, wake=nothing, announce=nothing)
        self.files.clear_open("it", run.number)
        return run

    def listed(self) -> int:
        return len(self.store.parts("it", "", 1000).items)


def write(run, name, data):
    with PartFile(run, name, "text/plain") as file:
        file.write(data)


@pytest.fixture
def stage(home):
    return Stage(home)


@memory
async def test_a_retry_may_publish_the_same_again(bench):
    @bench.operation("/again", retries=1, backoff=0.0)
    def make(op: Operation) -> list[str | None]:
        before = op.published("a.txt")
        url = op.part("a.txt", "same")
        if op.attempt == 1:
            raise OSError
        return [before, url]

    final = await bench.run("/again")
    url = f"{final['links']['parts']}/a.txt"
    assert (final["status"], final["attempt"], final["result"]) == ("succeeded", 2, [url, url])
    assert (final["parts"], len((await bench.client.get(final["links"]["parts"])).json())) == (1, 1)
    assert (await bench.client.get(url)).text == "same"


@memory
async def test_a_retry_that_writes_something_else_is_told_what_stays(bench):
    @bench.operation("/other", retries=1, backoff=0.0)
    def make(op: Operation) -> None:
        op.part("a.txt", f"attempt {op.attempt}")
        raise OSError

    final = await bench.run("/other")
    assert (final["error"]["status"], final["error"]["title"]) == (409, "This part exists")
    assert "op.published('a.txt')" in final["error"]["detail"]
    assert (await bench.client.get(f"{final['links']['parts']}/a.txt")).text == "attempt 1"


@memory
async def test_a_retry_can_skip_what_is_published(bench):
    done = []

    @bench.operation("/skip", retries=1, backoff=0.0)
    def make(op: Operation) -> None:
        for name in ("a", "b", "c"):
            if op.published(name) is None:
                done.append(name)
                op.part(name, name)
            if op.attempt == 1 and name == "b":
                raise OSError

    final = await bench.run("/skip")
    assert (final["status"], final["parts"], done) == ("succeeded", 3, ["a", "b", "c"])


@memory
async def test_published_says_nothing_of_an_open_part_or_a_bad_name(bench):
    @bench.operation("/published")
    def make(op: Operation) -> list[str | None]:
        with op.part("a") as file:
            file.write(b"a")
            said = [op.published("a")]
        with pytest.raises(Problem, match="slash"):
            op.published("../a")
        return [*said, op.published("a")]

    final = await bench.run("/published")
    assert final["result"] == [None, f"{final['links']['parts']}/a"]


def test_a_part_that_a_crash_kept_from_the_list_is_listed_by_the_next_run(stage):
    first = stage.begin()
    stage.files.finish_part("it", first.number, _open(stage, first, "a", b"data"))
    assert stage.listed() == 0
    write(stage.begin(), "a", b"data")
    assert stage.listed() == 1
    operation = Operation(stage.begin(), None)
    assert operation.published("a") == "/it/it/parts/a"
    assert stage.listed() == 1


def _open(stage, run, name, data):
    """A part that is complete and not finished, as a crash leaves it."""
    file = PartFile(run, name, "text/plain")
    file.write(data)
    return Part(name, "text/plain", len(data), f"sha-256=:{_digest(data)}:")


def _digest(data):
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@pytest.mark.parametrize("writes", [False, True])
def test_a_late_writer_of_an_old_lease_finishes_nothing(stage, writes):
    old = stage.begin()
    late = PartFile(old, "a", "text/plain")
    late.write(b"old")
    new = stage.begin()
    if writes:
        write(new, "a", b"new")
    with pytest.raises(Interrupted):
        late.close()
    found = stage.files.part("it", "a", new.number)
    assert (found.path.read_bytes() if found else None) == (b"new" if writes else None)
    assert stage.listed() == int(writes)
    assert old.open_files == {}


def test_a_writer_that_was_fenced_in_time_and_wakes_late_finishes_nothing(stage):
    """It is stopped between its last look at the lease and the rename."""
    old = stage.begin()
    part = _open(stage, old, "a", b"old")
    new = stage.begin()
    with pytest.raises(FileNotFoundError):
        stage.files.finish_part("it", old.number, part)
    write(new, "a", b"new")
    with pytest.raises(Problem, match="other bytes"):
        stage.files.finish_part("it", old.number, part)
    found = stage.files.part("it", "a")
    assert (found.path.read_bytes(), found.part.size) == (b"new", 3)


def test_of_two_that_finish_one_name_exactly_one_wins(home):
    stage = Stage(home)
    runs = 8
    with ThreadPoolExecutor(runs) as threads:
        for name in map(str, range(20)):
            parts = {number: Part(name, "text/plain", 1, str(number)) for number in range(1, runs + 1)}
            for number, part in parts.items():
                with open(stage.files.open_part("it", number, part), "wb") as file:
                    file.write(str(number).encode())
            barrier = threading.Barrier(runs)

            def finish(number, barrier=barrier, parts=parts):
                barrier.wait()
                try:
                    return stage.files.finish_part("it", number, parts[number])
                except Problem:
                    return None

            won = [part for part in threads.map(finish, parts) if part is not None]
            assert len(won) == 1
            found = stage.files.part("it", name)
            assert (found.part, found.path.read_text()) == (won[0], won[0].digest)
    leftover = [path.name for path in (stage.files.folder("it") / "parts").iterdir() if "." in path.name]
    assert leftover == []


async def test_followers_of_an_attempt_that_is_replaced_are_cut(bench, gate, serve):
    started = threading.Event()

    @bench.operation("/twice", retries=1, backoff=0.0)
    def make(op: Operation) -> None:
        file = op.part("log.txt")
        file.write(f"attempt {op.attempt}".encode())
        if op.attempt == 1:
            started.set()
            gate.wait(10)
            raise OSError
        file.close()

    async with httpx2.AsyncClient(base_url=serve(bench.app, log_level="critical").url) as client:
        location = (await client.post("/twice")).headers["location"]
        await asyncio.to_thread(started.wait, 10)
        url, received = f"{location}/parts/log.txt", []

        async def follow():
            async with client.stream("GET", url) as response:
                async for chunk in response.aiter_raw():
                    received.append(chunk)
                    gate.set()

        with pytest.raises(httpx2.RemoteProtocolError):
            await asyncio.wait_for(follow(), 10)
        assert received == [b"attempt 1"]
        await bench.done(location)
        assert (await client.get(url)).text == "attempt 2"


@memory
async def test_an_open_part_of_an_attempt_that_is_over_is_not_there(bench):
    @bench.operation("/later", retries=1, backoff=60.0)
    def make(op: Operation) -> None:
        op.part("a.txt").write(b"half")
        raise OSError

    location = (await bench.client.post("/later")).headers["location"]
    await bench.until(location, lambda it: it["attempt"] == 2)
    response = await bench.client.get(f"{location}/parts/a.txt")
    assert (response.status_code, response.headers["retry-after"]) == (404, "1")


@memory
async def test_a_part_after_the_end_is_refused(bench):
    kept = []

    @bench.operation("/ends")
    def make(op: Operation) -> None:
        kept.extend([op, op.part("a.txt")])

    final = await bench.run("/ends")
    operation, file = kept
    with pytest.raises(ValueError, match="finished"):
        file.write(b"more")
    with pytest.raises(Interrupted):
        operation.part("b.txt", "b")
    assert final["parts"] == 1
    assert (await bench.client.get(f"{final['links']['parts']}/b.txt")).status_code == 404


@memory
async def test_two_spellings_of_one_name_are_one_name(bench):
    composed, decomposed = "\u00e4.txt", unicodedata.normalize("NFD", "\u00e4.txt")
    assert composed != decomposed

    @bench.operation("/spelled")
    def make(op: Operation) -> list[str | None]:
        url = op.part(decomposed, "data")
        with pytest.raises(Problem, match="already"):
            op.part(composed, "other")
        return [url, op.published(decomposed)]

    final = await bench.run("/spelled")
    url, published = final["result"]
    assert url == published
    assert url.endswith("/%C3%A4.txt")
    for name in (composed, decomposed):
        assert (await bench.client.get(f"{final['links']['parts']}/{name}")).text == "data"


@memory
async def test_a_name_of_another_operation_or_folder_reaches_nothing(bench):
    @bench.operation("/one")
    def make(op: Operation) -> str:
        (op.folder / "secret.txt").write_text("scratch")
        op.part("a.txt", "a")
        return op.id

    final = await bench.run("/one")
    parts = final["links"]["parts"]
    for name in (
        "..%2Fwork%2Fsecret.txt",
        "%2e%2e%2fwork%2fsecret.txt",
        "..%5Cwork%5Csecret.txt",
        "secret.txt",
        "a.txt%00",
        "about.json",
        "a.txt%2Fdata",
        "%ED%A0%80",
        "x" * 3000,
    ):
        response = await bench.client.get(f"{parts}/{name}")
        assert response.status_code == 404, name
        assert b"scratch" not in response.content
