"""One Idempotency-Key and payload make one operation, from however many requests and processes."""

from __future__ import annotations

import asyncio
import string
import threading
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import pytest
from fastapi import Depends, File, Form, Header, UploadFile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from restive.errors import Conflict, Problem
from restive.operations import Operation
from restive.operations.idempotency import idempotency_key

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))


def owner_of_request(request):
    return request.headers.get("x-user")


def name_of(x_name: Annotated[str, Header()]) -> str:
    return x_name


def key(value, **headers):
    return {"Idempotency-Key": value, **headers}


def operations(bench):
    return bench.host.backend.scan("operation/", limit=1000)


# The field


def fields(*lines):
    return tuple((b"idempotency-key", line.encode("latin-1")) for line in lines)


@given(st.text(alphabet=VISIBLE, min_size=1, max_size=255))
def test_every_visible_key_can_be_quoted(text):
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert idempotency_key(fields(f'"{quoted}"')) == text


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_.:/+=", min_size=1, max_size=255))
def test_a_bare_key_is_the_quoted_one(text):
    assert idempotency_key(fields(text)) == idempotency_key(fields(f'"{text}"')) == text


def test_no_field_is_no_key():
    assert idempotency_key(()) is None


BROKEN = [
    "",
    '""',
    '"',
    '"open',
    'open"',
    'in"side',
    "two words",
    '"two words"',
    "a,b",
    '"a", "b"',
    '"a"b',
    '"a";b=1',
    '"bad \\escape"',
    "back\\slash",
    "\xe9",
    '"\xe9"',
    "tab\tinside",
    "x" * 256,
    '"' + "x" * 256 + '"',
    "x" * 60_000,
]


@pytest.mark.parametrize("line", BROKEN, ids=lambda line: line[:12])
def test_what_is_no_key_is_refused(line):
    with pytest.raises(Problem) as refused:
        idempotency_key(fields(line))
    assert refused.value.status == 400


def test_two_keys_are_refused():
    with pytest.raises(Problem):
        idempotency_key(fields("a", "a"))


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_a_broken_key_is_a_400_and_nothing_is_stored(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    for line in BROKEN:
        if not line.strip():
            continue
        response = await bench.client.post("/ones", headers=[(b"Idempotency-Key", line.encode("latin-1"))])
        assert response.status_code == 400, line
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["title"] == "Invalid Idempotency-Key"
    assert bench.host.backend.scan("operation") == []


# The same operation again


async def test_the_same_request_is_the_same_operation(bench, gate):
    @bench.operation("/ones")
    def one(number: int) -> int:
        gate.wait(10)
        return number

    first = await bench.client.post("/ones?number=1", headers=key("k"))
    again = await bench.client.post("/ones?number=1", headers=key('"k"'))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    assert again.json()["id"] == first.json()["id"]
    assert "retry-after" in again.headers
    gate.set()
    waited = await bench.client.post("/ones?number=1", headers=key("k", Prefer="wait=10"))
    assert waited.status_code == 200
    assert waited.headers["content-location"] == first.headers["location"]
    assert waited.json()["result"] == 1
    late = await bench.client.post("/ones?number=1", headers=key("k"))
    assert (late.status_code, late.headers["location"]) == (202, first.headers["location"])
    assert late.json()["status"] == "succeeded"
    assert len(operations(bench)) == 1


async def test_another_process_gives_the_same_operation(bench):
    def declare(where):
        @where.operation("/ones", owner=owner_of_request)
        def one(file: UploadFile, tags: set[str] = Form()) -> int:  # noqa: B008
            return file.size

    declare(bench)
    other = bench.reborn()
    declare(other)
    request = {
        "files": {"file": ("a.txt", b"data", "text/plain")},
        "data": {"tags": [f"tag {number}" for number in range(20)]},
        "headers": key("k", **{"X-User": "ann"}),
    }
    first = await bench.client.post("/ones", **request)
    request["data"] = {"tags": request["data"]["tags"][::-1]}  # a set has no order
    again = await other.client.post("/ones", **request)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    await other.client.aclose()
    await asyncio.to_thread(other.operations.drain, 0)


async def test_a_new_key_or_none_is_a_new_operation(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    headers = [key("a"), key("b"), {}, {}]
    found = [(await bench.client.post("/ones", headers=each)).headers["location"] for each in headers]
    assert len(set(found)) == 4


async def test_another_payload_is_refused(bench):
    @bench.operation("/sums")
    def add(numbers: list[int], scale: int = 1) -> int:
        return sum(numbers) * scale

    assert (await bench.client.post("/sums", json=[1, 2], headers=key("k"))).status_code == 202
    for url, body in (("/sums", [2, 1]), ("/sums?scale=2", [1, 2])):
        other = await bench.client.post(url, json=body, headers=key("k"))
        assert other.status_code == 422
        assert other.headers["content-type"] == "application/problem+json"
        assert other.json()["title"] == "The key is used already"
    assert (await bench.client.post("/sums?scale=1", json=[1, 2], headers=key("k"))).status_code == 202
    assert len(operations(bench)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"file": ("a.txt", b"DATA", "text/plain")},
        {"file": ("b.txt", b"data", "text/plain")},
        {"file": ("a.txt", b"data", "text/html")},
        {"file": ("a.txt", b"data ", "text/plain")},
    ],
)
async def test_another_file_is_another_payload(bench, home, changed):
    @bench.operation("/digests")
    def digest(file: UploadFile, more: list[UploadFile] = File(default=[])) -> int:  # noqa: B008
        return file.size + len(more)

    files = {"file": ("a.txt", b"data", "text/plain")}
    first = await bench.client.post("/digests", files=files, headers=key("k"))
    again = await bench.client.post("/digests", files=files, headers=key("k"))
    assert again.headers["location"] == first.headers["location"]
    assert (await bench.client.post("/digests", files=changed, headers=key("k"))).status_code == 422
    assert len(list((home / "operations").iterdir())) == 1, "no second upload is kept"


async def test_the_whole_of_a_large_upload_counts(bench):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return len(file.file.read())

    data = bytearray(3_000_000)
    first = await bench.run("/digests", files={"file": bytes(data)}, headers=key("k"))
    assert first["result"] == 3_000_000
    data[-1] = 1
    other = await bench.client.post("/digests", files={"file": bytes(data)}, headers=key("k"))
    assert other.status_code == 422


class Order(BaseModel):
    name: str
    id: str = Field(default_factory=lambda: uuid4().hex)
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    labels: dict[str, set[str]] = {}


async def test_a_default_that_is_new_each_time_is_no_other_payload(bench):
    @bench.operation("/orders")
    def order(order: Order) -> str:
        return order.id

    first = await bench.client.post("/orders", json={"name": "a"}, headers=key("k"))
    again = await bench.client.post("/orders", json={"name": "a"}, headers=key("k"))
    assert again.headers["location"] == first.headers["location"]
    sent = {"name": "a", "id": "mine"}
    assert (await bench.client.post("/orders", json=sent, headers=key("k"))).status_code == 422


async def test_the_order_of_members_is_no_other_payload(bench):
    @bench.operation("/orders")
    def order(order: dict[str, int]) -> int:
        return len(order)

    first = await bench.client.post("/orders", json={"a": 1, "b": 2}, headers=key("k"))
    again = await bench.client.post("/orders", json={"b": 2, "a": 1}, headers=key("k"))
    assert again.headers["location"] == first.headers["location"]
    assert (await bench.client.post("/orders", json={"a": 2, "b": 1}, headers=key("k"))).status_code == 422


async def test_what_a_dependency_says_of_the_user_is_payload(bench):
    @bench.operation("/ones")
    def one(who: Annotated[str, Depends(name_of)]) -> str:
        return who

    assert (await bench.client.post("/ones", headers=key("k", **{"X-Name": "ann"}))).status_code == 202
    assert (await bench.client.post("/ones", headers=key("k", **{"X-Name": "bob"}))).status_code == 422


# Scope


async def test_a_key_is_its_owners(bench):
    @bench.operation("/ones", owner=owner_of_request)
    def one(number: int) -> int:
        return number

    users = ("ann", "bob", "")
    found = {}
    for user in users:
        response = await bench.client.post("/ones?number=1", headers=key("k", **{"X-User": user}))
        assert response.status_code == 202
        found[user] = response.headers["location"]
    assert len(set(found.values())) == 3
    for user in users:  # and another payload tells nothing of the others' keys
        response = await bench.client.post("/ones?number=1", headers=key("k", **{"X-User": user}))
        assert response.headers["location"] == found[user]
    other = await bench.client.post("/ones?number=2", headers=key("k", **{"X-User": "eve"}))
    assert other.status_code == 202


async def test_a_key_is_its_targets(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    @bench.operation("/users/{user}/ones")
    def own(user: str) -> int:
        return 1

    urls = ("/ones", "/users/ann/ones", "/users/bob/ones")
    found = [(await bench.client.post(url, headers=key("k"))).headers["location"] for url in urls]
    assert len(set(found)) == 3
    assert all(location.startswith(url) for location, url in zip(found, urls, strict=True))


async def test_a_key_means_nothing_on_other_routes(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    location = (await bench.client.post("/ones", headers=key("k"))).headers["location"]
    await bench.done(location)
    for method, url in (("GET", location), ("POST", f"{location}/cancel"), ("DELETE", location)):
        assert (await bench.client.request(method, url, headers=key("two words"))).status_code < 300


# Afterwards


async def test_the_key_of_a_deleted_operation_is_gone_as_long_as_its_trace(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    location = (await bench.client.post("/ones", headers=key("k", Prefer="wait=10"))).json()["links"]["self"]
    await bench.client.delete(location)
    again = await bench.client.post("/ones", headers=key("k"))
    assert again.status_code == 410
    assert again.json() == (await bench.client.get(location)).json()
    store = bench.operations.service.store
    now = store.clock()
    store.clock = lambda: now + 90_000
    store.expire(lambda *_: None)
    assert bench.host.backend.scan("operation-key/") == []
    fresh = await bench.client.post("/ones", headers=key("k"))
    assert fresh.status_code == 202
    assert fresh.headers["location"] != location


async def test_the_key_of_an_expired_operation_is_gone_before_the_sweep(bench):
    @bench.operation("/ones", retention=10.0)
    def one() -> int:
        return 1

    await bench.run("/ones", headers=key("k"))
    store = bench.operations.service.store
    now = store.clock()
    store.clock = lambda: now + 11
    assert (await bench.client.post("/ones", headers=key("k"))).status_code == 410


async def test_a_canceled_operation_is_given_again(bench, gate):
    started = threading.Event()

    @bench.operation("/ones")
    def one(op: Operation) -> None:
        started.set()
        gate.wait(10)
        op.check()

    location = (await bench.client.post("/ones", headers=key("k"))).headers["location"]
    assert await asyncio.to_thread(started.wait, 10)
    await bench.client.post(f"{location}/cancel")
    gate.set()
    await bench.done(location)
    again = await bench.client.post("/ones", headers=key("k"))
    assert (again.status_code, again.json()["status"]) == (202, "canceled")


async def test_a_refused_request_leaves_its_key_free(bench):
    @bench.operation("/sums")
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    assert (await bench.client.post("/sums", json=["x"], headers=key("k"))).status_code == 422
    assert (await bench.client.post("/sums", content=b"{", headers=key("k"))).status_code == 422
    assert bench.host.backend.scan("operation") == []
    assert (await bench.client.post("/sums", json=[1], headers=key("k"))).status_code == 202


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_a_known_key_is_answered_though_the_queue_is_full(new_bench, gate):
    bench = new_bench(max_queued=1, workers=1)

    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    first = (await bench.client.post("/waits", headers=key("a"))).headers["location"]
    await bench.until(first, lambda it: it["status"] == "running")
    second = await bench.client.post("/waits", headers=key("b"))
    assert second.status_code == 202
    assert (await bench.client.post("/waits", headers=key("c"))).status_code == 503
    for name, location in (("a", first), ("b", second.headers["location"])):
        again = await bench.client.post("/waits", headers=key(name))
        assert (again.status_code, again.headers["location"]) == (202, location)
    gate.set()
    await bench.done(second.headers["location"])
    assert (await bench.client.post("/waits", headers=key("c"))).status_code == 202


# Races and crashes


async def test_many_at_once_in_two_processes_are_one_operation(bench, home):
    def declare(where):
        @where.operation("/digests")
        def digest(file: UploadFile) -> int:
            return file.size

    other = bench.reborn()
    declare(bench)
    declare(other)

    async def submit(where):
        while True:
            response = await where.client.post("/digests", files={"file": b"data"}, headers=key("k"))
            if response.status_code != 409:
                return response
            assert response.json()["title"] == "The first request is still uploading"
            assert int(response.headers["retry-after"]) >= 1
            await asyncio.sleep(0.01)

    answers = await asyncio.gather(*(submit(where) for where in [bench, other] * 10))
    assert {each.status_code for each in answers} == {202}
    assert len({each.headers["location"] for each in answers}) == 1
    assert len(operations(bench)) == 1
    assert len(list((home / "operations").iterdir())) == 1
    await other.client.aclose()
    await asyncio.to_thread(other.operations.drain, 0)


async def test_many_at_once_with_two_payloads_are_one_operation(bench):
    @bench.operation("/ones")
    def one(number: int) -> int:
        return number

    submissions = [bench.client.post(f"/ones?number={number % 2}", headers=key("k")) for number in range(20)]
    answers = await asyncio.gather(*submissions)
    statuses = [each.status_code for each in answers]
    assert set(statuses) <= {202, 409, 422}
    assert len({each.headers["location"] for each in answers if each.status_code == 202}) == 1
    assert len(operations(bench)) == 1


async def test_a_key_whose_operation_was_never_stored_is_taken_over(bench):
    """What a backend without transactions leaves behind where a process dies between two steps."""

    @bench.operation("/ones")
    def one(number: int) -> int:
        return number

    store = bench.operations.service.store
    first = await bench.client.post("/ones?number=1", headers=key("k", Prefer="wait=10"))
    identity = first.json()["id"]
    bench.host.backend.delete(f"operation/{identity}")
    young = await bench.client.post("/ones?number=1", headers=key("k"))
    assert (young.status_code, young.headers["retry-after"]) == (409, "2")
    now = store.clock()
    store.clock = lambda: now + 120
    taken = await bench.client.post("/ones?number=1", headers=key("k"))
    assert taken.status_code == 202
    again = await bench.client.post("/ones?number=1", headers=key("k"))
    assert again.headers["location"] == taken.headers["location"] != first.headers.get("location")


async def test_a_conflict_that_does_not_end_is_no_endless_loop(bench, monkeypatch):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    backend = bench.host.backend
    apply, raced = backend.apply, []

    def always_too_late(steps, **_):
        raced.extend(step.name for step in steps if step.name.startswith("operation-key/"))
        if raced:
            raise Conflict("as if somebody came and went again")
        return apply(steps)

    monkeypatch.setattr(backend, "apply", always_too_late)
    response = await bench.client.post("/ones", headers=key("k"))
    assert response.status_code == 409
    assert 1 < len(raced) < 10
    assert operations(bench) == []
