"""Monotonic per connection: an answer begun before a change never comes after one begun behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from apps import club as club_app
from apps.club import PUBLIC
from scenarios.asgi import Call
from scenarios.servers import CALM
from scenarios.waiting import until

TEAM = {"audience": lambda scope: "everybody"}


def versions(call: Call) -> list[int]:
    return [json.loads(line)["data"]["version"] for line in call.raw.split(b"\n") if line]


@pytest.mark.parametrize(
    ("caching", "options"), [(PUBLIC, {}), ("private", TEAM)], ids=["public", "audience"]
)
async def test_late_answer_of_another_member_takes_nobody_back(caching: str, options: dict[str, Any]) -> None:
    """bob's first look reads version 1 and takes long; meanwhile ann has seen version 2."""
    app, live, club = club_app.make(**{**CALM, "settle": 5.0}, **options)
    club.caching["/news"] = {"cache-control": caching}
    club.held.add("bob")
    who = [[("authorization", name)] for name in ("ann", "bob")]
    async with (
        Call(app, "/news?live=ndjson", headers=who[1]) as bob,
        Call(app, "/news?live=ndjson", headers=who[0]) as ann,
    ):
        await until(lambda: club.looks["/news"] == 2)
        await ann.until(lambda c: versions(c) == [1])
        club.version = 2
        live.changed("/news")
        await ann.until(lambda c: versions(c) == [1, 2])
        club.held.clear()
        club.let_go.set()
        await bob.until(lambda c: versions(c)[-1:] == [2])
        await asyncio.sleep(0.1)  # for whatever should not come
        assert versions(ann) == [1, 2]
        assert versions(bob) in ([2], [1, 2])


async def test_rights_of_an_audience_are_rechecked_while_it_changes_all_the_time() -> None:
    """What recheck bounds, many announcements must not put off: the refused member goes, the others stay."""
    app, live, club = club_app.make(**{**CALM, "recheck": 0.3, "settle": 0.02}, **TEAM)
    who = [[("authorization", name)] for name in ("abe", "ann", "amy")]
    async with contextlib.AsyncExitStack() as stack:
        calls = [
            await stack.enter_async_context(Call(app, "/news?live=ndjson", headers=fields)) for fields in who
        ]
        for call in calls:
            await call.until(lambda c: b"version" in c.raw)

        async def change() -> None:
            while True:
                club.version += 1
                live.changed("/news")
                await asyncio.sleep(0.02)

        changing = asyncio.ensure_future(change())
        club.banned.add("abe")
        await calls[0].until(lambda c: c.complete)
        changing.cancel()
        assert b'"status":403' in calls[0].raw
        club.version += 1
        live.changed("/news")
        for call in calls[1:]:
            await call.until(lambda c: versions(c)[-1] == club.version)
