"""Who may do what: dependencies, owners, origins."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, Header, HTTPException

from restive.errors import Problem
from restive.operations import Operation

ROUTES = [
    ("GET", ""),
    ("HEAD", ""),
    ("GET", "/result"),
    ("GET", "/parts"),
    ("GET", "/parts/a.txt"),
    ("HEAD", "/parts/a.txt"),
    ("POST", "/cancel"),
    ("DELETE", ""),
]


def owner_of_request(request):
    return request.headers.get("x-user")


async def owner_of_coroutine(request):
    return request.headers.get("x-user")


def owner_by_dependency(x_user: Annotated[str | None, Header()] = None) -> str | None:
    return x_user


def as_(user):
    return {"headers": {"X-User": user}}


@pytest.mark.parametrize("owner", [owner_of_request, owner_of_coroutine, owner_by_dependency])
async def test_another_owner_finds_nothing(bench, owner):
    @bench.operation("/ones", owner=owner)
    def one(op: Operation) -> str:
        return op.part("a.txt", "a")

    submitted = await bench.client.post("/ones", headers={"X-User": "ann", "Prefer": "wait=10"})
    location = submitted.json()["links"]["self"]
    unknown = await bench.client.get("/ones/" + "0" * 36, **as_("bob"))
    for method, path in ROUTES:
        for headers in ({"X-User": "bob"}, {"X-User": ""}, {}):
            answer = await bench.client.request(method, location + path, headers=headers)
            assert answer.status_code == 404, (method, path)
            if method != "HEAD":
                assert answer.content == unknown.content
    for method, path in ROUTES:
        answer = await bench.client.request(method, location + path, **as_("ann"))
        assert answer.status_code in {200, 204}, (method, path)
    assert (await bench.client.get(location, **as_("bob"))).status_code == 404  # not even that it is gone
    assert (await bench.client.get(location, **as_("ann"))).status_code == 410


async def test_each_owner_lists_only_their_own(bench):
    @bench.operation("/ones", owner=owner_of_request)
    def one() -> int:
        return 1

    mine = []
    for number in range(5):
        for user in ("ann", "bob"):
            response = await bench.client.post("/ones", headers={"X-User": user, "Prefer": "wait=10"})
            if user == "ann":
                mine.insert(0, response.json()["id"])
            assert response.json()["links"]["collection"] == "/ones", number
    found, url = [], "/ones?limit=2"
    while url:
        page = await bench.client.get(url, **as_("ann"))
        found += [each["id"] for each in page.json()]
        assert len(page.json()) <= 2
        url = page.links.get("next", {}).get("url")
    assert found == mine
    assert page.headers["cache-control"] == "private, no-cache"
    succeeded = await bench.client.get("/ones?status=succeeded", **as_("ann"))
    assert len(succeeded.json()) == 5
    assert (await bench.client.get("/ones?status=failed", **as_("ann"))).json() == []
    assert (await bench.client.get("/ones?status=odd", **as_("ann"))).status_code == 422
    await bench.client.delete(f"/ones/{mine[0]}", **as_("ann"))
    assert len((await bench.client.get("/ones", **as_("ann"))).json()) == 4
    assert (await bench.client.get("/ones", **as_("eve"))).json() == []


async def test_there_is_no_listing_without_an_owner(bench):
    for path, options in (("/ones", {}), ("/twos", {"owner": owner_of_request})):

        @bench.operation(path, **options)
        def one() -> int:
            return 1

        response = await bench.client.post(path)
        assert response.status_code == 202
        assert "collection" not in response.json()["links"]
        listing = await bench.client.get(path)
        assert listing.status_code == 404
        assert listing.headers["content-type"] == "application/problem+json"
        assert (await bench.client.get(response.headers["location"])).status_code == 200


async def test_dependencies_guard_every_route(bench):
    def locked(x_key: Annotated[str, Header()] = "") -> None:
        if x_key != "right":
            raise HTTPException(401)

    @bench.operation("/ones", dependencies=[Depends(locked)])
    def one(op: Operation) -> str:
        return op.part("a.txt", "a")

    key = {"X-Key": "right", "Prefer": "wait=10"}
    assert (await bench.client.post("/ones")).status_code == 401
    location = (await bench.client.post("/ones", headers=key)).json()["links"]["self"]
    for method, path in ROUTES:
        assert (await bench.client.request(method, location + path)).status_code == 401, (method, path)
    for method, path in ROUTES:
        assert (await bench.client.request(method, location + path, headers=key)).status_code < 300


async def test_a_guard_may_raise_a_problem(bench):
    def locked() -> None:
        raise Problem(402, "Pay first", headers={"X-Price": "3"})

    @bench.operation("/ones", dependencies=[Depends(locked)])
    def one() -> None: ...

    response = await bench.client.post("/ones")
    assert (response.status_code, response.headers["x-price"]) == (402, "3")
    assert response.json()["title"] == "Pay first"


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Cookie": "a=b"}, 403),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "none"}, 202),
        ({"Cookie": "a=b", "Origin": "http://app.test"}, 202),
        ({"Cookie": "a=b", "Origin": "https://good.test"}, 202),
        ({"Origin": "https://evil.test", "Authorization": "Bearer x"}, 202),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Cookie": "a=b", "Sec-Fetch-Site": "same-site", "Origin": "http://sub.app.test"}, 403),
        ({"Cookie": "a=b", "Origin": "https://evil.test"}, 403),
        ({"Cookie": "a=b", "Origin": "https://good.test.evil.test"}, 403),
        ({"Cookie": "a=b", "Origin": "null"}, 403),
    ],
)
async def test_a_foreign_page_cannot_use_the_users_cookies(new_bench, headers, status):
    bench = new_bench(allow_origins=["https://good.test"])

    @bench.operation("/ones")
    def one() -> int:
        return 1

    assert (await bench.client.post("/ones", headers=headers)).status_code == status
    location = (await bench.run("/ones"))["links"]["self"]
    allowed = status == 202
    canceled = await bench.client.post(f"{location}/cancel", headers=headers)
    assert canceled.status_code == (200 if allowed else 403)
    deleted = await bench.client.delete(location, headers=headers)
    assert deleted.status_code == (204 if allowed else 403)
    assert (await bench.client.get(location, headers=headers)).status_code == (410 if allowed else 200)
