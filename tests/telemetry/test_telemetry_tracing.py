"""Traces of a real server: one from POST to the last part, whatever runs it, and what a look is linked to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.hook_receivers import LOOPBACK, HookReceiver
from restive.announcements import NODE, pack, trace_of, unpack
from restive.http.invalidation import Change
from restive.telemetry import tracing
from scenarios.servers import CALM, ProcessServer, Spawn
from scenarios.watches import watch

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}

Spans = list[dict[str, Any]]


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    receiver = HookReceiver()
    yield receiver
    receiver.stop()


def traced(
    spawn: Spawn, hook: HookReceiver | None = None, sdk: str = "yes", **settings: Any
) -> ProcessServer:
    env = {"TRACED_SETTINGS": json.dumps({**CALM, **settings, **LOOPBACK}), "TRACED_SDK": sdk}
    if hook is not None:
        env["TRACED_HOOK"] = f"http://127.0.0.1:{hook.port}/"
    return spawn("apps.traced:app", env=env)


async def told(http: httpx2.AsyncClient, server: ProcessServer) -> dict[str, Any]:
    found: dict[str, Any] = (await http.get(f"{server.url}/spans")).json()
    return found


async def spans_until(
    http: httpx2.AsyncClient, server: ProcessServer, enough: Callable[[Spans], bool]
) -> Spans:
    async with asyncio.timeout(20):
        while not enough(found := (await told(http, server))["spans"]):
            await asyncio.sleep(0.02)
    return found


def named(spans: Spans, name: str) -> Spans:
    return [each for each in spans if each["name"] == name]


@pytest.mark.parametrize("engine", ["threads", "processes", "coroutines"])
async def test_one_trace_from_post_to_the_last_part(
    spawn: Spawn, http: httpx2.AsyncClient, hook: HookReceiver, engine: str
) -> None:
    server = traced(spawn, hook)
    done = await http.post(f"{server.url}/{engine}", headers={**CALLER, "prefer": "wait=20"})
    document = done.json()
    assert document["status"] == "succeeded", document
    spans = await spans_until(http, server, lambda found: bool(named(found, f"notify /{engine}")))
    (post,) = named(spans, f"POST /{engine}")
    (submit,) = named(spans, f"submit /{engine}")
    (run,) = named(spans, f"run /{engine}")
    (notify,) = named(spans, f"notify /{engine}")
    assert {each["trace"] for each in (post, submit, run, notify)} == {TRACE}
    assert post["parent"] == PARENT
    assert [each["parent"] for each in (run, notify)] == [submit["span"]] * 2
    assert [each["kind"] for each in (submit, run, notify)] == ["PRODUCER", "CONSUMER", "CLIENT"]
    assert run["events"].count("part") == document["parts"]
    assert run["attributes"]["restive.operation.id"] == document["id"]
    assert run["attributes"]["restive.operation.outcome"] == "succeeded"
    assert not run["failed"]
    # Where the function ran, its pieces too: below the run, in this process or another.
    found = document["result"]
    assert {each.partition("-")[0] for each in [found["here"], *found["pieces"]]} == {TRACE}
    assert found["here"] == f"{TRACE}-{run['span']}"
    if engine != "processes":
        (mine,) = named(spans, "mine")
        assert (mine["trace"], mine["parent"]) == (TRACE, run["span"])
    # Who is told goes on with it.
    got = (await asyncio.to_thread(hook.until, 1))[0]
    assert got.headers["traceparent"] == f"00-{TRACE}-{notify['span']}-01"
    assert (await told(http, server))["notices"] == [f"{TRACE}-{notify['span']}"]


async def test_each_attempt_is_a_span(spawn: Spawn, http: httpx2.AsyncClient) -> None:
    server = traced(spawn)
    done = await http.post(f"{server.url}/threads?fail=1", headers={**CALLER, "prefer": "wait=20"})
    assert done.json()["status"] == "succeeded", done.json()
    spans = await spans_until(http, server, lambda found: len(named(found, "run /threads")) == 2)
    first, second = named(spans, "run /threads")
    assert (first["attributes"]["restive.operation.outcome"], first["failed"]) == ("retried", True)
    assert (second["attributes"]["restive.operation.attempt"], second["failed"]) == (2, False)
    assert first["trace"] == second["trace"] == TRACE
    assert first["events"].count("part") == second["events"].count("part") == 1


async def test_without_a_caller_it_is_a_trace_of_its_own(spawn: Spawn, http: httpx2.AsyncClient) -> None:
    server = traced(spawn)
    await http.post(f"{server.url}/threads", headers={"prefer": "wait=20", "traceparent": "00-nonsense"})
    spans = await spans_until(http, server, lambda found: bool(named(found, "run /threads")))
    (run,), (post,) = named(spans, "run /threads"), named(spans, "POST /threads")
    assert run["trace"] == post["trace"] != TRACE


async def test_a_trace_goes_through_a_server_that_makes_none(
    spawn: Spawn, http: httpx2.AsyncClient, hook: HookReceiver
) -> None:
    """Nothing is made without an SDK; what came with the request still reaches the function's process."""
    server = traced(spawn, hook, sdk="no")
    done = await http.post(f"{server.url}/threads", headers={**CALLER, "prefer": "wait=20"})
    assert done.json()["result"]["here"] == f"{0:032x}-{0:016x}"
    got = (await asyncio.to_thread(hook.until, 1))[0]
    assert "traceparent" not in got.headers


async def test_a_look_is_linked_to_what_announced_it(spawn: Spawn, http: httpx2.AsyncClient) -> None:
    server = traced(spawn, settle=600)
    async with watch("websocket", server.url, "/orders/3") as one:
        await one.next()
        await http.put(f"{server.url}/orders/3", json=5, headers=CALLER)
        await one.state(5)
        spans = await spans_until(http, server, lambda found: len(named(found, "look")) == 2)
    first, second = named(spans, "look")
    (put,) = named(spans, "PUT /orders/{number}")
    assert put["trace"] == TRACE
    assert (first["links"], second["links"]) == ([], [put["span"]])
    assert first["parent"] is second["parent"] is None
    assert second["attributes"] == {
        "url.path": "/orders/3",
        "restive.reason": "changed",
        "restive.outcome": "changed",
    }
    # What the app does in a look is part of it.
    assert [each["parent"] for each in named(spans, "read")] == [first["span"], second["span"]]


async def test_a_look_on_another_node_is_linked_too(
    spawn: Spawn, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/both.db"
    one, other = (traced(spawn, settle=600, backend=url) for _ in range(2))
    async with watch("sse-query", other.url, "/orders/3") as following:
        await following.next()
        # The first announcement may come before the other node has begun to listen.
        async with asyncio.timeout(20):
            while not any(each["links"] for each in named((await told(http, other))["spans"], "look")):
                await http.put(f"{one.url}/orders/3", json=5, headers=CALLER)
    puts = {each["span"] for each in named((await told(http, one))["spans"], "PUT /orders/{number}")}
    links = [link for each in named((await told(http, other))["spans"], "look") for link in each["links"]]
    assert links
    assert set(links) <= puts


# Carriers


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00-" + "0" * 32 + f"-{PARENT}-01",
        f"00-{TRACE}-" + "0" * 16 + "-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\r\nx: y",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-" + "x" * 300,
    ],
)
def test_what_is_no_traceparent_is_dropped(parent: str) -> None:
    assert tracing.checked({"traceparent": parent}) is None
    assert tracing.received(((b"traceparent", parent.encode()),)) is None


def test_only_what_carries_a_trace_is_kept() -> None:
    fields = (
        (b"baggage", b"user=ann"),
        (b"traceparent", CALLER["traceparent"].encode()),
        (b"tracestate", b"vendor=1"),
    )
    assert tracing.received(fields) == {**CALLER, "tracestate": "vendor=1"}
    assert tracing.checked({**CALLER, "tracestate": "x" * 600}) == CALLER
    assert tracing.checked({**CALLER, "tracestate": "a\nb"}) == CALLER


@given(st.lists(st.builds(Change, st.sampled_from(["/a", "/b c", "/~"]), st.booleans())), st.booleans())
def test_an_announcement_carries_the_trace(changes: list[Change], has_one: bool) -> None:
    payload = pack(changes, trace=CALLER["traceparent"] if has_one else "")
    assert unpack(payload) == (NODE, tuple(changes))
    assert trace_of(payload) == (CALLER if has_one else None)


@given(st.binary(max_size=100))
def test_a_foreign_announcement_has_no_trace(data: bytes) -> None:
    found = trace_of(NODE + b"~" + data)
    assert found is None or tracing.checked(found) == found


def test_without_an_sdk_nothing_is_made() -> None:
    assert tracing.begin("look", "internal") is tracing.NOTHING
    assert tracing.carrier() is None
    assert tracing.cause() is None
    with tracing.span("x", "client") as span, tracing.carried(CALLER):
        span.event("nothing")
        assert tracing.carrier() is None
    assert len(tracing.NOTHING.context()) == 0
