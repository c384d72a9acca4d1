"""What has changed: wherever an app commits, whatever word of HTTP says so, and where nobody does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from apps import ledger as ledger_app
from scenarios.servers import CALM, Serve
from scenarios.watches import Client, State, Watch, watch


@pytest.fixture
def ledger(serve: Serve) -> ledger_app.Ledger:
    app, _, ledger = ledger_app.make(**CALM)
    ledger.server = serve(app)
    return ledger


@contextlib.asynccontextmanager
async def watched(ledger: ledger_app.Ledger, target: str) -> AsyncIterator[Watch]:
    """A watch that has seen amount 0."""
    ledger.accounts[target.partition("?")[0]] = 0
    async with watch("ndjson-query", ledger.server.url, target) as watching:
        assert (await watching.next()).data == {"amount": 0}
        yield watching


async def untouched(ledger: ledger_app.Ledger, path: str, http: Client) -> None:
    """Nothing has looked at ``path`` again, although an announcement after it has been obeyed."""
    looks = ledger.looks[path]
    async with watched(ledger, "/a/sentinel") as sentinel:
        await http.put(ledger.server.url + "/a/sentinel")
        await sentinel.state({"amount": 1})
    assert ledger.looks[path] == looks == 1


LATE = ["yield-request", "yield-function", "background"]


@pytest.mark.parametrize("where", LATE)
async def test_commit_wherever_it_is_made(where: str, ledger: ledger_app.Ledger, http: Client) -> None:
    """In a dependency of either scope, or in a background task longer than the settling time."""
    async with watched(ledger, f"/a/x/{where}") as watching:
        assert (await http.post(f"{ledger.server.url}/a/x/{where}")).status_code == 200
        await watching.state({"amount": 1})


async def test_commit_in_the_endpoint(ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, "/a/x") as watching:
        await http.put(ledger.server.url + "/a/x")
        await watching.state({"amount": 1})


async def test_error_after_the_commit(ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, "/a/x/error") as watching:
        assert (await http.post(ledger.server.url + "/a/x/error")).status_code == 500
        await watching.state({"amount": 1})


async def test_client_gone_in_the_middle_of_the_answer(ledger: ledger_app.Ledger) -> None:
    async with watched(ledger, "/a/x/abort") as watching:
        await gone(ledger, "POST /a/x/abort HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", read=True)
        await watching.state({"amount": 1})
    assert ledger.aborted.is_set()


async def test_client_gone_in_the_middle_of_its_body(ledger: ledger_app.Ledger) -> None:
    async with watched(ledger, "/a/x/upload") as watching:
        await gone(ledger, "POST /a/x/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        await watching.state({"amount": 1})
    assert ledger.aborted.is_set()


async def gone(ledger: ledger_app.Ledger, request: str, *, read: bool = False) -> None:
    """Send, read the beginning of the answer, and be gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ledger.server.port)
    writer.write(request.encode())
    await writer.drain()
    if read:
        await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def test_change_announced_by_another_thread(ledger: ledger_app.Ledger) -> None:
    def commit() -> None:
        ledger.add("/a/x")
        ledger.live.changed("/a/x")

    async with watched(ledger, "/a/x") as watching:
        await asyncio.to_thread(commit)
        await watching.state({"amount": 1})


async def test_change_announced_by_the_package_function(ledger: ledger_app.Ledger, http: Client) -> None:
    """``restive.changed`` finds the instance that serves the request by itself."""
    async with watched(ledger, "/a/x") as watching:
        await http.get(f"{ledger.server.url}/announce?path=/a/x")
        await watching.state({"amount": 1})


@pytest.mark.parametrize("above", ["/a/x", "/a/x/", "/"])
async def test_change_below(above: str, ledger: ledger_app.Ledger) -> None:
    async with watched(ledger, "/a/x/y/z") as deep, watched(ledger, "/a/xx") as beside:
        ledger.add("/a/x/y/z")
        ledger.live.changed(above, below=True)
        await deep.state({"amount": 1})
        if above != "/":
            assert ledger.looks["/a/xx"] == 1
        await beside.nothing(0.01)


@pytest.mark.parametrize("target", ["/orders/\x00", "//evil/x", "http://evil.test/x", "/%zz", "", "/a#b"])
async def test_changed_refuses_what_is_no_target(target: str, ledger: ledger_app.Ledger) -> None:
    with pytest.raises(Exception, match=r"(?i)target|path|400|uri|absolute|normal"):
        ledger.live.changed(target)


async def test_changed_with_nothing_watched_starts_nothing(ledger: ledger_app.Ledger) -> None:
    ledger.live.changed("/a/x", "/a/y")
    assert not ledger.looks


async def test_recheck_finds_what_nobody_announced(serve: Serve) -> None:
    app, _, ledger = ledger_app.make(**{**CALM, "recheck": 0.3})
    ledger.server = serve(app)
    async with watched(ledger, "/a/x") as watching:
        ledger.add("/a/x")
        await watching.state({"amount": 1})


@pytest.mark.parametrize(
    "caching", ["max-age=1", "public, s-maxage=1, max-age=3600", "max-age=3600, s-maxage=1"]
)
async def test_lifetime_that_ran_out(caching: str, serve: Serve) -> None:
    """One look by the hub when max-age or s-maxage is over."""
    app, _, ledger = ledger_app.make(**CALM, revalidate_floor=0.2)
    ledger.server = serve(app)
    ledger.headers["/a/x"] = {"cache-control": caching}
    async with watched(ledger, "/a/x") as watching:
        ledger.add("/a/x")
        await watching.state({"amount": 1})


@pytest.mark.parametrize("caching", ["max-age=0", "no-cache", "no-cache, max-age=1", "max-age=1", ""])
async def test_no_timer_below_the_floor(caching: str, serve: Serve) -> None:
    """``no-cache`` and ``max-age=0`` set no timer; a short lifetime is taken as ``revalidate_floor``."""
    app, _, ledger = ledger_app.make(**CALM, revalidate_floor=60)
    ledger.server = serve(app)
    ledger.headers["/a/x"] = {"cache-control": caching}
    async with watched(ledger, "/a/x") as watching:
        ledger.add("/a/x")
        await watching.nothing(1.2)
    assert ledger.looks["/a/x"] == 1


# Which methods and statuses


@pytest.mark.parametrize("method", ["PUT", "PATCH", "PURGE"])
@pytest.mark.parametrize("status", [200, 303, 500])
async def test_unsafe_requests_change(
    method: str, status: int, ledger: ledger_app.Ledger, http: Client
) -> None:
    """An unknown method is unsafe; redirects and errors can follow a commit."""
    async with watched(ledger, "/a/x") as watching:
        answer = await http.request(method, f"{ledger.server.url}/a/x?status={status}")
        assert answer.status_code == status
        await watching.state({"amount": 1})


@pytest.mark.parametrize(
    ("method", "status"), [("QUERY", 200), ("PROPFIND", 200), ("PUT", 409), ("PUT", 404)]
)
async def test_safe_and_refused_requests_do_not(
    method: str, status: int, ledger: ledger_app.Ledger, http: Client
) -> None:
    async with watched(ledger, "/a/x"):
        answer = await http.request(method, f"{ledger.server.url}/a/x?status={status}")
        assert answer.status_code == status
        await untouched(ledger, "/a/x", http)


# Which resources


@pytest.mark.parametrize("watched_target", ["/a/x", "/a/x/y"])
async def test_ancestors_change(watched_target: str, ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, watched_target) as watching:
        await http.put(f"{ledger.server.url}/a/x/y/z?also={watched_target}")
        await watching.state({"amount": 1})


async def test_root_is_no_ancestor(ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, "/"):
        await http.put(f"{ledger.server.url}/a/x?also=/")
        await untouched(ledger, "/", http)


async def test_ancestors_can_be_left_out(serve: Serve, http: Client) -> None:
    app, _, ledger = ledger_app.make(**CALM, ancestors=False)
    ledger.server = serve(app)
    async with watched(ledger, "/a/x"):
        await http.put(f"{ledger.server.url}/a/x/y?also=/a/x")
        await untouched(ledger, "/a/x", http)


async def test_siblings_and_descendants_do_not_change(ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, "/a/x/y"), watched(ledger, "/a/xx"):
        await http.put(f"{ledger.server.url}/a/x")
        await untouched(ledger, "/a/x/y", http)
        assert ledger.looks["/a/xx"] == 1


@pytest.mark.parametrize(
    ("seen", "written"), [("/a/x?page=2", "/a/x"), ("/a/x", "/a/x?force=1"), ("/a/x?p=1", "/a/x/y?also=/a/x")]
)
async def test_the_query_does_not_matter(
    seen: str, written: str, ledger: ledger_app.Ledger, http: Client
) -> None:
    async with watched(ledger, seen) as watching:
        await http.put(ledger.server.url + written)
        await watching.state({"amount": 1})


async def test_spelling_of_the_target_does_not_matter(ledger: ledger_app.Ledger, http: Client) -> None:
    """RFC 3986 normal form: %7E is ~, and the case of escapes is nothing."""
    async with watched(ledger, "/a/~x"), watch("sse-query", ledger.server.url, "/a/~x") as watching:
        await watching.next()
        await raw_put(ledger, "/a/%7ex")
        await watching.state({"amount": 1})


async def raw_put(ledger: ledger_app.Ledger, target: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ledger.server.port)
    writer.write(
        f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    await reader.read()
    writer.close()


async def test_delete_changes_everything_below(ledger: ledger_app.Ledger, http: Client) -> None:
    async with watched(ledger, "/a/s/one") as one, watched(ledger, "/a/s/two/deep?q=1") as two:
        await http.delete(ledger.server.url + "/a/s")
        assert (await one.end()).status == 404
        assert (await two.end()).status == 404


@pytest.mark.parametrize("field", ["location", "content-location"])
@pytest.mark.parametrize("form", ["/a/n", "a/n", "{origin}/a/n", "./a/../a/n?x=1"])
async def test_location_changes_too(field: str, form: str, ledger: ledger_app.Ledger, http: Client) -> None:
    reference = form.replace("{origin}", ledger.server.url)
    async with watched(ledger, "/a/n") as watching:
        await http.post(
            ledger.server.url + "/do", params={"changes": "/a/n", field: reference, "status": "201"}
        )
        await watching.state({"amount": 1})


@pytest.mark.parametrize("origin", ["http://evil.test", "http://127.0.0.1:1", "//evil.test"])
async def test_location_of_another_origin_does_not(
    origin: str, ledger: ledger_app.Ledger, http: Client
) -> None:
    location = f"{origin}/a/n"
    async with watched(ledger, "/a/n"):
        await http.post(
            ledger.server.url + "/do", params={"changes": "/a/n", "location": location, "status": "201"}
        )
        await untouched(ledger, "/a/n", http)


async def test_cache_groups(ledger: ledger_app.Ledger, http: Client) -> None:
    """RFC 9875: a response names its groups, an unsafe one those that it invalidates."""
    ledger.headers["/a/in"] = {"cache-groups": '"team", "other"'}
    ledger.headers["/a/out"] = {"cache-groups": '"TEAM"'}
    invalidates = {"cache-group-invalidation": '"team"'}
    async with watched(ledger, "/a/in") as inside, watched(ledger, "/a/out"):
        await http.post(ledger.server.url + "/do", params={"changes": "/a/in", **invalidates})
        await inside.state({"amount": 1})
        await http.post(ledger.server.url + "/do", params={"changes": "/a/out", **invalidates})
        await untouched(ledger, "/a/out", http)


async def test_groups_of_a_safe_request_invalidate_nothing(ledger: ledger_app.Ledger, http: Client) -> None:
    ledger.headers["/a/in"] = {"cache-groups": '"team"'}
    ledger.accounts["/a/other"] = 0
    ledger.headers["/a/other"] = {"cache-group-invalidation": '"team"'}
    async with watched(ledger, "/a/in"):
        ledger.add("/a/in")
        await http.get(ledger.server.url + "/a/other")
        await untouched(ledger, "/a/in", http)


async def test_changes_replaces_the_rule(serve: Serve, http: Client) -> None:
    calls: list[tuple[str, int]] = []

    def changes(scope: Any, status: int, headers: Any) -> list[str]:
        calls.append((scope["method"], status))
        assert headers["content-type"] == "application/json"
        return ["/a/told"]

    app, _, ledger = ledger_app.make(**CALM, changes=changes)
    ledger.server = serve(app)
    async with watched(ledger, "/a/told") as told, watched(ledger, "/a/x"):
        await http.put(f"{ledger.server.url}/a/x?also=/a/told")
        await told.state({"amount": 1})
        assert ledger.looks["/a/x"] == 1
    assert ("PUT", 200) in calls


async def test_changes_that_raises_harms_nobody(serve: Serve, http: Client) -> None:
    app, live, ledger = ledger_app.make(**CALM, changes=lambda scope, status, headers: 1 / 0)
    ledger.server = serve(app)
    async with watched(ledger, "/a/x") as watching:
        assert (await http.put(f"{ledger.server.url}/a/x")).status_code == 200
        live.changed("/a/x")
        assert isinstance(await watching.next(), State)
