"""Attempts: what is run again, what is not, and what clients see of it."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from restive import Operation, Problem, TimedOut
from restive.operations.record import Lease, OperationRecord, Progress
from restive.operations.vigil import Vigil


def record(**given) -> OperationRecord:
    return OperationRecord(
        id="0" * 36, declaration="/a", route="/a", target="/a", created=0.0, retention=60.0, **given
    )


def test_a_failed_attempt_goes_back_to_the_queue_as_the_next_one():
    running = record(retries=2, backoff=3.0).claimed("me", 10.0, 15.0)
    queued = running.failed({"title": "No"}, 20.0, retry=True, progress=Progress(5), parts=2, size=7)
    assert (queued.status, queued.attempt, queued.retries, queued.parts, queued.size) == (
        "queued",
        2,
        1,
        2,
        7,
    )
    assert queued.progress == Progress(message="Attempt 1: No")
    assert (queued.not_before, queued.backoff) == (23.0, 6.0)
    assert queued.claimed("me", 22.9, 15.0) is None
    again = queued.claimed("you", 23.0, 15.0)
    assert (again.status, again.attempt, again.progress) == ("running", 2, Progress())
    assert again.lease == Lease(2, "you", 38.0)


def test_a_cancel_that_was_asked_for_goes_before_a_retry():
    running = record(retries=2).claimed("me", 10.0, 15.0).cancel_asked(11.0)
    assert running.failed({}, 20.0, retry=True).status == "canceled"
    assert running.interrupted(20.0, parts=0).status == "canceled"


@pytest.mark.parametrize(("retries", "retry"), [(0, True), (3, False)])
def test_without_retries_left_or_reason_it_fails(retries, retry):
    ended = record(retries=retries).claimed("me", 10.0, 15.0).failed({"title": "No"}, 20.0, retry=retry)
    assert (ended.status, ended.error, ended.attempt) == ("failed", {"title": "No"}, 1)


def test_a_holder_that_is_dead_need_not_run_out_its_lease():
    running = record().claimed("me", 10.0, 15.0)
    assert not Vigil(lambda holder: holder != "me").lost(running)
    assert Vigil(lambda holder: holder == "me").lost(running)


async def test_an_exception_is_tried_again_until_it_works(bench):
    seen: list[int] = []

    @bench.operation("/flaky", retries=3, backoff=0.0)
    def flaky(op: Operation) -> int:
        seen.append(op.attempt)
        op.report(op.attempt, 10)
        if op.attempt < 3:
            raise ConnectionError("away")
        return op.attempt

    document = await bench.run("/flaky")
    assert (document["status"], document["result"], document["attempt"]) == ("succeeded", 3, 3)
    assert seen == [1, 2, 3]


async def test_the_last_attempt_decides(bench):
    @bench.operation("/broken", retries=1, backoff=0.0)
    async def broken() -> None:
        raise ValueError("no")

    document = await bench.run("/broken")
    assert (document["status"], document["attempt"]) == ("failed", 2)
    assert document["error"]["exception"] == "ValueError"
    assert bench.host.backend.scan("operation-open/") == []


async def test_between_two_attempts_it_is_queued_and_says_why_and_until_when(bench):
    @bench.operation("/later", retries=1, backoff=60.0)
    def later() -> None:
        raise ValueError("no")

    submitted = await bench.client.post("/later")
    document = await bench.until(submitted.headers["location"], lambda it: it["attempt"] == 2)
    assert document["status"] == "queued"
    assert document["progress"]["message"] == "Attempt 1: later() raised ValueError."
    assert document["queue"]["position"] is None
    assert document["queue"]["starts"] > document["created"]
    canceled = await bench.client.post(f"{submitted.headers['location']}/cancel")
    assert canceled.json()["status"] == "canceled"


@pytest.mark.parametrize("kind", ["problem", "result"])
async def test_what_another_attempt_would_not_mend_is_not_tried_again(bench, kind):
    @bench.operation("/sure", retries=3, backoff=0.0)
    def sure() -> int:
        if kind == "problem":
            raise Problem(422, "This picture is broken")
        return "no number"

    document = await bench.run("/sure")
    assert (document["status"], document["attempt"]) == ("failed", 1)


async def test_parts_and_uploads_stay_for_the_next_attempt(bench):
    @bench.operation("/steps", retries=1, backoff=0.0)
    def steps(op: Operation) -> list[str | None]:
        known = op.published("first.txt")
        if known is None:
            op.part("first.txt", "one")
        op.part("again.txt", "the same")
        if op.attempt == 1:
            raise ConnectionError
        return [known]

    document = await bench.run("/steps")
    assert document["result"] == [f"{document['links']['self']}/parts/first.txt"]
    listed = (await bench.client.get(document["links"]["parts"])).json()
    assert [each["name"] for each in listed] == ["first.txt", "again.txt"]
    assert document["parts"] == 2


async def test_a_function_that_checks_ends_at_its_timeout(bench):
    ended = threading.Event()

    @bench.operation("/slow", timeout=0.05)
    def slow(op: Operation) -> None:
        try:
            while True:
                op.check()
        except TimedOut:
            ended.set()
            raise

    document = await bench.run("/slow")
    assert document["status"] == "failed"
    assert document["error"]["type"] == "urn:restive:timed-out"
    assert document["error"]["status"] == 504
    assert ended.is_set()


async def test_a_coroutine_ends_at_its_timeout_wherever_it_waits(bench):
    @bench.operation("/slow", timeout=0.05, retries=1, backoff=0.0)
    async def slow() -> None:
        await asyncio.Event().wait()

    document = await bench.run("/slow")
    assert (document["status"], document["attempt"]) == ("failed", 2)
    assert document["error"]["type"] == "urn:restive:timed-out"


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_function_that_hangs_is_given_up_and_not_begun_twice(new_bench, gate, caplog, cancel):
    bench = new_bench(workers=1, stop_grace=0.05)
    begun: list[int] = []

    @bench.operation("/hangs", timeout=None if cancel else 0.05, retries=5, backoff=0.0)
    def hang(op: Operation) -> str:
        begun.append(op.attempt)
        gate.wait(20)
        return "late"

    @bench.operation("/other")
    def other() -> str:
        return "done"

    location = (await bench.client.post("/hangs")).headers["location"]
    await bench.until(location, lambda it: bool(begun))
    if cancel:
        await bench.client.post(f"{location}/cancel")
    document = await bench.done(location)
    assert document["status"] == ("canceled" if cancel else "failed")
    assert (await bench.run("/other"))["result"] == "done", "its thread has a successor"
    with caplog.at_level(logging.WARNING):
        gate.set()
        await bench.settled()
    assert (await bench.client.get(location)).json() == document, "a late result is refused"
    assert begun == [1]


async def test_a_coroutine_that_blocks_its_loop_harms_no_later_one(new_bench, gate):
    bench = new_bench(stop_grace=0.05)

    @bench.operation("/blocks", timeout=0.05)
    async def block() -> None:
        gate.wait(20)

    @bench.operation("/other")
    async def other() -> str:
        await asyncio.sleep(0)
        return "done"

    assert (await bench.run("/blocks"))["error"]["type"] == "urn:restive:timed-out"
    assert (await bench.run("/other"))["result"] == "done"


async def test_many_coroutines_share_one_loop(new_bench):
    bench = new_bench(coroutines=20)
    loops: set[int] = set()
    together = asyncio.Event()
    entered: list[int] = []

    @bench.operation("/waits")
    async def wait() -> int:
        loops.add(id(asyncio.get_running_loop()))
        entered.append(1)
        while len(entered) < 20:
            await asyncio.sleep(0.001)
        return threading.get_ident()

    answers = await asyncio.gather(*(bench.client.post("/waits") for _ in range(20)))
    documents = [await bench.done(each.headers["location"]) for each in answers]
    assert len(loops) == 1
    assert len({each["result"] for each in documents}) == 1
    assert not together.is_set()


async def test_concurrency_bounds_one_declaration(new_bench):
    bench = new_bench(workers=4)
    lock, now, most = threading.Lock(), 0, 0

    @bench.operation("/ones", concurrency=1)
    def one() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.002)
        with lock:
            now -= 1

    answers = [await bench.client.post("/ones") for _ in range(10)]
    for each in answers:
        assert (await bench.done(each.headers["location"]))["status"] == "succeeded"
    assert most == 1


async def test_what_waits_says_its_place_and_moves_up(new_bench, gate):
    bench = new_bench(workers=1)

    @bench.operation("/waits")
    def wait() -> None:
        gate.wait(20)

    first, second, third = [(await bench.client.post("/waits")).headers["location"] for _ in range(3)]
    await bench.until(first, lambda it: it["status"] == "running")
    assert (await bench.client.get(first)).json()["queue"] is None
    assert (await bench.client.get(second)).json()["queue"] == {"position": 1, "starts": None}
    assert (await bench.client.get(third)).json()["queue"] == {"position": 2, "starts": None}
    await bench.client.post(f"{second}/cancel")
    assert (await bench.client.get(third)).json()["queue"]["position"] == 1
    await asyncio.to_thread(_until, lambda: third in bench.host.announced)


def _until(holds) -> None:
    event = threading.Event()
    for _ in range(1000):
        if holds():
            return
        event.wait(0.01)
    raise AssertionError("it never was so")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", "5"),
        ("retries", -1),
        ("retries", 1.5),
        ("backoff", float("inf")),
        ("concurrency", 0),
        ("priority", "high"),
        ("retention", True),
        ("retry", 3),
    ],
)
def test_options_that_cannot_work_are_refused_when_declared(bench, option, value):
    with pytest.raises(ValueError, match=option):
        bench.operation("/a", **{option: value})(lambda: None)


async def test_a_cancel_in_the_moment_of_the_claim_is_obeyed(bench, monkeypatch):
    """Between the claim in the store and the run in this process there is nothing to stop yet."""
    runner = bench.operations.service.runner
    update = runner.store.update

    def canceled_at_the_claim(identity, transition):
        saved = update(identity, transition)
        if saved is not None and saved.status == "running" and saved.cancel is None:
            monkeypatch.setattr(runner.store, "update", update)
            runner.cancel(identity)
        return saved

    @bench.operation("/checks")
    def check(op: Operation) -> str:
        op.check()
        return "not canceled"

    monkeypatch.setattr(runner.store, "update", canceled_at_the_claim)
    assert (await bench.run("/checks"))["status"] == "canceled"
