"""Notices from the end of an operation to the last attempt, with real receivers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hook_receivers import SECRET, Clock, HookReceiver, Office, Reply, ended_operation, eventually, resolver
from standardwebhooks import Webhook

from restive.backends.memory import MemoryBackend
from restive.backends.port import Backend, Record
from restive.errors import BackendUnavailable
from restive.operations.notices.schedule import ATTEMPTS, DELAYS

MakeOffice = Callable[..., Office]
Receive = Callable[..., HookReceiver]


@pytest.fixture
def receive() -> Iterator[Receive]:
    receivers: list[HookReceiver] = []

    def start(*replies: Reply) -> HookReceiver:
        receivers.append(HookReceiver(*replies))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_office(backend: Backend, clock: Clock) -> Iterator[MakeOffice]:
    offices: list[Office] = []

    def make(**options: Any) -> Office:
        offices.append(Office(backend, options.pop("clock", clock), **options))
        return offices[-1]

    yield make
    for office in offices:
        office.notices.close(0)


@pytest.fixture
def office(new_office: MakeOffice) -> Office:
    return new_office()


def url(hook: HookReceiver, target: str = "/hook") -> str:
    return f"http://127.0.0.1:{hook.port}{target}"


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("restive-notice")}


def test_the_receiver_is_told_once_and_nothing_is_left(office: Office, receive: Receive) -> None:
    hook = receive()
    ended = office.end(webhook=url(hook, "/hook?who=me"))
    office.settled()
    (got,) = hook.got
    message = Webhook(SECRET).verify(got.body, got.headers)
    assert got.path == "/hook?who=me"
    assert message["type"] == "operation.succeeded"
    assert (message["data"]["id"], message["data"]["result"]) == (ended.id, 7)
    eventually(lambda: not threads())


def test_no_thread_lives_while_nobody_is_to_be_told(office: Office) -> None:
    ended_operation(office.store, notify=False, webhook="http://nowhere.test/")
    office.notices.sweep()
    assert not threads()
    assert office.marks() == []


@pytest.mark.parametrize("kind", ["plain", "coroutine", "callable object"])
def test_a_function_of_the_app_gets_the_document(office: Office, kind: str) -> None:
    told: list[dict[str, Any]] = []

    async def coroutine(document: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        told.append(document)

    class Caller:
        async def __call__(self, document: dict[str, Any]) -> None:
            told.append(document)

    kinds = {"plain": told.append, "coroutine": coroutine, "callable object": Caller()}
    office.declare("/digests", on_end=kinds[kind])
    ended = office.end(result={"lines": 3})
    office.settled()
    assert [(it["id"], it["status"], it["result"]) for it in told] == [(ended.id, "succeeded", {"lines": 3})]
    assert told[0]["links"]["self"] == ended.location


@pytest.mark.parametrize("error", [ValueError("planted"), SystemExit(3), StopIteration()])
def test_a_function_that_raises_is_called_again(
    office: Office, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def on_end(document: dict[str, Any]) -> None:
        told.append(document["id"])
        if len(told) < 3:
            raise error

    office.declare("/digests", on_end=on_end)
    ended = office.end()
    eventually(lambda: office.pending()[0].get("attempt") == 2)
    office.later(DELAYS[0])
    eventually(lambda: office.pending()[0].get("attempt") == 3)
    office.later(DELAYS[1])
    office.settled()
    assert told == [ended.id] * 3
    logged = [record for record in caplog.records if "on_end raised" in record.getMessage()]
    assert [record.__dict__["operation"] for record in logged] == [ended.id] * 2


def test_each_is_told_for_itself(office: Office, receive: Receive) -> None:
    """A webhook that fails does not call the function again; and the other way round."""
    hook = receive(Reply(500), Reply(204))
    calls: list[str] = []
    office.declare("/digests", on_end=lambda document: calls.append("good"))
    office.declare("/others", on_end=lambda document: calls.append("bad") or 1 / 0)
    office.end(webhook=url(hook))
    hook.until(1)
    (left,) = office.pending()
    assert left == {"attempt": 2, "called": True}
    office.later(DELAYS[0])
    office.settled()
    office.end(declaration="/others", webhook=url(hook))
    hook.until(3)
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [2])
    assert office.pending() == [{"attempt": 2, "sent": True}]
    office.later(DELAYS[0])
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [3])
    assert (len(hook.got), calls) == (3, ["good", "bad", "bad"])


def test_retries_follow_the_schedule_with_the_same_id(office: Office, receive: Receive, clock: Clock) -> None:
    hook = receive(Reply(500), Reply(301, {"location": "/elsewhere"}), Reply(404), Reply(200))
    office.end(webhook=url(hook))
    for attempt in (1, 2, 3):
        hook.until(attempt)
        eventually(lambda attempt=attempt: [it.get("attempt") for it in office.pending()] == [attempt + 1])
        office.later(DELAYS[attempt - 1] - 1)
        office.later(1)
    hook.until(4)
    office.settled()
    assert {got.path for got in hook.got} == {"/hook"}
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    stamps = [int(got.headers["webhook-timestamp"]) for got in hook.got]
    assert [round(b - a) for a, b in pairwise(stamps)] == list(DELAYS[:3])


def test_it_is_given_up_after_the_last_attempt(
    office: Office, receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    hook = receive(Reply(500))
    ended = office.end(webhook=url(hook, "/hook?token=planted"))
    for attempt, delay in enumerate(DELAYS, start=1):
        hook.until(attempt)
        eventually(lambda attempt=attempt: [it.get("attempt") for it in office.pending()] == [attempt + 1])
        office.later(delay)
    office.settled()
    assert len(hook.got) == ATTEMPTS
    (given_up,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ended.id in given_up.getMessage()
    assert "planted" not in caplog.text


def test_410_ends_it(office: Office, receive: Receive) -> None:
    hook = receive(Reply(410))
    office.end(webhook=url(hook))
    office.settled()
    office.later(DELAYS[0])
    eventually(lambda: not threads())
    assert len(hook.got) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(office: Office, receive: Receive, status: int) -> None:
    hook = receive(Reply(status, {"retry-after": "3600"}), Reply(204))
    office.end(webhook=url(hook))
    hook.until(1)
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [2])
    office.later(3599)
    mark = office.marks()[0]
    office.declare("/others", on_end=lambda document: None)
    office.end(declaration="/others")
    eventually(lambda: office.marks() == [mark])  # the thread has looked, and left it
    assert len(hook.got) == 1
    office.later(1)
    office.settled()
    assert len(hook.got) == 2


def test_what_was_deleted_is_not_told(office: Office, receive: Receive) -> None:
    hook = receive(Reply(500))
    ended = office.end(webhook=url(hook))
    hook.until(1)
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [2])
    office.store.forget(ended.id, "deleted")
    office.later(DELAYS[0])
    office.settled()
    assert len(hook.got) == 1


def test_what_has_expired_is_not_told(office: Office, receive: Receive) -> None:
    hook = receive(Reply(500))
    office.end(webhook=url(hook), retention=4.0)
    hook.until(1)
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [2])
    office.later(DELAYS[0])
    office.settled()
    assert len(hook.got) == 1


def test_a_notice_for_nobody_is_dropped(office: Office) -> None:
    office.end(webhook=None)
    office.settled()


def test_a_declaration_of_another_version_waits_for_it(
    new_office: MakeOffice, office: Office, receive: Receive
) -> None:
    hook, witness = receive(), receive()
    mine = ended_operation(office.store, declaration="/new", webhook=url(hook))
    office.end(webhook=url(witness))
    witness.until(1)
    eventually(lambda: not threads())
    assert hook.got == []
    newer = new_office()
    newer.declare("/new")
    newer.notices.sweep()
    newer.settled()
    assert msgspec.json.decode(hook.got[0].body)["data"]["id"] == mine.id


def test_a_mark_before_its_end_waits_and_one_of_a_crash_goes(office: Office, clock: Clock) -> None:
    queued = ended_operation(office.store, notify=False)
    record = office.backend.load(f"operation/{queued.id}")
    assert record is not None
    unended = msgspec.json.decode(record.value)
    unended.update(status="running", finished=None)
    office.backend.save(record.name, msgspec.json.encode(unended), version=record.version)
    mark = f"operation-notice/{int(clock.now * 1000):015d}/{queued.id}"
    office.backend.save(mark, b"", version=0)
    hook = HookReceiver()
    office.end(webhook=url(hook))
    hook.until(1)
    eventually(lambda: office.marks() == [mark])
    office.later(61)
    office.settled()
    hook.stop()


def test_a_refused_address_is_logged_and_not_tried_again(
    new_office: MakeOffice, receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    hook = receive()
    names = resolver(hooks_test=["127.0.0.1", "169.254.169.254"])
    office = new_office(resolve=names)
    ended = office.end(webhook=f"http://hooks.test:{hook.port}/?token=planted")
    office.settled()
    assert hook.got == []
    (refused,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "169.254.169.254" in refused.getMessage()
    assert refused.__dict__["operation"] == ended.id
    assert "planted" not in caplog.text


def test_without_the_secret_it_waits_for_it(new_office: MakeOffice, receive: Receive) -> None:
    """Taken out of the settings by mistake: nothing goes out unsigned, and nothing is lost."""
    hook = receive()
    bare = new_office(settings={"webhook_secret": None})
    bare.end(webhook=url(hook))
    eventually(lambda: [it.get("attempt") for it in bare.pending()] == [2])
    assert hook.got == []
    whole = new_office()
    whole.later(DELAYS[0])
    whole.settled()
    assert len(hook.got) == 1


def test_slow_ones_do_not_starve_the_others(new_office: MakeOffice, receive: Receive) -> None:
    release = threading.Event()
    slow = receive(Reply(act=lambda handler: release.wait(30) and None))
    fast = receive()
    names = resolver(slow_test=["127.0.0.1"], fast_test=["127.0.0.1"])
    office = new_office(resolve=names)
    try:
        for _ in range(20):
            ended_operation(office.store, webhook=f"http://slow.test:{slow.port}/")
        office.notices.wake()
        slow.until(4)
        for _ in range(20):
            ended_operation(office.store, webhook=f"http://fast.test:{fast.port}/")
        office.notices.wake()
        fast.until(20)
        assert len(slow.got) == 4
    finally:
        release.set()


def test_at_the_end_what_is_due_is_still_told(office: Office, receive: Receive) -> None:
    def slowly(handler: BaseHTTPRequestHandler) -> None:
        begun.set()
        release.wait(10)
        handler.send_response(204)
        handler.end_headers()

    begun, release = threading.Event(), threading.Event()
    hook = receive(Reply(act=slowly))
    office.end(webhook=url(hook))
    assert begun.wait(10)
    closing = threading.Thread(target=office.notices.close, args=(20,))
    closing.start()
    release.set()
    closing.join(20)
    assert not closing.is_alive()
    assert office.marks() == []
    assert not threads()


def test_what_is_cut_off_at_the_end_is_the_next_processs(
    new_office: MakeOffice, office: Office, receive: Receive
) -> None:
    release = threading.Event()
    hook = receive(Reply(act=lambda handler: release.wait(30) and None), Reply(204))
    office.end(webhook=url(hook))
    hook.until(1)
    office.notices.close(0)
    assert office.pending() == [{}]
    new_office().notices.sweep()
    hook.until(2)
    release.set()
    office.settled()
    assert hook.got[0].headers["webhook-id"] == hook.got[1].headers["webhook-id"]


def test_a_retry_to_come_does_not_delay_the_end_and_survives_it(
    new_office: MakeOffice, office: Office, receive: Receive
) -> None:
    hook = receive(Reply(500), Reply(204))
    office.end(webhook=url(hook))
    hook.until(1)
    eventually(lambda: [it.get("attempt") for it in office.pending()] == [2])
    assert threads()
    office.notices.close(30)
    assert not threads()
    other = new_office()
    other.notices.sweep()
    other.later(DELAYS[0])
    hook.until(2)
    other.settled()


def test_after_an_end_it_can_begin_anew(office: Office, receive: Receive) -> None:
    hook = receive()
    for count in (1, 2):
        office.end(webhook=url(hook))
        hook.until(count)
        office.notices.close(20)
    assert office.marks() == []


def test_a_retry_of_the_real_clock_comes_by_itself(
    new_office: MakeOffice, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing wakes the thread but the time."""
    import time

    from restive.operations.notices import schedule

    monkeypatch.setattr(schedule, "DELAYS", (0.1,) * 9)
    hook = receive(Reply(500), Reply(500), Reply(204))
    office = new_office(clock=time.time)
    office.end(webhook=url(hook))
    hook.until(3)
    office.settled()
    eventually(lambda: not threads())


def test_a_new_process_waits_for_the_retries_of_an_old_one(new_office: MakeOffice, receive: Receive) -> None:
    import time

    hook = receive()
    office = new_office(clock=time.time)
    ended = ended_operation(office.store, webhook=url(hook))
    (mark,) = office.marks()
    office.backend.delete(mark)
    due = time.time() + 0.3
    office.backend.save(f"operation-notice/{int(due * 1000):015d}/{ended.id}", b'{"attempt":4}', version=0)
    office.notices.sweep()
    (got,) = hook.until(1)
    assert int(got.headers["webhook-timestamp"]) >= int(due)
    office.settled()


def test_of_two_processes_one_tells_each(new_office: MakeOffice, receive: Receive) -> None:
    hook = receive()
    one, two = new_office(), new_office()
    ended = {ended_operation(one.store, webhook=url(hook)).id for _ in range(40)}
    one.notices.wake()
    two.notices.wake()
    one.settled()
    told = [msgspec.json.decode(got.body)["data"]["id"] for got in hook.got]
    assert sorted(told) == sorted(ended)


def test_the_claim_of_a_dead_process_runs_out(office: Office, receive: Receive, clock: Clock) -> None:
    hook = receive()
    ended_operation(office.store, webhook=url(hook))
    (mark,) = office.marks()
    found = office.backend.load(mark)
    assert found is not None
    claim = {"holder": "dead", "until": clock.now + 60}
    office.backend.save(mark, msgspec.json.encode(claim), version=found.version)
    office.notices.wake()
    office.later(59)
    witness = receive()
    office.end(webhook=url(witness))
    witness.until(1)
    eventually(lambda: office.marks() == [mark])
    assert hook.got == []
    office.later(1)
    office.settled()
    assert len(hook.got) == 1


POISON = {
    "pickle": b"\x80\x04N.",
    "array": b"[]",
    "text": b'{"attempt": "x"}',
    "binary": b"\xff" * 100,
    "too many": b'{"attempt": 99}',
    "too few": b'{"attempt": -5}',
    "held for ever": b'{"holder": "x", "until": 1e18}',
}


@pytest.mark.parametrize("kind", POISON)
def test_poisoned_records_harm_nobody(office: Office, receive: Receive, kind: str) -> None:
    """What does not say how far it is begins anew; what does not say of which operation is dropped."""
    value = POISON[kind]
    hook = receive(Reply(500))
    bad = ended_operation(office.store, webhook=url(hook))
    (mark,) = office.marks()
    found = office.backend.load(mark)
    assert found is not None
    office.backend.save(mark, value, version=found.version)
    early = f"operation-notice/{1:015d}/"
    for name in ("operation-notice/x", early, f"{early}../x", f"{early}{bad.id[::-1]}"):
        office.backend.save(name, value, version=0)
    good = receive()
    ended = office.end(webhook=url(good))
    (got,) = good.until(1)
    assert msgspec.json.decode(got.body)["data"]["id"] == ended.id
    eventually(lambda: [bad.id in name for name in office.marks()] == [True])
    assert office.pending() == [{"attempt": 2, "called": True}]


def test_a_backend_that_fails_is_asked_again(clock: Clock, receive: Receive) -> None:
    class Failing(MemoryBackend):
        failures = 2

        def scan(self, prefix: str, *, before: str | None = None, limit: int = 100) -> list[Record]:
            if self.failures and threading.current_thread().name == "restive-notices":
                self.failures -= 1
                raise BackendUnavailable("away")
            return super().scan(prefix, before=before, limit=limit)

    backend = Failing()
    office = Office(backend, clock)
    hook = receive()
    office.end(webhook=url(hook))
    eventually(lambda: backend.failures == 1)
    office.later(5)
    eventually(lambda: backend.failures == 0)
    office.later(5)
    hook.until(1)
    office.settled()
    office.notices.close(0)


def test_many_threads_may_wake_it(office: Office, receive: Receive) -> None:
    hook = receive()
    wakers = [
        threading.Thread(target=lambda: [office.end(webhook=url(hook)) for _ in range(5)]) for _ in range(8)
    ]
    for waker in wakers:
        waker.start()
    for waker in wakers:
        waker.join()
    hook.until(40)
    office.settled()
    assert len(hook.got) == 40
    eventually(lambda: not threads())
