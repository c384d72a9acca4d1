"""What holds when a server is killed, stopped or replaced: one test for each promise, with real processes."""

from __future__ import annotations

import asyncio
import signal
import time

import httpx2
import pytest

from faults.fleet import eventually, is_free
from faults.history import Fault, PartsListed
from faults.validators import INTERRUPTED, judge

pytestmark = pytest.mark.timeout(120)

both_engines = pytest.mark.parametrize("engine", ["threads", "processes"])


async def killed(member):
    member.signal(signal.SIGKILL)
    assert await member.ended(10) == -signal.SIGKILL


@both_engines
async def test_after_kill_9_a_second_server_runs_it_again(scene, engine):
    first = await scene.start()
    op = await scene.submit(first, f"/{engine}/2/count")
    await scene.at_work(op)
    await killed(first)
    second = await scene.start(first.port)
    document = await scene.done(second, op)
    assert (document["status"], document["attempt"]) == ("succeeded", 2)
    assert document["result"]["attempt"] == 2


async def test_the_progress_of_the_second_attempt_begins_anew(scene):
    first = await scene.start()
    op = await scene.submit(first, "/threads/2/count", steps=20, pace=0.1)
    await scene.until(first, op, lambda it: it["progress"]["completed"] >= 8)
    await killed(first)
    second = await scene.start()
    document = await scene.until(second, op, lambda it: it["attempt"] == 2)
    assert document["progress"]["completed"] < 8
    assert "Attempt 1" in (document["progress"]["message"] or "Attempt 1")
    assert (await scene.done(second, op))["progress"]["completed"] == 20


@both_engines
async def test_after_kill_9_one_without_retries_has_failed_as_interrupted(scene, engine):
    first = await scene.start()
    op = await scene.submit(first, f"/{engine}/0/count")
    await scene.at_work(op)
    await killed(first)
    document = await scene.done(await scene.start(), op)
    assert (document["status"], document["attempt"]) == ("failed", 1)
    assert document["error"]["type"] == INTERRUPTED


async def test_after_kill_9_of_the_whole_group_it_is_run_again(scene):
    first = await scene.start()
    ops = [await scene.submit(first, f"/{engine}/2/count", steps=30) for engine in ("threads", "processes")]
    for op in ops:
        await scene.at_work(op)
    first.signal_all(signal.SIGKILL)
    second = await scene.start()
    for op in ops:
        document = await scene.done(second, op)
        assert (document["status"], document["attempt"]) == ("succeeded", 2)


async def test_what_was_queued_at_the_kill_is_run_by_the_next_server(new_scene):
    scene = new_scene(workers=1)
    first = await scene.start()
    ops = [await scene.submit(first, "/threads/0/count", steps=3) for _ in range(6)]
    await scene.at_work(ops[0], 1)
    await killed(first)
    second = await scene.start()
    found = [await scene.done(second, op) for op in ops]
    assert found[0]["status"] == "failed"
    assert [(it["status"], it["attempt"]) for it in found[1:]] == [("succeeded", 1)] * 5


async def test_another_running_server_takes_over_by_itself(scene):
    """Nobody asks for the operation, and no server is started: the one that lives finds it."""
    first, second = await scene.start(), await scene.start()
    op = await scene.submit(first, "/threads/2/count")
    await scene.at_work(op)
    await killed(first)
    await scene.at_work(op, attempt=2)
    assert (await scene.done(second, op))["attempt"] == 2


async def test_a_second_submission_with_the_same_key_after_the_kill_is_the_same_operation(scene):
    first = await scene.start()
    op = await scene.submit(first, "/threads/2/count", **{"idempotency-key": '"once"'})
    await killed(first)
    second = await scene.start()
    assert await scene.submit(second, "/threads/2/count", **{"idempotency-key": '"once"'}) == op
    assert (await scene.done(second, op))["status"] == "succeeded"


@both_engines
async def test_published_parts_survive_the_kill(scene, engine):
    first = await scene.start()
    op = await scene.submit(first, f"/{engine}/2/collect")
    await eventually(lambda: len(scene.notes(op, "published")) >= 3, 30)
    await killed(first)
    names = [each.detail["name"] for each in scene.notes(op, "published")]
    second = await scene.start()
    observers = scene.observers(second)
    for name in names:
        assert (await observers.read_part(op, name)).whole
    document = await scene.done(second, op)
    assert document["attempt"] == 2
    await observers.settle(op)
    listed = scene.history.of(PartsListed, op)[-1]
    assert [name for name, _ in listed.parts] == [f"{number}.txt" for number in range(1, 11)]
    await observers.aclose()
    scene.history.add(Fault(at=0.0, until=time.monotonic(), what="kill-server"))
    assert [each for each in judge(scene.history) if each.promise == "parts"] == []


@both_engines
async def test_who_follows_a_part_over_another_server_is_cut_by_the_kill(scene, engine):
    """The reader does not take what was written for the whole."""
    first, second = await scene.start(), await scene.start()
    op = await scene.submit(first, f"/{engine}/0/follow", steps=100)
    await scene.at_work(op)
    begun, taken = asyncio.Event(), bytearray()

    async def follow():
        async with scene.http.stream("GET", f"{second.url}{op}/parts/log.txt") as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_raw():
                taken.extend(chunk)
                begun.set()

    reader = asyncio.create_task(follow())
    await asyncio.wait_for(begun.wait(), 20)
    await killed(first)
    with pytest.raises(httpx2.TransportError):
        await asyncio.wait_for(reader, 30)
    assert taken


@both_engines
async def test_the_children_end_with_their_parent(scene, engine):
    first = await scene.start()
    ops = [await scene.submit(first, f"/{engine}/0/count", steps=600) for _ in range(2)]
    for op in ops:
        await scene.at_work(op)
    if engine == "processes":
        assert first.helpers()
    await killed(first)
    assert await first.gone() == []


async def test_idle_children_end_with_their_parent(scene):
    first = await scene.start()
    op = await scene.submit(first, "/processes/0/count", steps=1)
    await scene.done(first, op)
    assert first.helpers()
    await killed(first)
    assert await first.gone() == []


async def test_the_port_is_free_as_soon_as_the_server_is_killed(scene):
    """Its workers may live on for a moment; they do not hold the port."""
    first = await scene.start()
    op = await scene.submit(first, "/processes/2/count")
    await scene.at_work(op)
    helpers = first.helpers()
    first.signal(signal.SIGKILL)
    first.process.wait(10)
    assert is_free(first.port)
    assert helpers


# SIGTERM


@both_engines
async def test_sigterm_lets_what_runs_finish(new_scene, engine):
    scene = new_scene(drain_operations=20.0)
    first = await scene.start()
    op = await scene.submit(first, f"/{engine}/0/count")
    await scene.at_work(op)
    first.signal(signal.SIGTERM)
    assert await first.ended(30) is not None
    assert await first.gone() == []
    document = await scene.done(await scene.start(), op)
    assert (document["status"], document["attempt"]) == ("succeeded", 1)
    assert document["progress"]["completed"] == 10


@pytest.mark.parametrize(("retries", "expected"), [(2, ("succeeded", 2)), (0, ("failed", 1))])
@both_engines
async def test_sigterm_interrupts_what_runs_for_longer(new_scene, engine, retries, expected):
    scene = new_scene(drain_operations=0.2)
    first = await scene.start()
    op = await scene.submit(first, f"/{engine}/{retries}/count", steps=30)
    await scene.at_work(op)
    first.signal(signal.SIGTERM)
    assert await first.ended(30) is not None
    assert await first.gone() == []
    ends = scene.notes(op, "ended", "returned")
    assert [each.detail.get("how") for each in ends] == ["Interrupted"]
    document = await scene.done(await scene.start(), op)
    assert (document["status"], document["attempt"]) == expected


async def test_sigterm_ends_idle_children(scene):
    first = await scene.start()
    await scene.done(first, await scene.submit(first, "/processes/0/count", steps=1))
    first.signal(signal.SIGTERM)
    assert await first.ended(30) is not None
    assert await first.gone() == []


@both_engines
async def test_a_rolling_restart_interrupts_nothing(new_scene, engine):
    """The new server starts before the old one stops; both have the one state folder."""
    scene = new_scene(lease=5.0, drain_operations=20.0)
    first = await scene.start()
    ops = [
        await scene.submit(first, f"/{engine}/0/{kind}") for kind in ("count", "collect", "wait", "spread")
    ]
    await scene.at_work(ops[0])
    second = await scene.start()
    first.signal(signal.SIGTERM)
    ops.append(await scene.submit(second, f"/{engine}/0/count"))
    for op in ops:
        document = await scene.done(second, op)
        assert (document["status"], document["attempt"]) == ("succeeded", 1), document
        assert len(scene.notes(op, "begin")) == 1
    assert await first.ended(30) is not None
    assert await first.gone() == []


# SIGSTOP


@pytest.mark.parametrize("everything", [False, True], ids=["server", "group"])
@both_engines
async def test_a_server_that_wakes_late_is_refused(scene, engine, everything):
    first, second = await scene.start(), await scene.start()
    op = await scene.submit(first, f"/{engine}/2/collect", steps=12)
    await eventually(lambda: len(scene.notes(op, "published")) >= 2, 30)
    stop = first.signal_all if everything else first.signal
    begun = time.monotonic()
    stop(signal.SIGSTOP)
    await scene.at_work(op, attempt=2)
    stop(signal.SIGCONT)
    scene.history.add(Fault(at=begun, until=time.monotonic(), what="stop-server"))
    observers = scene.observers(second)
    document = await scene.done(second, op)
    assert (document["status"], document["attempt"], document["result"]["attempt"]) == ("succeeded", 2, 2)
    await eventually(lambda: len(scene.notes(op, "ended", "returned")) == 2, 30)
    how = {each.attempt: each.detail.get("how", each.what) for each in scene.notes(op, "ended", "returned")}
    assert how == {1: "Interrupted", 2: "returned"}
    assert await scene.get(first, op) == document
    await observers.settle(op)
    assert judge(scene.history) == []


# Clients


async def test_an_operation_goes_on_when_its_client_is_gone(scene):
    first = await scene.start()
    async with httpx2.AsyncClient(headers={"x-user": "ann"}) as client:
        params = {"steps": 10, "pace": 0.05}
        answer = await client.post(f"{first.url}/threads/0/count", params=params)
        op = answer.headers["location"]
        async with client.stream("GET", f"{first.url}{op}?live=sse") as events:
            assert await anext(events.aiter_raw())
    assert (await scene.done(first, op))["status"] == "succeeded"
