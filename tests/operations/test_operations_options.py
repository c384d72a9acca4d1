"""Priority, earliest start and webhook by dependencies of the request; quotas of the owner."""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from fastapi import Header, HTTPException, UploadFile
from pydantic import AwareDatetime, HttpUrl

from restive.errors import Problem
from restive.operations.declaration import declare
from restive.operations.options import Options, options_of
from restive.operations.quota import Quota
from restive.settings import Settings

NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MEMORY = pytest.mark.parametrize("backend", ["memory"], indirect=True)


def function() -> int:
    return 1


def solve(**solved: Any) -> Options:
    dependencies = {name: lambda: None for name in solved}
    return options_of(declare("/ones", function, **dependencies), solved, Settings(), NOW)


# What a dependency may give


@pytest.mark.parametrize("value", [0, 7, -7, 2**31 - 1])
def test_a_priority_is_a_whole_number(value):
    assert solve(priority=value).priority == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0, None),
        (-5, None),
        (60, NOW + 60),
        (0.5, NOW + 0.5),
        (datetime.fromtimestamp(NOW + 60, UTC), NOW + 60),
        (datetime.fromtimestamp(NOW + 60, timezone(timedelta(hours=5))), NOW + 60),
        (datetime.fromtimestamp(NOW - 60, UTC), None),
        (datetime.min.replace(tzinfo=UTC), None),
    ],
)
def test_the_earliest_start_is_a_moment_or_a_time_from_now(value, expected):
    assert solve(not_before=value).not_before == expected


def test_a_webhook_is_a_url_or_none():
    assert solve(webhook=None).webhook is None
    assert solve(webhook="https://hooks.example.com/x").webhook == "https://hooks.example.com/x"
    assert solve(webhook=HttpUrl("https://hooks.example.com/x")).webhook == "https://hooks.example.com/x"


def test_without_dependencies_the_declaration_says_it():
    declaration = declare("/ones", function, priority=3, webhook="https://hooks.example.com/")
    assert options_of(declaration, {}, Settings(), NOW) == Options(3, None, "https://hooks.example.com/")
    assert options_of(declare("/ones", function), {}, Settings(), NOW) == Options()


NONSENSE = [
    ("priority", "high"),
    ("priority", 1.5),
    ("priority", True),
    ("priority", 2**31),
    ("priority", 10**400),
    ("not_before", "tomorrow"),
    ("not_before", True),
    ("not_before", float("nan")),
    ("not_before", float("inf")),
    ("not_before", float("-inf")),
    ("not_before", 1e300),
    ("not_before", 10**400),
    ("not_before", 253_402_300_800 - NOW + 1),
    ("not_before", datetime(2030, 1, 1)),  # noqa: DTZ001 - that is the nonsense
    ("not_before", timedelta(hours=1)),
    ("webhook", 7),
    ("webhook", b"https://hooks.example.com/"),
    ("webhook", True),
]


@pytest.mark.parametrize(("name", "value"), NONSENSE, ids=lambda value: repr(value)[:20])
def test_nonsense_is_the_apps_mistake_and_logged(caplog, name, value):
    with caplog.at_level(logging.ERROR), pytest.raises(Problem) as refused:
        solve(**{name: value})
    assert refused.value.status == 500
    assert f"{name}=" in refused.value.detail
    assert f"{name}= of function()" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://example.com/",
        "http://u:p@example.com/",
        "http://127.0.0.1/",
        "http://[",
    ],
)
def test_a_webhook_that_is_not_allowed_is_the_clients_mistake(url):
    with pytest.raises(Problem) as refused:
        solve(webhook=url)
    assert refused.value.status == 422


# In requests


def priority_of(x_priority: Annotated[int, Header()] = 0) -> int:
    if x_priority > 9:
        raise HTTPException(403, "You may not.")
    return x_priority


def start_of(at: AwareDatetime | None = None) -> datetime | None:
    return at


async def hook_of(request):
    return request.query_params.get("hook")


def record_of(bench, response):
    return bench.operations.service.store.load(response.json()["id"])


async def test_what_dependencies_say_is_stored(new_bench):
    bench = new_bench(webhook_secret=SECRET)

    @bench.operation(
        "/ones", priority=priority_of, not_before=start_of, webhook=hook_of, retries=3, backoff=7.0
    )
    def one(number: int) -> int:
        return number

    query = {"number": 1, "at": "2099-01-01T00:00:00Z", "hook": "https://hooks.example.com/x"}
    response = await bench.client.post("/ones", params=query, headers={"X-Priority": "5"})
    assert response.status_code == 202
    record = record_of(bench, response)
    assert (record.priority, record.retries, record.backoff) == (5, 3, 7.0)
    assert record.not_before == datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    assert (record.webhook, record.notify) == ("https://hooks.example.com/x", True)
    assert response.json()["queue"] == {"position": None, "starts": "2099-01-01T00:00:00.000Z"}
    shown = await bench.client.get(response.headers["location"])
    assert shown.json()["queue"] == response.json()["queue"]


@MEMORY
async def test_a_dependency_may_refuse(new_bench):
    bench = new_bench(webhook_secret=SECRET)

    @bench.operation("/ones", priority=priority_of, not_before=start_of, webhook=hook_of)
    def one() -> int:
        return 1

    for query, headers, status in (
        ("", {"X-Priority": "10"}, 403),
        ("", {"X-Priority": "high"}, 422),
        ("?at=2099-01-01T00:00:00", {}, 422),
        ("?at=tomorrow", {}, 422),
        ("?hook=http://169.254.169.254/latest", {}, 422),
        ("", {}, 202),
    ):
        response = await bench.client.post(f"/ones{query}", headers=headers)
        assert response.status_code == status, query
    assert len(bench.host.backend.scan("operation/")) == 1


@MEMORY
async def test_nonsense_is_a_500_and_nothing_is_stored(bench, caplog):
    @bench.operation("/ones", not_before=lambda request: request.query_params["at"])
    def one() -> int:
        return 1

    response = await bench.client.post("/ones?at=tomorrow-evening")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "tomorrow-evening" not in response.text
    assert "tomorrow-evening" in caplog.text
    assert bench.host.backend.scan("operation") == []


@MEMORY
async def test_somebody_is_told_only_where_there_is_somebody(new_bench):
    bench = new_bench(webhook_secret=SECRET)

    @bench.operation("/ones", webhook=hook_of, not_before=lambda: 1000)
    def one() -> int:
        return 1

    @bench.operation("/twos", on_end=lambda document: None, not_before=lambda: 1000)
    def two() -> int:
        return 2

    assert not record_of(bench, await bench.client.post("/ones")).notify
    hooked = await bench.client.post("/ones?hook=https://hooks.example.com/")
    assert record_of(bench, hooked).notify
    assert record_of(bench, await bench.client.post("/twos")).notify


async def test_the_higher_priority_goes_first_and_the_queue_is_shown(new_bench, gate):
    bench = new_bench(workers=1)
    ran = []

    @bench.operation("/ones", priority=priority_of)
    def one(number: int) -> None:
        gate.wait(10)
        ran.append(number)

    async def submit(number, priority):
        response = await bench.client.post(f"/ones?number={number}", headers={"X-Priority": str(priority)})
        assert response.status_code == 202
        return response

    first = await submit(0, 0)
    await bench.until(first.headers["location"], lambda it: it["status"] == "running")
    low, high, middle = [await submit(priority, priority) for priority in (1, 9, 5)]
    places = {}
    for name, response in (("low", low), ("high", high), ("middle", middle)):
        document = (await bench.client.get(response.headers["location"])).json()
        places[name] = document["queue"]["position"]
    assert places == {"high": 1, "middle": 2, "low": 3}
    assert low.json()["queue"]["position"] == 1, "it was the first when it was submitted"
    gate.set()
    final = await bench.done(low.headers["location"])
    assert final["queue"] is None
    assert ran == [0, 9, 5, 1]


async def test_it_does_not_start_before_its_time(bench):
    @bench.operation("/ones", not_before=lambda request: float(request.query_params["in"]))
    def one() -> int:
        return 1

    later = (await bench.client.post("/ones?in=10000")).headers["location"]
    assert (await bench.run("/ones?in=0.05"))["status"] == "succeeded"
    waiting = (await bench.client.get(later)).json()
    assert waiting["status"] == "queued"
    assert waiting["queue"]["position"] is None
    assert waiting["queue"]["starts"] > waiting["created"]


# Quotas


def owner_of_request(request):
    return request.headers.get("x-user")


def as_(user):
    return {"headers": {} if user is None else {"X-User": user}}


def refused(response):
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    return response.json()


@MEMORY
async def test_one_owner_cannot_fill_the_queue(new_bench, gate):
    bench = new_bench(owner_queued=2, workers=1)

    @bench.operation("/waits", owner=owner_of_request)
    def wait() -> None:
        gate.wait(10)

    first = await bench.client.post("/waits", **as_("ann"))
    async with asyncio.timeout(10):
        while (await bench.client.get(first.headers["location"], **as_("ann"))).json()["status"] != "running":
            await asyncio.sleep(0.005)
    for _ in range(2):
        assert (await bench.client.post("/waits", **as_("ann"))).status_code == 202
    assert "owner" in refused(await bench.client.post("/waits", **as_("ann")))["title"]
    for user in ("bob", "bob", None, None, None):
        assert (await bench.client.post("/waits", **as_(user))).status_code == 202


async def test_one_owner_cannot_fill_the_disk(new_bench, home):
    bench = new_bench(owner_bytes=1000)

    @bench.operation("/files", owner=owner_of_request)
    def file(file: UploadFile) -> int:
        return file.size

    async def upload(size, user="ann"):
        return await bench.client.post("/files", files={"file": bytes(size)}, **as_(user))

    first = await upload(600)
    assert first.status_code == 202
    problem = refused(await upload(401))
    assert "600 of 1000" in problem["detail"]
    assert "401 more" in problem["detail"]
    assert (await upload(400)).status_code == 202
    refused(await upload(1))
    assert (await upload(1000, "bob")).status_code == 202
    assert (await upload(5000, None)).status_code == 202, "nobody has no quota"
    assert len(list((home / "operations").iterdir())) == 4, "what was refused is not kept"
    await bench.settled()
    await bench.client.delete(first.headers["location"], **as_("ann"))
    assert (await upload(600)).status_code == 202


@MEMORY
async def test_many_uploads_at_once_keep_to_the_quota(new_bench):
    bench = new_bench(owner_bytes=1000)

    @bench.operation("/files", owner=owner_of_request)
    def file(file: UploadFile) -> int:
        return file.size

    uploads = (bench.client.post("/files", files={"file": bytes(300)}, **as_("ann")) for _ in range(20))
    statuses = [each.status_code for each in await asyncio.gather(*uploads)]
    assert statuses.count(202) == 3
    assert statuses.count(429) == 17


def test_a_quota_counts_what_is_being_stored():
    stored = {"ann": 10}
    quota = Quota(lambda owner: stored.get(owner, 0), 100)
    with quota.held("ann", 50):
        with pytest.raises(Problem) as refused, quota.held("ann", 41):
            pass
        assert refused.value.status == 429
        with quota.held("ann", 40), quota.held("bob", 100), quota.held(None, 1000):
            pass
    with pytest.raises(RuntimeError), quota.held("ann", 90):
        raise RuntimeError
    with quota.held("ann", 90):
        pass


def test_no_quota_asks_nobody():
    def owned(owner):
        raise AssertionError(owner)

    with Quota(owned, 0).held("ann", 10**12):
        pass
