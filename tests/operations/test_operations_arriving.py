"""While the first request with a key is uploading, the second is refused before its body is read."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from fastapi import UploadFile
from starlette.requests import Request

from restive.errors import BackendUnavailable, Problem
from restive.operations.arriving import Arrivals
from restive.settings import Settings

BOUNDARY = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
END = b"\r\n--b--\r\n"


def form(**headers):
    return {"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": "k", **headers}


class Upload:
    """A multipart body that comes piece by piece, when the test says so."""

    def __init__(self):
        self.pieces = asyncio.Queue()
        self.taken = 0

    async def __aiter__(self):
        while (piece := await self.pieces.get()) is not None:
            self.taken += 1
            yield piece

    def send(self, *pieces):
        for piece in pieces:
            self.pieces.put_nowait(piece)

    def finish(self):
        self.send(END, None)


def declare(where):
    @where.operation("/digests")
    def digest(file: UploadFile) -> int:
        return len(file.file.read())


def arriving(bench):
    return bench.host.backend.scan("operation-arriving/")


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def uploading(bench, **headers):
    """A request whose body has begun, and the task that ends with its response."""
    body = Upload()
    task = asyncio.create_task(bench.client.post("/digests", content=body, headers=form(**headers)))
    body.send(BOUNDARY + b"first")
    await until(lambda: arriving(bench))
    try:
        yield body, task
    finally:
        body.finish()
        await asyncio.wait({task})


async def test_the_second_is_refused_before_its_body_is_read(bench):
    declare(bench)
    async with uploading(bench) as (body, first):
        late = Upload()
        late.send(BOUNDARY, b"never read")
        second = await bench.client.post("/digests", content=late, headers=form())
        assert second.status_code == 409
        assert second.headers["content-type"] == "application/problem+json"
        assert second.headers["cache-control"] == "no-store"
        assert int(second.headers["retry-after"]) >= 1
        assert second.headers["connection"] == "close"
        assert late.taken == 0
        body.finish()
        made = await first
    assert made.status_code == 202
    assert arriving(bench) == []
    again = await bench.client.post("/digests", content=BOUNDARY + b"first" + END, headers=form())
    assert (again.status_code, again.headers["location"]) == (202, made.headers["location"])


async def test_it_holds_in_another_process(bench):
    declare(bench)
    other = bench.reborn()
    declare(other)
    async with uploading(bench):
        second = await other.client.post("/digests", content=BOUNDARY + END, headers=form())
        assert second.status_code == 409
    await other.client.aclose()
    await asyncio.to_thread(other.operations.drain, 0)


async def test_other_keys_targets_and_users_are_not_held_up(bench):
    declare(bench)

    @bench.operation("/others")
    def other(file: UploadFile) -> int:
        return file.size

    async with uploading(bench, Authorization="Bearer ann"):
        ann = {"Authorization": "Bearer ann"}
        whole = {"content": BOUNDARY + b"x" + END}
        assert (await bench.client.post("/digests", **whole, headers=form(**ann))).status_code == 409
        for url, headers in (
            ("/digests", form(Authorization="Bearer bob")),
            ("/digests", form()),
            ("/digests", {**form(**ann), "Idempotency-Key": "other"}),
            ("/others", form(**ann)),
        ):
            assert (await bench.client.post(url, **whole, headers=headers)).status_code == 202, (url, headers)


async def test_what_says_nothing_of_the_user_does_not_matter(bench):
    declare(bench)
    async with uploading(bench, **{"User-Agent": "one", "X-Request-Id": "1"}):
        headers = form(**{"User-Agent": "two", "X-Request-Id": "2"})
        second = await bench.client.post("/digests", content=BOUNDARY + END, headers=headers)
        assert second.status_code == 409


async def test_a_refused_first_lets_the_second_in(bench):
    declare(bench)
    async with uploading(bench) as (body, first):
        body.send(b"\r\n--b\r\nContent-Disposition: form-data\r\n\r\nno name")
        body.finish()
        assert (await first).status_code == 400
    assert arriving(bench) == []
    second = await bench.client.post("/digests", content=BOUNDARY + END, headers=form())
    assert second.status_code == 202


async def test_who_waits_for_the_end_holds_nobody_up(bench, gate):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        gate.wait(10)
        return file.size

    async with uploading(bench, Prefer="wait=10") as (body, first):
        body.finish()
        await until(lambda: not arriving(bench))
        second = await bench.client.post("/digests", content=BOUNDARY + b"first" + END, headers=form())
        assert second.status_code == 202
        assert not first.done()
        gate.set()
        assert (await first).headers["location"] == second.headers["location"]


# Stalls and crashes, by a clock of their own


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


class Client:
    """One request's body, whose pieces come when the test says so."""

    def __init__(self, arrivals):
        self.arrivals = arrivals
        self.messages = asyncio.Queue()
        self.arrival = None

    async def begin(self, more=True):
        if more is not None:
            self.send(more)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/digests",
            "headers": [(b"host", b"app.test"), (b"idempotency-key", b"k")],
        }
        self.arrival = await self.arrivals.admit(Request(scope), self.messages.get)
        await self.arrival.receive()
        return self

    def send(self, more):
        self.messages.put_nowait({"type": "http.request", "body": b"x", "more_body": more})

    async def piece(self):
        self.send(more=True)
        await self.arrival.receive()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def arrivals(backend, clock):
    return Arrivals(lambda: backend, Settings(lease=10.0), clock)


async def test_a_body_that_keeps_coming_keeps_the_key(arrivals, clock):
    first = await Client(arrivals).begin()
    for _ in range(10):
        clock.now += 9
        await first.piece()
        with pytest.raises(Problem) as refused:
            await Client(arrivals).begin()
        assert refused.value.status == 409
    await first.arrival.release()
    await Client(arrivals).begin()


async def test_a_stalled_body_loses_the_key(arrivals, clock, backend):
    first = await Client(arrivals).begin()
    clock.now += 11
    second = await Client(arrivals).begin()
    await first.piece()  # it is late: it may go on, and holds nobody up any more
    with pytest.raises(Problem):
        await Client(arrivals).begin()
    await first.arrival.release()
    assert len(backend.scan("operation-arriving/")) == 1, "what the second one holds is not the first one's"
    await second.arrival.release()
    assert backend.scan("operation-arriving/") == []


async def test_of_many_after_a_stall_one_is_let_in(arrivals, clock):
    await Client(arrivals).begin()
    clock.now += 11
    results = await asyncio.gather(*(Client(arrivals).begin() for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, Client) for each in results) == 1
    assert all(each.status == 409 for each in results if not isinstance(each, Client))


async def test_what_a_crash_left_is_swept(arrivals, clock, backend):
    for number in range(20):
        backend.save(f"operation-arriving/{number}", f"{clock.now - 1:.3f}".encode(), version=0)
    backend.save("operation-arriving/odd", b"no number", version=0)
    backend.save("operation-arriving/live", f"{clock.now + 5:.3f}".encode(), version=0)
    first = await Client(arrivals).begin()
    names = {each.name for each in backend.scan("operation-arriving/")}
    assert len(names) == 2
    assert "operation-arriving/live" in names
    await first.arrival.release()


async def test_a_whole_body_needs_no_record(arrivals, backend):
    one = await Client(arrivals).begin(more=False)
    assert backend.scan("operation-arriving/") == []
    await one.arrival.release()


async def test_a_slow_small_body_holds_the_key_too(arrivals, backend):
    client = Client(arrivals)
    beginning = asyncio.create_task(client.begin(more=None))
    await until(lambda: backend.scan("operation-arriving/"))
    with pytest.raises(Problem):
        await Client(arrivals).begin()
    client.send(more=False)
    await beginning
    await client.arrival.release()
    assert backend.scan("operation-arriving/") == []


async def test_without_a_store_the_body_goes_on(arrivals, clock, backend, monkeypatch):
    first = await Client(arrivals).begin()

    def away(*_, **__):
        raise BackendUnavailable("it is away")

    monkeypatch.setattr(backend, "save", away)
    monkeypatch.setattr(backend, "apply", away)
    clock.now += 9
    await first.piece()
    await first.arrival.release()


async def test_a_client_that_goes_lets_the_next_one_in(bench, serve):
    """Over a real server: the connection breaks in the middle of the first body."""
    declare(bench)
    server = serve(bench.app, log_level="critical")
    head = b"POST /digests HTTP/1.1\r\nHost: app\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    head += b"Idempotency-Key: k\r\nContent-Length: 100000\r\n\r\n" + BOUNDARY
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head + b"x" * 1000)
    await until(lambda: arriving(bench))
    reader, second = await asyncio.open_connection("127.0.0.1", server.port)
    second.write(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1).partition(BOUNDARY)[0])
    status = await reader.readline()
    assert status.startswith(b"HTTP/1.1 409"), "before it asked for the body"
    second.close()
    writer.close()
    await until(lambda: not arriving(bench))
    response = await bench.client.post("/digests", content=BOUNDARY + END, headers=form())
    assert response.status_code == 202
