"""No watcher receives bytes that its own GET would not have returned; and each converges on the latest."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restive import Restive
from scenarios.asgi import Call, get

FIELDS = ["authorization", "cookie", "accept-language", "x-tenant"]
REUSABLE = [
    "public, max-age=60",
    'Public , MAX-AGE="60"',
    "s-maxage=60",
    "public, s-maxage=60, must-revalidate",
]
CACHING = [
    "",
    "private",
    "private, max-age=60",
    "no-store",
    "no-cache",
    "max-age=60",
    "public",
    "public, max-age=0",
    "public, max-age=60, no-cache",
    'public, max-age=60, private="x-tenant"',
    'public, max-age=60, no-cache="set-cookie"',
    "public, max-age=60, s-maxage=0",
]
LOOKED_AT_FROM = "192.88.99.1"


@dataclass(frozen=True)
class Plan:
    """How the app answers while it is at one version."""

    depends: frozenset[str] = frozenset()
    caching: str = ""
    vary: frozenset[str] = frozenset()
    set_cookie: bool = False
    etag: str = ""
    strict: tuple[str, str] | None = None
    """A field and a value of it with which the response is private."""
    refuses: tuple[str, str] | None = None


@dataclass
class App:
    """An ASGI app that answers by what it depends on, and is honest in what it lets shared caches reuse."""

    plans: list[Plan]
    version: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)

    def answer(
        self, fields: dict[str, str], client: str, version: int
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        plan = self.plans[version]
        seen = {name: fields.get(name, "") for name in sorted(plan.depends - {"client"})}
        if "client" in plan.depends:
            seen["client"] = client
        headers = {"content-type": "application/json", "cache-control": plan.caching, "etag": plan.etag}
        if plan.strict and seen.get(plan.strict[0]) == plan.strict[1]:
            headers["cache-control"] = "private"
        vary = plan.vary | (
            plan.depends if "public" in plan.caching.lower() or "s-maxage" in plan.caching else set()
        )
        headers["vary"] = ", ".join(sorted(vary - {"client"}))
        if plan.set_cookie:
            headers["set-cookie"] = "made=secret"
        refused = plan.refuses is not None and seen.get(plan.refuses[0]) == plan.refuses[1]
        return (
            (403 if refused else 200),
            {k: v for k, v in headers.items() if v},
            {"version": version, **seen},
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        fields = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, headers, body = self.answer(fields, scope["client"][0], self.version)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@dataclass(frozen=True)
class Watcher:
    fields: dict[str, str]
    client: str
    joins: int
    live: str

    def call(self, app: Any) -> Call:
        return Call(app, f"/thing?live={self.live}", headers=self.fields.items(), client=(self.client, 1))


values = st.sampled_from(["", "a", "b"])
choices = st.tuples(st.sampled_from(FIELDS), values)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    return Plan(
        depends=draw(st.frozensets(st.sampled_from([*FIELDS, "client"]), max_size=2)),
        caching=draw(st.sampled_from(REUSABLE) | st.sampled_from(CACHING)),
        vary=frozenset(draw(st.lists(st.sampled_from(FIELDS), max_size=2))),
        set_cookie=draw(st.integers(0, 5)) == 0,
        etag=draw(st.sampled_from(["", "", '"coarse"', 'W/"weak"'])),
        strict=draw(st.none() | st.none() | choices),
        refuses=draw(st.none() | st.none() | st.none() | choices),
    )


@st.composite
def watchers(draw: st.DrawFn) -> Watcher:
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["a", "b"]), max_size=3))
    if "cookie" in fields:
        fields["cookie"] = f"sid={fields['cookie']}"
    client = draw(st.sampled_from(["203.0.113.1", "203.0.113.2"]))
    return Watcher(fields, client, draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from(["sse", "ndjson"])))


apps = st.builds(App, plans=st.lists(plans(), min_size=2, max_size=3))


def told(watcher: Watcher, call: Call) -> list[dict[str, Any]]:
    """Every representation that was sent to this watcher."""
    if call.status != 200:
        return [json.loads(call.raw)] if call.raw else []
    if watcher.live == "ndjson":
        events = [json.loads(line) for line in call.raw.split(b"\n") if line]
        return [event["data"] for event in events if "data" in event]
    lines = [line for line in call.raw.decode().split("\n") if line.startswith("data:")]
    return [document for line in lines if "version" in (document := json.loads(line.removeprefix("data:")))]


async def play(app: App, people: list[Watcher], keyed: bool) -> None:
    live = Restive(
        app,
        settle=0.02,
        min_interval=0.0,
        backend="memory:",
        key=["client"] if keyed else [],
        look_concurrency=3,
    )
    open_calls: dict[int, Call] = {}
    async with contextlib.AsyncExitStack() as stack:
        for version in range(len(app.plans)):
            app.version = version
            live.changed("/thing")
            for i, watcher in enumerate(people):
                if min(watcher.joins, len(app.plans) - 1) == version:
                    open_calls[i] = await stack.enter_async_context(watcher.call(live))
            await converged(app, people, open_calls, version, keyed)
    check(app, people, open_calls, keyed)


def address(watcher: Watcher, keyed: bool) -> str:
    return watcher.client if keyed else LOOKED_AT_FROM


async def converged(
    app: App, people: list[Watcher], calls: dict[int, Call], version: int, keyed: bool
) -> None:
    for i, call in calls.items():
        watcher = people[i]
        if call.complete:
            continue
        status, _, body = app.answer(watcher.fields, address(watcher, keyed), version)
        if status == 200:
            await call.until(lambda c, w=watcher, b=body: b in told(w, c), 3.0)  # type: ignore[misc]
        else:
            await call.until(lambda c: c.complete, 3.0)


def check(app: App, people: list[Watcher], calls: dict[int, Call], keyed: bool) -> None:
    for i, call in calls.items():
        watcher = people[i]
        answers = [app.answer(watcher.fields, address(watcher, keyed), v) for v in range(len(app.plans))]
        own = [body for status, _, body in answers if status == 200]
        for representation in told(watcher, call):
            if "version" in representation:
                assert representation in own
        assert b"secret" not in call.raw
        assert "made=secret" not in call.headers.values()


@pytest.mark.timeout(300)  # a failure takes long to shrink
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(app=apps, people=st.lists(watchers(), min_size=2, max_size=5), keyed=st.booleans())
def test_nobody_receives_what_was_not_made_for_them(app: App, people: list[Watcher], keyed: bool) -> None:
    if keyed:
        # HTTP has no Vary for an address: what depends on it may not be called public.
        app.plans = [replace(p, caching="private") if "client" in p.depends else p for p in app.plans]
    app.version = 0
    asyncio.run(play(app, people, keyed))


@settings(max_examples=60, deadline=None)
@given(app=apps, people=st.lists(watchers(), min_size=2, max_size=4))
def test_a_plain_get_is_never_answered_with_another_ones(app: App, people: list[Watcher]) -> None:
    """While others watch the same URI, each GET gets what the app says to this very request."""
    # HTTP has no Vary for an address: what depends on it may not be called public.
    app.plans = [replace(p, caching="private") if "client" in p.depends else p for p in app.plans]

    async def ask() -> None:
        live = Restive(app, settle=0.02, min_interval=0.0, backend="memory:")
        app.version = 0
        async with contextlib.AsyncExitStack() as stack:
            for watcher in people[:-1]:
                call = await stack.enter_async_context(watcher.call(live))
                await call.until(lambda c: bool(c.raw) or c.complete)
            for watcher in people:
                call = await get(live, "/thing", headers=watcher.fields.items(), client=(watcher.client, 1))
                status, _, body = app.answer(watcher.fields, watcher.client, 0)
                assert (call.status, json.loads(call.raw)) == (status, body)

    asyncio.run(ask())
