"""Who shares a rendering, end to end: nobody gets what was made for another, and what may be shared is."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from apps import club as club_app
from apps.club import PUBLIC
from scenarios.servers import CALM, Serve, ThreadServer
from scenarios.watches import PUSHING, Client, SocketWatch, State, Watch, watch

CREDENTIALS = {
    "authorization": ("Bearer ann", "Bearer bob"),
    "cookie": ("sid=ann", "sid=bob"),
    "x-api-key": ("key-ann", "key-bob"),
    "x-forwarded-user": ("ann", "bob"),
}


async def opened(stack: contextlib.AsyncExitStack, *watches: Watch) -> list[Any]:
    """Open all, and give the data of the first state of each."""
    for one in watches:
        await stack.enter_async_context(one)
    events = await asyncio.gather(*(one.next() for one in watches))
    return [event.data for event in events]


@pytest.mark.parametrize("field", CREDENTIALS)
@pytest.mark.parametrize("way", PUSHING)
@pytest.mark.parametrize("caching", ["", "no-cache", PUBLIC])
async def test_two_users_never_see_each_other(way: str, field: str, caching: str, serve: Serve) -> None:
    """By any field, at first and after a change, even where all of it is public but varies."""
    app, live, club = club_app.make(**CALM)
    club.caching["/me"] = {"cache-control": caching, "vary": ", ".join(CREDENTIALS)} if caching else {}
    server = serve(app)
    ann, bob = CREDENTIALS[field]
    watches = [watch(way, server.url, "/me", headers={field: who}) for who in (ann, bob)]
    async with contextlib.AsyncExitStack() as stack:
        first = await opened(stack, *watches)
        assert [data["who"] for data in first] == [ann.removeprefix("sid="), bob.removeprefix("sid=")]
        club.version = 2
        live.changed("/me")
        await asyncio.gather(
            *(w.state({**data, "version": 2}) for w, data in zip(watches, first, strict=True))
        )
    assert b"bob" not in watches[0].raw
    assert b"ann" not in watches[1].raw


@pytest.mark.parametrize("way", ["websocket", "sse-query"])
async def test_public_is_rendered_once_for_all(way: str, serve: Serve) -> None:
    """Watchers with different credentials, one look per change (and one to settle)."""
    app, live, club = club_app.make(**CALM)
    club.caching["/news"] = {"cache-control": PUBLIC}
    server = serve(app)
    watches = [watch(way, server.url, "/news", headers={"authorization": f"Bearer {i}"}) for i in range(30)]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, watches[0])
        await opened(stack, *watches[1:])
        assert club.looks["/news"] <= 3
        for version in (2, 3):
            before, club.version = club.looks["/news"], version
            live.changed("/news")
            await asyncio.gather(*(w.state({"version": version}) for w in watches))
            assert club.looks["/news"] - before <= 2


async def test_thousand_watchers_of_the_same_request(serve: Serve) -> None:
    """No credentials at all: one look at first, whoever comes later, and one or two per change."""
    app, live, club = club_app.make(**CALM)
    server = serve(app)
    watchers = [await raw_stream(server, "/news?live=ndjson") for _ in range(1000)]
    await asyncio.gather(*(reader.readuntil(b'"version":1}}\n') for reader, _ in watchers))
    assert club.looks["/news"] == 1
    club.version = 2
    live.changed("/news")
    await asyncio.gather(*(reader.readuntil(b'"version":2}}\n') for reader, _ in watchers))
    assert club.looks["/news"] <= 3
    for _, writer in watchers:
        writer.close()


async def raw_stream(server: ThreadServer, target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("way", PUSHING)
@pytest.mark.parametrize("turned", ["private", "no-store", "no-cache", 'private="x-who"', ""])
async def test_turning_private_reaches_nobody_else(way: str, turned: str, serve: Serve) -> None:
    """The very refresh at which a shared response becomes personal goes to its own watcher alone."""
    app, live, club = club_app.make(**CALM)
    club.caching["/news"] = {"cache-control": PUBLIC}
    server = serve(app)
    watches = [
        watch(way, server.url, "/news", headers={"authorization": f"Bearer {w}"}) for w in ("ann", "bob")
    ]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        club.version = 2
        club.personal.add("/news")
        club.caching["/news"] = {"cache-control": turned} if turned else {}
        live.changed("/news")
        for one, who in zip(watches, ("ann", "bob"), strict=True):
            await one.state({"version": 2, "for": f"Bearer {who}"})
    assert b"bob" not in watches[0].raw
    assert b"ann" not in watches[1].raw


async def test_vary_splits_a_public_response(serve: Serve) -> None:
    app, live, club = club_app.make(**CALM)
    club.caching["/greeting"] = {"cache-control": PUBLIC, "vary": "Accept-Language"}
    server = serve(app)
    languages = ["de", "fr"] * 5
    watches = [
        watch(
            "sse-query",
            server.url,
            "/greeting",
            headers={"accept-language": la, "authorization": f"Bearer {i}"},
        )
        for i, la in enumerate(languages)
    ]
    async with contextlib.AsyncExitStack() as stack:
        first = [(await opened(stack, one))[0] for one in watches]
        assert [data["language"] for data in first] == languages
        assert club.looks["/greeting"] < len(watches)
        before, club.version = club.looks["/greeting"], 2
        live.changed("/greeting")
        for one, la in zip(watches, languages, strict=True):
            await one.state({"language": la, "version": 2})
        assert club.looks["/greeting"] - before <= 4


@pytest.mark.parametrize("fields", [{"set-cookie": "sid=secret"}, {"vary": "*"}])
async def test_one_per_watcher(fields: dict[str, str], serve: Serve) -> None:
    """With Set-Cookie or Vary: * not even the same request shares, and no cookie of a look is handed on."""
    app, live, club = club_app.make(**CALM)
    club.caching["/news"] = {"cache-control": PUBLIC, **fields}
    server = serve(app)
    watches = [watch("sse-query", server.url, "/news") for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        assert club.looks["/news"] >= 3
        before, club.version = club.looks["/news"], 2
        live.changed("/news")
        await asyncio.gather(*(w.state({"version": 2}) for w in watches))
        assert club.looks["/news"] - before >= 3
        for one in watches:
            assert one.response is not None
            assert b"secret" not in one.raw
            assert "set-cookie" not in one.response.headers


async def test_refusal_ends_the_watch_of_the_refused_alone(serve: Serve) -> None:
    """The most recent member is refused at a refresh: it ends, the next one is asked, the rest live on."""
    app, live, club = club_app.make(**CALM)
    club.caching["/news"] = {"cache-control": PUBLIC}
    server = serve(app)
    names = ["ann", "bob", "eve"]
    watches = [watch("websocket", server.url, "/news", headers={"authorization": n}) for n in names]
    async with contextlib.AsyncExitStack() as stack:
        for one in watches:
            await opened(stack, one)
        club.banned.add("eve")
        club.version = 2
        live.changed("/news")
        end = await watches[2].end()
        assert end.status == 403
        for one in watches[:2]:
            await one.state({"version": 2})
            assert b"eve" not in one.raw


def team(scope: Any) -> str | None:
    """ann and abe are of one team, bob is alone."""
    tokens = [value.decode() for name, value in scope["headers"] if name == b"authorization"]
    return tokens[0].split()[-1][0] if tokens else None


async def test_audience_joins_those_with_the_same_content(serve: Serve) -> None:
    app, live, club = club_app.make(**CALM, audience=team)
    server = serve(app)
    watches = [
        watch("websocket", server.url, "/news", headers={"authorization": f"Bearer a{i}"}) for i in range(10)
    ]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        before, club.version = club.looks["/news"], 2
        live.changed("/news")
        await asyncio.gather(*(w.state({"version": 2}) for w in watches))
        assert club.looks["/news"] - before <= 3


async def test_audience_joins_nobody_whose_content_differs(serve: Serve) -> None:
    """The app's word alone is not enough: /me differs within the team."""
    app, live, club = club_app.make(**CALM, audience=team)
    server = serve(app)
    names = ["ann", "abe"]
    watches = [watch("websocket", server.url, "/me", headers={"authorization": n}) for n in names]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        club.version = 2
        live.changed("/me")
        for one, name in zip(watches, names, strict=True):
            await one.state({"who": name, "version": 2})
    assert b"abe" not in watches[0].raw
    assert b"ann" not in watches[1].raw


async def test_audience_member_refused_ends_nobody_else(serve: Serve) -> None:
    app, live, club = club_app.make(**CALM, audience=team)
    server = serve(app)
    names = ["abe", "ann", "amy"]
    watches = [watch("websocket", server.url, "/news", headers={"authorization": n}) for n in names]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        club.banned.add("amy")
        club.version = 2
        live.changed("/news")
        assert (await watches[2].end()).status == 403
        for one in watches[:2]:
            await one.state({"version": 2})


async def test_audience_never_lets_in_who_was_refused(serve: Serve) -> None:
    """A joiner of the audience whose own look is refused gets nothing of what the others see."""
    app, _, club = club_app.make(**CALM, audience=team)
    club.banned.add("abe")
    server = serve(app)
    ann = watch("sse-query", server.url, "/news", headers={"authorization": "ann"})
    abe = watch("sse-query", server.url, "/news", headers={"authorization": "abe"})
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, ann)
        await stack.enter_async_context(abe)
        assert (await abe.end()).status == 403
        assert b"version" not in abe.raw


async def test_ignored_cookies_are_in_neither_key_nor_request(serve: Serve) -> None:
    app, _, club = club_app.make(**CALM, ignore_cookies=["_ga*"])
    server = serve(app)
    watches = [
        watch("sse-query", server.url, "/news", headers={"cookie": f"_ga={i}; _gat=1"}) for i in range(3)
    ]
    mixed = watch("sse-query", server.url, "/me", headers={"cookie": "_ga=9; sid=ann"})
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
        assert club.looks["/news"] == 1
        assert "cookie" not in club.seen[0]
        assert (await opened(stack, mixed))[0]["who"] == "ann"
        assert club.seen[-1]["cookie"] == "sid=ann"


async def test_neutral_fields_are_in_neither_key_nor_request(serve: Serve) -> None:
    app, _, club = club_app.make(**CALM, neutral=["x-tab"])
    server = serve(app)
    fields = [
        {
            "user-agent": f"browser {i}",
            "x-tab": str(i),
            "traceparent": f"00-{i}",
            "x-forwarded-for": f"10.0.0.{i}",
        }
        for i in range(3)
    ]
    watches = [watch("sse-query", server.url, "/news", headers=f) for f in fields]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
    assert club.looks["/news"] == 1
    assert not {"user-agent", "x-tab", "traceparent", "x-forwarded-for"} & set(club.seen[0])


async def test_unknown_fields_count_as_credentials(serve: Serve) -> None:
    app, _, club = club_app.make(**CALM)
    server = serve(app)
    watches = [watch("sse-query", server.url, "/news", headers={"x-anything": str(i)}) for i in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        await opened(stack, *watches)
    assert club.looks["/news"] == 3
    assert sorted(fields["x-anything"] for fields in club.seen) == ["0", "1", "2"]


@pytest.mark.parametrize("way", PUSHING)
async def test_client_address_is_not_in_a_look(way: str, serve: Serve) -> None:
    """A fixed public one instead, unless key= asks for the client's own."""
    app, _, _ = club_app.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, "/address") as watching:
        event = await watching.next()
        assert isinstance(event, State)
        assert event.data["address"] == "192.88.99.1"
    keyed, _, _ = club_app.make(**CALM, key=["client"])
    server = serve(keyed)
    async with watch(way, server.url, "/address") as watching:
        assert (await watching.next()).data["address"] == "127.0.0.1"


async def test_private_by_default(serve: Serve, http: Client) -> None:
    """What answers credentials, or sets a cookie, and says nothing of caching leaves as private."""
    app, _, club = club_app.make(**CALM)
    server = serve(app)

    async def caching(target: str, **headers: str) -> str | None:
        response = await http.get(
            server.url + target, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        return response.headers.get("cache-control")

    assert await caching("/me") is None
    for field, (value, _) in CREDENTIALS.items():
        assert await caching("/me", **{field: value}) == "private, no-cache"
    club.caching["/news"] = {"set-cookie": "sid=1"}
    assert await caching("/news") == "private, no-cache"
    club.caching["/news"] = {"cache-control": PUBLIC}
    assert await caching("/news", cookie="sid=1") == PUBLIC
    club.caching["/news"] = {"expires": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert await caching("/news", cookie="sid=1") is None


async def test_second_watch_with_other_credentials_gets_its_own(serve: Serve) -> None:
    """On one socket: the credentials of a later watch of another URI do not leak into the first, nor back."""
    app, _, _ = club_app.make(**CALM)
    server = serve(app)
    async with SocketWatch(server.url, "/me", None, {"authorization": "ann"}) as watching:
        assert (await watching.next()).data["who"] == "ann"
        await watching.send({"watch": "/me?again", "headers": {"authorization": "bob"}})
        assert (await watching.frame())["data"]["who"] == "bob"
        await watching.send({"watch": "/me?third"})
        assert (await watching.frame())["data"]["who"] == "nobody"


@pytest.mark.parametrize("way", PUSHING)
async def test_another_ones_tag_is_no_key(way: str, serve: Serve) -> None:
    """S5: resuming with the tag of another user's state gives one's own, not theirs, and not "current"."""
    app, _, _ = club_app.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, "/me", headers={"authorization": "ann"}) as ann:
        await ann.next()
        async with watch(way, server.url, "/me", etag=ann.etag, headers={"authorization": "bob"}) as bob:
            event = await bob.next()
    assert isinstance(event, State)
    assert event.data["who"] == "bob"


@pytest.mark.parametrize("way", PUSHING)
async def test_joining_is_looked_at_where_credentials_count(way: str, serve: Serve) -> None:
    """A right that was withdrawn a moment ago, unannounced, is not passed by joining an old watch."""
    app, _, club = club_app.make(**CALM)
    server = serve(app)
    async with watch(way, server.url, "/me", headers={"authorization": "ann"}) as old:
        await old.next()
        club.banned.add("ann")
        async with watch(way, server.url, "/me", headers={"authorization": "ann"}) as new:
            assert (await new.end()).status == 403
            assert b"version" not in new.raw
