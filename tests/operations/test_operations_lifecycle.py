"""From the POST to the result: status codes, fields and documents."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated

import pytest
from fastapi import Header, Query
from pydantic import BaseModel

from restive.errors import Problem
from restive.operations import Operation


class Order(BaseModel):
    item: str
    count: int = 1


class Sum(BaseModel):
    total: int


async def test_a_submission_is_acknowledged_and_runs_to_its_result(bench):
    @bench.operation("/sums")
    def add(numbers: list[int], op: Operation) -> Sum:
        """Add them up."""
        op.report(completed=len(numbers), total=len(numbers), unit="numbers", message="adding")
        return Sum(total=sum(numbers))

    response = await bench.client.post("/sums", json=[1, 2, 3])
    assert response.status_code == 202
    assert int(response.headers["retry-after"]) >= 1
    location = response.headers["location"]
    first = response.json()
    assert location == f"/sums/{first['id']}" == first["links"]["self"]
    assert first["status"] == "queued"
    assert first["links"]["cancel"] == f"{location}/cancel"
    assert first["result"] is None
    assert first["attempt"] == 1

    final = await bench.done(location)
    assert final["status"] == "succeeded"
    assert final["attempt"] == 1
    assert final["created"] <= final["started"] <= final["finished"]
    assert final["error"] is None
    assert final["result"] == {"total": 6}
    assert final["progress"]["completed"] == 3
    assert final["progress"]["message"] == "adding"
    assert "cancel" not in final["links"]
    result = await bench.client.get(final["links"]["result"])
    assert result.status_code == 200
    assert result.json() == {"total": 6}
    await bench.settled()
    assert {location, f"{location}/result"} <= set(bench.host.announced)


async def test_the_decorated_function_stays_callable(bench):
    @bench.operation("/double")
    def double(number: int) -> int:
        return 2 * number

    assert double(4) == 8
    final = await bench.run("/double?number=4")
    assert final["result"] == 8


async def test_every_kind_of_parameter_arrives_as_fastapi_gives_it(bench):
    seen = {}

    @bench.operation("/shops/{shop}/orders")
    def order(
        shop: int,
        body: Order,
        x_trace: Annotated[str, Header()],
        tags: Annotated[list[str], Query(alias="tag")],
        op: Operation,
        note: str | None = None,
    ) -> str:
        seen.update(shop=shop, body=body, x_trace=x_trace, tags=tags, note=note)
        return "done"

    final = await bench.run(
        "/shops/7/orders?tag=a&tag=b", json={"item": "tea", "count": 2}, headers={"X-Trace": "t1"}
    )
    assert final["result"] == "done"
    assert final["links"]["self"].startswith("/shops/7/orders/")
    expected = {
        "shop": 7,
        "body": Order(item="tea", count=2),
        "x_trace": "t1",
        "tags": ["a", "b"],
        "note": None,
    }
    assert seen == expected


async def test_invalid_parameters_are_refused_as_fastapi_refuses_them(bench):
    @bench.operation("/orders")
    def order(body: Order) -> None: ...

    response = await bench.client.post("/orders", json={"item": "tea", "count": "many"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "count"]


async def test_async_functions_run_on_a_loop_of_their_own(bench):
    @bench.operation("/slow")
    async def slow(op: Operation) -> int:
        await asyncio.sleep(0)
        op.report(completed=1)
        return threading.get_ident()

    final = await bench.run("/slow")
    assert final["status"] == "succeeded"
    assert final["result"] != threading.get_ident()


async def test_the_document_is_private_and_validated_by_its_tag(bench, gate):
    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    location = (await bench.client.post("/waits")).headers["location"]
    await bench.until(location, lambda it: it["status"] == "running")
    running = await bench.client.get(location)
    assert running.headers["cache-control"] == "private, no-cache"
    assert running.headers["retry-after"] == "1"
    again = await bench.client.get(location, headers={"If-None-Match": running.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    gate.set()
    await bench.done(location)
    final = await bench.client.get(location, headers={"If-None-Match": running.headers["etag"]})
    assert final.status_code == 200
    assert "retry-after" not in final.headers
    assert final.headers["cache-control"] == "private, no-cache"
    head = await bench.client.head(location)
    assert head.status_code == 200
    assert head.headers["etag"] == final.headers["etag"]


async def test_only_a_look_is_told_that_the_final_document_never_changes(bench):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    location = (await bench.run("/ones"))["links"]["self"]
    scopes = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
    scopes |= {"path": location, "raw_path": location.encode(), "query_string": b"", "root_path": ""}
    scopes |= {"scheme": "http", "headers": [], "server": ("app.test", 80), "client": ("192.88.99.1", 0)}
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await bench.app({**scopes, "restive": {"look": "changed"}}, receive, send)
    assert dict(sent[0]["headers"])[b"cache-control"] == b"private, max-age=31536000, immutable"


async def test_a_result_that_is_not_there_yet_is_a_404_that_no_cache_keeps(bench, gate):
    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    location = (await bench.client.post("/waits")).headers["location"]
    early = await bench.client.get(f"{location}/result")
    assert early.status_code == 404
    assert early.headers["content-type"] == "application/problem+json"
    assert early.headers["cache-control"] == "no-store"
    assert early.headers["retry-after"] == "1"
    gate.set()
    await bench.done(location)
    assert (await bench.client.get(f"{location}/result")).json() is None


async def test_prefer_wait_answers_with_the_outcome_where_it_comes_in_time(bench):
    @bench.operation("/divisions")
    def divide(by: int) -> float:
        return 1 / by

    for by, status in ((4, "succeeded"), (0, "failed")):
        response = await bench.client.post(f"/divisions?by={by}", headers={"Prefer": "wait=10"})
        assert response.status_code == 200
        assert response.json()["status"] == status
        assert response.headers["content-location"] == response.json()["links"]["self"]
        assert response.headers["preference-applied"] == "wait=10"
        assert response.headers["cache-control"] == "no-store"


async def test_prefer_wait_answers_202_when_the_time_is_up(bench, gate):
    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    response = await bench.client.post("/waits", headers={"Prefer": "wait=0"})
    assert response.status_code == 202
    assert response.headers["location"]


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait", "=", "respond-async"])
async def test_other_preferences_do_no_harm(bench, prefer):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    response = await bench.client.post("/ones", headers={"Prefer": prefer})
    assert response.status_code == 202
    expected = prefer if prefer == "respond-async" else None
    assert response.headers.get("preference-applied") == expected


async def test_a_function_that_raises_fails_with_its_class_and_nothing_else(bench, caplog):
    @bench.operation("/failures")
    def fail() -> None:
        secret = "hunter2"
        raise KeyError(secret)

    final = await bench.run("/failures")
    assert final["status"] == "failed"
    assert final["error"]["exception"] == "KeyError"
    assert final["error"]["status"] == 500
    assert "hunter2" not in str(final)
    assert final["id"] in caplog.text
    assert "hunter2" in caplog.text  # the traceback is the log's
    result = await bench.client.get(final["links"]["result"])
    assert result.status_code == 409
    assert result.json()["error"] == final["error"]
    assert result.json()["status"] == 409


async def test_a_function_may_say_its_own_problem(bench):
    @bench.operation("/failures")
    def fail() -> None:
        raise Problem(422, "Not a spreadsheet", "Row 3 has no columns.", row=3)

    final = await bench.run("/failures")
    assert final["status"] == "failed"
    expected = {"status": 422, "title": "Not a spreadsheet", "detail": "Row 3 has no columns.", "row": 3}
    assert final["error"] == expected


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_no_exception_ends_a_worker(bench, error):
    @bench.operation("/failures")
    def fail() -> None:
        raise error

    @bench.operation("/async-failures")
    async def fail_async() -> None:
        raise error

    for _ in range(3):
        assert (await bench.run("/failures"))["error"]["exception"] == error.__name__
    if error is not KeyboardInterrupt:
        assert (await bench.run("/async-failures"))["status"] == "failed"


@pytest.mark.parametrize("value", [{1: object()}, object(), "\ud800"])
async def test_a_result_that_is_no_json_fails_clearly(bench, value):
    @bench.operation("/values")
    def give():
        return value

    final = await bench.run("/values")
    assert final["status"] == "failed"
    assert final["error"]["title"] == "The result cannot be stored"
    assert type(value).__name__ in final["error"]["detail"]


async def test_a_result_that_its_annotation_denies_fails_clearly(bench):
    @bench.operation("/values")
    def give() -> Sum:
        return "no sum"

    final = await bench.run("/values")
    assert final["status"] == "failed"
    assert "no sum" not in str(final["error"])


async def test_a_long_result_has_only_its_own_url(bench):
    @bench.operation("/texts")
    def write() -> str:
        return "x" * 2_000_000

    final = await bench.run("/texts")
    assert final["status"] == "succeeded"
    assert final["result"] is None
    assert len((await bench.client.get(final["links"]["result"])).json()) == 2_000_000


@pytest.mark.parametrize("suffix", ["", "/result", "/parts", "/parts/a.txt"])
@pytest.mark.parametrize("identity", ["nothing", "0" * 36, "..%2f..", "%00", "0" * 5000])
async def test_an_unknown_operation_is_a_404(bench, identity, suffix):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    assert (await bench.client.get(f"/ones/{identity}{suffix}")).status_code == 404


async def test_an_operation_is_found_below_its_own_path_only(bench):
    for path in ("/ones", "/users/{user}/ones"):

        @bench.operation(path)
        def one(user: str = "") -> int:
            return 1

    mine = (await bench.run("/users/me/ones"))["links"]["self"]
    assert mine.startswith("/users/me/ones/")
    for other in (mine.replace("/me/", "/you/"), mine.replace("/users/me", "")):
        assert (await bench.client.get(other)).status_code == 404
        assert (await bench.client.delete(other)).status_code == 404
    assert (await bench.client.get(mine)).status_code == 200


async def test_a_full_queue_says_when_to_come_back(new_bench, gate):
    bench = new_bench(max_queued=1, workers=1)

    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(10)

    first = (await bench.client.post("/waits")).headers["location"]
    await bench.until(first, lambda it: it["status"] == "running")
    second = await bench.client.post("/waits")
    third = await bench.client.post("/waits")
    assert (second.status_code, third.status_code) == (202, 503)
    assert int(third.headers["retry-after"]) >= 1
    gate.set()
    assert (await bench.done(second.headers["location"]))["status"] == "succeeded"
    assert (await bench.client.post("/waits")).status_code == 202


async def test_the_root_path_is_part_of_every_url(bench):
    @bench.operation("/ones")
    def one(op: Operation) -> str:
        return op.part("a.txt", "a")

    bench.app.root_path = "/api/v1"
    transport_client = bench.new_client()
    response = await transport_client.post("/api/v1/ones", headers={"Prefer": "wait=5"})
    document = response.json()
    assert document["links"]["self"] == f"/api/v1/ones/{document['id']}"
    assert document["result"] == f"/api/v1/ones/{document['id']}/parts/a.txt"
    assert (await transport_client.get(document["result"])).text == "a"
    assert f"/api/v1/ones/{document['id']}" in bench.host.announced


async def test_openapi_describes_submission_and_document(bench):
    await bench.client.get("/openapi.json")

    @bench.operation("/sums", tags=["numbers"])
    def add(numbers: list[int], op: Operation) -> Sum:
        """Add them up."""
        return Sum(total=sum(numbers))

    schema = (await bench.client.get("/openapi.json")).json()
    post = schema["paths"]["/sums"]["post"]
    assert post["description"] == "Add them up."
    assert post["tags"] == ["numbers"]
    assert post["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("/Operation")
    assert "Location" in post["responses"]["202"]["headers"]
    assert [each["name"] for each in post["parameters"]] == ["Idempotency-Key", "Prefer"]
    result = schema["paths"]["/sums/{operation_id}/result"]["get"]["responses"]["200"]
    assert result["content"]["application/json"]["schema"]["$ref"].endswith("/Sum")
