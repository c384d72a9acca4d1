"""Cancel, delete, retention, leases and shutdown: final states are reached once and never change."""

from __future__ import annotations

import asyncio
import secrets
import threading
from itertools import count

import pytest
from fastapi import UploadFile

from restive.errors import BackendUnavailable, Canceled, Interrupted
from restive.operations import Operation
from restive.operations.identity import new_identity
from restive.operations.record import OperationRecord


async def test_a_queued_operation_is_canceled_at_once(new_bench, gate):
    bench = new_bench(workers=1)
    ran = []

    @bench.operation("/waits")
    def wait(number: int) -> None:
        ran.append(number)
        gate.wait(10)

    first = (await bench.client.post("/waits?number=1")).headers["location"]
    await bench.until(first, lambda it: it["status"] == "running")
    second = (await bench.client.post("/waits?number=2")).headers["location"]
    canceled = await bench.client.post(f"{second}/cancel")
    assert canceled.status_code == 200
    assert canceled.json()["status"] == "canceled"
    assert canceled.json()["started"] is None
    gate.set()
    assert (await bench.done(first))["status"] == "succeeded"
    assert ran == [1]
    assert (await bench.client.get(f"{second}/result")).status_code == 409


async def test_a_running_function_is_canceled_where_it_asks(bench):
    entered = threading.Event()

    @bench.operation("/loops")
    def loop(op: Operation) -> None:
        entered.set()
        while True:
            op.check()

    location = (await bench.client.post("/loops")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    answer = await bench.client.post(f"{location}/cancel")
    assert answer.status_code == 202
    assert answer.headers["retry-after"] == "1"
    final = await bench.done(location)
    assert (final["status"], final["error"], final["result"]) == ("canceled", None, None)
    again = await bench.client.post(f"{location}/cancel")
    assert (again.status_code, again.json()) == (200, final)


@pytest.mark.parametrize("verb", ["report", "part", "write", "map"])
async def test_every_method_raises_once_cancel_was_asked_for(bench, gate, verb):
    entered = threading.Event()

    @bench.operation("/loops")
    def loop(op: Operation) -> None:
        file = op.part("open.txt")
        entered.set()
        gate.wait(10)
        steps = {
            "report": lambda: op.report(completed=1),
            "part": lambda: op.part("a.txt", "a"),
            "write": lambda: file.write(b"x"),
            "map": lambda: list(op.map(abs, [1])),
        }
        with pytest.raises(Canceled):
            steps[verb]()
        raise Canceled

    location = (await bench.client.post("/loops")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    await bench.client.post(f"{location}/cancel")
    gate.set()
    assert (await bench.done(location))["status"] == "canceled"


async def test_a_hanging_function_stays_running_until_it_returns(bench, gate):
    """No thread can be stopped from outside: what it returned after the cancel is what happened."""
    entered = threading.Event()

    @bench.operation("/hangs")
    def hang() -> str:
        entered.set()
        gate.wait(10)
        return "done after all"

    location = (await bench.client.post("/hangs")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    assert (await bench.client.post(f"{location}/cancel")).status_code == 202
    document = (await bench.client.get(location)).json()
    assert document["status"] == "running"
    assert "cancel" not in document["links"]
    gate.set()
    assert (await bench.done(location))["result"] == "done after all"


async def test_a_hanging_coroutine_is_canceled_where_it_waits(bench):
    entered = threading.Event()

    @bench.operation("/hangs")
    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    location = (await bench.client.post("/hangs")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    await bench.client.post(f"{location}/cancel")
    assert (await bench.done(location))["status"] == "canceled"


async def test_a_cancel_through_another_process_arrives(bench):
    """Only the record says so: the cancel was asked for on another runner."""
    entered = threading.Event()

    @bench.operation("/loops")
    def loop(op: Operation) -> None:
        entered.set()
        while True:
            op.check()

    location = (await bench.client.post("/loops")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    other = bench.reborn()
    other.operations.declare("/loops", loop)
    assert (await other.client.post(f"{location}/cancel")).status_code == 202
    assert (await bench.done(location))["status"] == "canceled"


async def test_a_deleted_operation_is_gone(bench, home):
    @bench.operation("/ones")
    def one(op: Operation) -> str:
        (op.folder / "scratch").write_text("x")
        return op.part("a.txt", "a")

    location = (await bench.run("/ones"))["links"]["self"]
    assert list((home / "operations").iterdir())
    deleted = await bench.client.delete(location)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in ("", "/result", "/parts", "/parts/a.txt"):
        gone = await bench.client.get(location + path)
        assert gone.status_code == 410
        assert gone.headers["content-type"] == "application/problem+json"
    assert (await bench.client.delete(location)).status_code == 410
    assert (await bench.client.post(f"{location}/cancel")).status_code == 410
    assert not list((home / "operations").iterdir())
    assert location in bench.host.announced


async def test_deleting_cancels_and_what_runs_on_leaves_nothing(bench, home, gate):
    entered, left = threading.Event(), threading.Event()

    @bench.operation("/loops")
    def loop(op: Operation) -> None:
        folder = op.folder
        entered.set()
        gate.wait(10)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "late").write_text("late")
        try:
            op.part("late.txt", "late")
        finally:
            left.set()

    location = (await bench.client.post("/loops")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    assert (await bench.client.delete(location)).status_code == 204
    gate.set()
    await asyncio.to_thread(left.wait, 10)
    await asyncio.to_thread(bench.operations.drain, 10)
    assert (await bench.client.get(location)).status_code == 410
    assert not list((home / "operations").iterdir())


async def test_after_its_retention_an_operation_is_gone_and_a_day_later_forgotten(bench, home):
    @bench.operation("/ones", retention=100)
    def one(op: Operation) -> str:
        return op.part("a.txt", "a")

    service = bench.operations.service
    clock, later = service.store.clock, 0.0
    service.store.clock = lambda: clock() + later
    location = (await bench.run("/ones"))["links"]["self"]
    later = 90
    assert (await bench.client.get(location)).status_code == 200
    later = 110
    assert (await bench.client.get(location)).status_code == 410  # before anybody swept
    service.runner._sweeping.do()
    assert (await bench.client.get(f"{location}/parts/a.txt")).status_code == 410
    assert not list((home / "operations").iterdir())
    later = 100 + 90_000
    service.runner._sweeping.do()
    assert (await bench.client.get(location)).status_code == 404
    assert [each.name for each in bench.host.backend.scan("operation")] == []


async def test_an_operation_whose_lease_is_over_is_interrupted(bench, gate):
    entered = threading.Event()

    @bench.operation("/waits")
    def wait(op: Operation) -> None:
        op.part("a.txt", "a")
        entered.set()
        gate.wait(10)

    location = (await bench.client.post("/waits")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    other = bench.reborn()
    other.operations.declare("/waits", wait)
    assert (await other.client.get(location)).json()[
        "status"
    ] == "running"  # it starts, but the lease runs on
    vigil = other.operations.service.runner.attempts.vigil
    clock, minutes = vigil.clock, count()
    vigil.clock = lambda: clock() + 60 * next(minutes)  # from look to look: the lease may just be renewed
    lost = await other.done(location)
    assert lost["status"] == "failed"
    assert lost["error"]["type"] == "urn:restive:interrupted"
    assert lost["parts"] == 1
    gate.set()
    await asyncio.to_thread(bench.operations.drain, 10)
    assert (await bench.client.get(location)).json() == lost  # what the old runner said came too late
    assert (await bench.client.get(f"{location}/parts/a.txt")).text == "a"


async def test_the_first_request_takes_over_what_was_left_behind(bench, gate):
    @bench.operation("/waits")
    def wait(number: int) -> int:
        return number

    submitted = []
    bench.operations.service.runner.enqueue = submitted.append  # a server that dies before it runs anything
    location = (await bench.client.post("/waits?number=5")).headers["location"]
    assert {each.id for each in submitted} == {location.rpartition("/")[2]}
    other = bench.reborn()
    other.operations.declare("/waits", wait)
    assert (await other.done(location))["result"] == 5


async def test_an_operation_that_is_no_longer_declared_stays_queued(bench):
    @bench.operation("/old")
    def old() -> None: ...

    bench.operations.service.runner.enqueue = lambda identity: None
    location = (await bench.client.post("/old")).headers["location"]
    other = bench.reborn()

    @other.operation("/new")
    def new() -> int:
        return 1

    assert (await other.run("/new"))["result"] == 1
    assert (await bench.client.get(location)).json()["status"] == "queued"


async def test_arguments_that_no_longer_fit_fail_clearly(bench):
    @bench.operation("/changes")
    def before(number: int) -> None: ...

    bench.operations.service.runner.enqueue = lambda identity: None
    location = (await bench.client.post("/changes?number=5")).headers["location"]
    other = bench.reborn()

    @other.operation("/changes")
    def after(name: str) -> None: ...

    final = await other.done(location)
    assert final["status"] == "failed"
    assert "do not fit" in final["error"]["detail"]


async def test_draining_lets_functions_finish(bench, gate):
    entered = threading.Event()

    @bench.operation("/waits")
    def wait() -> str:
        entered.set()
        gate.wait(10)
        return "finished"

    location = (await bench.client.post("/waits")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    draining = asyncio.create_task(asyncio.to_thread(bench.operations.drain, 10))
    while (refused := await bench.client.post("/waits")).status_code == 202:
        await bench.client.delete(refused.headers["location"])
    assert refused.status_code == 503
    gate.set()
    await draining
    assert (await bench.done(location))["result"] == "finished"


async def test_draining_interrupts_what_does_not_finish(bench, gate):
    outcome, entered = [], threading.Event()

    @bench.operation("/loops")
    def loop(op: Operation) -> None:
        entered.set()
        try:
            while True:
                op.check()
        except Interrupted:
            outcome.append("told")
            raise

    @bench.operation("/hangs")
    def hang() -> None:
        gate.wait(10)

    looping = (await bench.client.post("/loops")).headers["location"]
    hanging = (await bench.client.post("/hangs")).headers["location"]
    await asyncio.to_thread(entered.wait, 10)
    await bench.until(hanging, lambda it: it["status"] == "running")
    await asyncio.to_thread(bench.operations.drain, 0)
    for location in (looping, hanging):
        final = await bench.done(location)
        assert final["error"]["type"] == "urn:restive:interrupted"
    assert outcome == ["told"]
    gate.set()


def running(**given) -> OperationRecord:
    made = OperationRecord("i", "/d", "/d", "/d", created=0, retention=1).claimed("me", 10, 15)
    assert made is not None
    return made


def test_final_states_never_change():
    for status in ("succeeded", "failed", "canceled"):
        final = running().ended(status, 20)
        assert final.claimed("other", 30, 15) is None
        assert final.cancel_asked(30) is None
        assert not final.lost(lambda _: True)
        with pytest.raises((Canceled, Interrupted)):
            final.check(1)


def test_only_the_current_lease_number_counts():
    record = running()
    assert record.lease.number == 1
    assert record.check(1).expires == 25
    with pytest.raises(Interrupted):
        record.check(2)
    assert not record.lost(lambda _: False)
    assert record.lost(lambda lease: lease.number == 1)
    assert record.claimed("other", 30, 15) is None


async def test_uploads_of_a_submission_that_was_never_stored_go_at_the_next_start(bench):
    files, store = bench.operations.service.files, bench.operations.service.store
    old, young = (new_identity(store.clock() - age, secrets.token_bytes) for age in (7200, 60))

    @bench.operation("/kept")
    def keep(file: UploadFile) -> str:
        return file.filename

    kept = (await bench.client.post("/kept", files={"file": b"x"})).headers["location"].rpartition("/")[2]
    for identity in (old, young):
        files.upload(identity, 0, "a.txt").write_bytes(b"x")
    await bench.settled()
    await bench.client.get(f"/kept/{old}")  # the first request looks for what was left behind
    assert not files.folder(old).exists()
    assert files.folder(young).exists()
    assert files.folder(kept).exists()


async def test_the_parts_of_an_operation_deleted_in_that_moment_are_gone(bench, monkeypatch):
    @bench.operation("/ones")
    def one() -> int:
        return 1

    document = await bench.run("/ones")
    service = bench.operations.service
    parts = service.store.parts

    def deleted_first(*args):
        service.runner.delete(document["id"])
        return parts(*args)

    monkeypatch.setattr(service.store, "parts", deleted_first)
    assert (await bench.client.get(document["links"]["parts"])).status_code == 410


async def test_an_end_that_cannot_be_stored_at_once_is_stored_later(bench, monkeypatch):
    """The backend is away when the function returns: the work is done and cost time."""
    runner = bench.operations.service.runner
    update, failures = runner.store.update, []

    def away(identity, transition, **options):
        if len(failures) < 2 and not options:
            failures.append(identity)
            raise BackendUnavailable("away")
        return update(identity, transition, **options)

    @bench.operation("/ones")
    def one() -> int:
        monkeypatch.setattr(runner.store, "update", away)
        return 1

    document = await bench.run("/ones")
    assert (document["status"], document["result"]) == ("succeeded", 1)
    assert len(failures) == 2


@pytest.mark.parametrize("retries", [0, 1])
async def test_what_a_lost_run_has_half_written_goes_with_it(bench, gate, retries):
    @bench.operation("/writes", retries=retries, backoff=60.0)
    def write(op: Operation) -> None:
        with op.part("big.bin") as file:
            file.write(b"x")
            gate.wait(10)

    location = (await bench.client.post("/writes")).headers["location"]
    identity = location.rpartition("/")[2]
    service = bench.operations.service
    parts = service.files.folder(identity) / "parts"
    await bench.until(location, lambda it: parts.exists() and any(parts.glob("*.open/data*")))

    other = bench.reborn()
    other.operations.declare("/writes", write, retries=retries, backoff=60.0)
    assert (await other.client.get(location)).json()["status"] == "running"
    vigil = other.operations.service.runner.attempts.vigil
    clock, minutes = vigil.clock, count()
    vigil.clock = lambda: clock() + 60 * next(minutes)  # from look to look: the lease may just be renewed
    ended = await other.until(location, lambda it: it["status"] != "running")
    assert ended["status"] == ("queued" if retries else "failed")
    assert list(parts.iterdir()) == []
    gate.set()
    await bench.settled()
    assert list(parts.iterdir()) == []


@pytest.mark.parametrize("retries", [0, 1])
async def test_what_a_function_has_half_written_when_the_server_stops_goes_with_it(bench, gate, retries):
    @bench.operation("/writes", retries=retries, backoff=60.0)
    def write(op: Operation) -> None:
        with op.part("big.bin") as file:
            file.write(b"x")
            gate.wait(10)

    location = (await bench.client.post("/writes")).headers["location"]
    parts = bench.operations.service.files.folder(location.rpartition("/")[2]) / "parts"
    await bench.until(location, lambda it: parts.exists() and any(parts.glob("*.open/data*")))
    await asyncio.to_thread(bench.operations.drain, 0.0)
    assert list(parts.iterdir()) == []
    gate.set()
    await bench.settled()
    assert list(parts.iterdir()) == []
