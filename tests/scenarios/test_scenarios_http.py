"""Plain HTTP through Restive: what it adds to a GET, what it leaves alone, and preconditions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from apps import office as office_app
from apps import others
from scenarios.asgi import Call, get
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.waiting import until
from scenarios.watches import Client


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ThreadServer, office_app.Office]]:
    app, _, office = office_app.make(**CALM)
    server = ThreadServer(app)
    yield server, office
    office.go_on.set()
    server.stop()


@pytest.fixture
def url(running: tuple[ThreadServer, office_app.Office]) -> str:
    return running[0].url


@pytest.fixture
def office(running: tuple[ThreadServer, office_app.Office]) -> office_app.Office:
    office = running[1]
    office.document = {"n": 1}
    office.done.clear()
    office.go_on.clear()
    return office


# What is added


@pytest.mark.parametrize("target", ["/document", "/text", "/not-json", "/large"])
async def test_tag_is_added(target: str, url: str, office: office_app.Office, http: Client) -> None:
    """Strong, the same for the same content, and answered with 304 and no body."""
    one, two = await http.get(url + target), await http.get(url + target)
    tag = one.headers["etag"]
    assert tag.startswith('"r-')
    assert two.headers["etag"] == tag
    assert (await http.get(url + "/reflect")).headers["etag"] != tag
    again = await http.get(url + target, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert not {"content-length", "content-type", "content-encoding"} & set(again.headers)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"x", {tag}', 304),
        ('"x,y" , W/{tag},', 304),
        ("*", 304),
        ('"x"', 200),
        ("r-nothing", 200),
        ('"', 200),
        ("{tag}x", 200),
        (",,,", 200),
    ],
)
async def test_if_none_match(
    form: str, status: int, url: str, office: office_app.Office, http: Client
) -> None:
    """Compared weakly; what is malformed matches nothing."""
    tag = (await http.get(url + "/document")).headers["etag"]
    answer = await http.get(url + "/document", headers={"if-none-match": form.replace("{tag}", tag)})
    assert answer.status_code == status


async def test_not_modified_keeps_what_belongs_to_it(url: str, http: Client) -> None:
    """RFC 9110 15.4.5: Cache-Control, Vary, Set-Cookie: what is of the response, not of its content."""
    one = await http.get(url + "/cookies")
    two = await http.get(url + "/cookies", headers={"if-none-match": one.headers["etag"]})
    assert two.status_code == 304
    assert two.headers.get_list("set-cookie") == one.headers.get_list("set-cookie")
    assert two.headers["cache-control"] == one.headers["cache-control"] == "private, no-cache"
    assert two.headers["vary"] == one.headers["vary"]


async def test_apps_own_tag_stays(url: str, office: office_app.Office, http: Client) -> None:
    answer = await http.get(url + "/tagged")
    assert answer.headers["etag"] == '"its-own"'
    # The app did not evaluate it, and it is the app's to do so.
    assert (await http.get(url + "/tagged", headers={"if-none-match": '"its-own"'})).status_code in {200, 304}


@pytest.mark.parametrize(
    "target", ["/bytes", "/asset.css", "/asset.js", "/asset.svg", "/refused", "/drip", "/late"]
)
async def test_no_tag_for_what_is_not_watchable(
    target: str, url: str, office: office_app.Office, http: Client
) -> None:
    office.go_on.set()
    answer = await http.get(url + target)
    assert "etag" not in answer.headers
    if target not in {"/drip", "/late"}:
        assert "link" not in answer.headers


async def test_link_to_the_socket(url: str, office: office_app.Office, http: Client) -> None:
    answer = await http.get(url + "/document")
    assert answer.headers["link"] == '</-/live>; rel="monitor"'
    assert "link" not in (await http.put(url + "/document", json={})).headers


async def test_vary_names_the_second_spelling(url: str, http: Client) -> None:
    """Not where shared caches may keep it: those get only the query spelling."""
    vary = (await http.get(url + "/document")).headers["vary"]
    assert {"accept", "prefer"} <= {name.strip().lower() for name in vary.split(",")}


@pytest.mark.parametrize("framework", ["starlette", "flask"])
async def test_head(framework: str, serve: Serve, http: Client) -> None:
    """The app's own HEAD; a tag of it is the GET's or none, never that of an empty body."""
    app, _ = others.FRAMEWORKS[framework](**CALM)
    server = serve(app)
    got = await http.get(server.url + "/orders/3")
    head = await http.head(server.url + "/orders/3")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers.get("etag") in {None, got.headers["etag"]}
    for query in ("?live=sse", "?live=ndjson"):
        assert (await http.head(server.url + "/orders/3" + query, timeout=5)).status_code < 500


# What is left alone


@pytest.mark.parametrize("target", ["/drip", "/late", "/endless"])
async def test_streams_are_not_delayed(
    target: str, url: str, office: office_app.Office, http: Client
) -> None:
    """The head, and each piece, before the next one exists."""
    async with asyncio.timeout(5), http.stream("GET", url + target) as answer:
        assert answer.status_code == 200
        pieces = answer.aiter_raw()
        if target != "/late":
            assert await anext(pieces)
        if target != "/endless":
            office.go_on.set()
            assert [piece async for piece in pieces][-1].endswith(b"}")
            await pieces.aclose()


async def test_ranges(url: str, http: Client) -> None:
    """A partial answer is the app's own; Restive's tag is not put on a part."""
    whole = await http.get(url + "/file")
    part = await http.get(url + "/file", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert part.headers["etag"] == whole.headers["etag"]
    assert not whole.headers["etag"].startswith('"r-')
    ignored = await http.get(url + "/document", headers={"range": "bytes=0-1"})
    assert (ignored.status_code, len(ignored.content) > 2) == (200, True)


async def test_unknown_below_the_prefix_is_the_apps(url: str, http: Client) -> None:
    for target in ("/-/nothing", "/-", "/-/", "/-/livery", "/-/live/x"):
        assert (await http.get(url + target)).json() == {"detail": "Not Found"}


async def test_live_of_the_apps_own(serve: Serve, http: Client) -> None:
    """live= with a value that is not Restive's, and its other parameters alone, belong to the app."""
    from apps import mirror

    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    for query in ("live=yes", "live=", "etag=1&wait=2&n=3", "alive=sse", "x=live%3Dsse", "live=SSE"):
        assert (await http.get(f"{server.url}/echo?{query}")).json()["query"] == query


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("live=long-poll", ""),
        ("a=1&live=long-poll&b=2", "a=1&b=2"),
        ("n=5&etag=x&live=long-poll&n=6", "n=5&etag=x"),
        ("a=%20+&&b&live=long-poll&wait=1", "a=%20+&&b"),
        ("live=long-poll&a=live", "a=live"),
    ],
)
async def test_only_its_own_parameters_are_taken_out(
    query: str, left: str, serve: Serve, http: Client
) -> None:
    from apps import mirror

    app, _, _ = mirror.make(**CALM)
    server = serve(app)
    assert (await http.get(f"{server.url}/echo?{query}")).json()["query"] == left


# Preconditions


async def test_if_match(url: str, office: office_app.Office, http: Client) -> None:
    tag = (await http.get(url + "/document")).headers["etag"]
    assert (await http.put(url + "/document", json={"n": 2}, headers={"if-match": tag})).status_code == 200
    stale = await http.put(url + "/document", json={"n": 3}, headers={"if-match": tag})
    assert stale.status_code == 412
    assert stale.headers["content-type"] == "application/problem+json"
    assert office.document == {"n": 2}
    listed = (await http.get(url + "/document")).headers["etag"]
    either = {"if-match": f"{tag}, {listed}"}
    assert (await http.put(url + "/document", json={"n": 4}, headers=either)).status_code == 200


@pytest.mark.parametrize("condition", ["*", '"its-own"', '"r-mine", "its-own"', "nonsense", ""])
async def test_if_match_of_others_is_the_apps(
    condition: str, url: str, office: office_app.Office, http: Client
) -> None:
    """Only tags that Restive made are Restive's to judge."""
    answer = await http.put(url + "/document", json={"n": 2}, headers={"if-match": condition})
    assert answer.status_code == 200


async def test_if_match_of_what_is_gone(url: str, office: office_app.Office, http: Client) -> None:
    tag = (await http.get(url + "/document")).headers["etag"]
    answer = await http.put(url + "/refused", json={}, headers={"if-match": tag})
    assert answer.status_code in {405, 412}


async def test_one_writer_at_a_time(url: str, office: office_app.Office, http: Client) -> None:
    """Of many that read the same, one writes."""
    tag = (await http.get(url + "/document")).headers["etag"]
    writes = [http.put(url + "/document", json={"n": n}, headers={"if-match": tag}) for n in range(2, 12)]
    answers = await asyncio.gather(*writes)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    assert office.done == ["put"]


async def test_weak_tag_matches_nothing_strongly_but_is_ours(
    url: str, office: office_app.Office, http: Client
) -> None:
    """Section 4.1: validators compare weakly, since gzip makes Restive's own tags weak."""
    tag = (await http.get(url + "/document")).headers["etag"]
    answer = await http.put(url + "/document", json={"n": 2}, headers={"if-match": "W/" + tag})
    assert answer.status_code == 200


async def test_a_precondition_leaves_no_hub_behind() -> None:
    """Where nothing is watched, judging If-Match starts nothing that stays."""
    app, live, _ = office_app.make(**CALM)
    tasks = asyncio.all_tasks()
    tag = (await get(app, "/document")).headers["etag"]
    fields = [("if-match", tag), ("content-type", "application/json")]
    async with Call(app, "/document", method="PUT", headers=fields, body=b'{"n": 2}') as call:
        await call.until(lambda c: c.complete)
    assert call.status == 200
    await until(lambda: asyncio.all_tasks() == tasks)
    assert "hubs=[]" in repr(live)
