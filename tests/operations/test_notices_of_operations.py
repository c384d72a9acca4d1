"""Operations that tell of their end: from the submission to the receiver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hook_receivers import LOOPBACK, SECRET, HookReceiver, eventually
from standardwebhooks import Webhook

from restive.errors import SettingError
from restive.operations import Operation

if TYPE_CHECKING:
    from operation_bench import Bench

NewBench = Callable[..., "Bench"]


@pytest.fixture
def hook() -> Iterator[HookReceiver]:
    receiver = HookReceiver()
    yield receiver
    receiver.stop()


async def told(hook: HookReceiver, count: int) -> list[dict[str, Any]]:
    got = await asyncio.to_thread(hook.until, count)
    return [Webhook(SECRET).verify(it.body, it.headers) for it in got]


async def test_every_end_is_told(new_bench: NewBench, hook: HookReceiver, gate: threading.Event) -> None:
    bench = new_bench(**LOOPBACK)
    url = f"http://127.0.0.1:{hook.port}/"

    @bench.operation("/good", webhook=url)
    def good() -> int:
        return 7

    @bench.operation("/bad", webhook=url)
    def bad() -> None:
        raise ValueError("planted")

    @bench.operation("/long", webhook=url)
    def long(op: Operation) -> None:
        gate.wait(10)
        op.check()

    documents = [await bench.run("/good"), await bench.run("/bad")]
    location = (await bench.client.post("/long")).headers["location"]
    await bench.until(location, lambda it: it["status"] == "running")
    await bench.client.post(f"{location}/cancel")
    gate.set()
    documents.append(await bench.done(location))
    assert [it["status"] for it in documents] == ["succeeded", "failed", "canceled"]
    messages = await told(hook, 3)
    assert {it["data"]["id"]: it["data"] for it in messages} == {it["id"]: it for it in documents}
    assert all(it["type"] == f"operation.{it['data']['status']}" for it in messages)
    assert b"planted" not in b"".join(got.body for got in hook.got)


async def test_a_retry_is_no_end(new_bench: NewBench, hook: HookReceiver) -> None:
    bench = new_bench(**LOOPBACK)

    @bench.operation("/tries", webhook=f"http://127.0.0.1:{hook.port}/", retries=1, backoff=0.0)
    def tries(op: Operation) -> int:
        if op.attempt == 1:
            raise ValueError
        return op.attempt

    document = await bench.run("/tries")
    (message,) = await told(hook, 1)
    assert message["data"] == document
    assert document["result"] == 2
    await bench.settled()
    assert len(hook.got) == 1


async def test_the_submitter_may_choose_the_receiver(new_bench: NewBench, hook: HookReceiver) -> None:
    bench = new_bench(**LOOPBACK)

    def callback(callback: str | None = None) -> str | None:
        return callback

    @bench.operation("/sums", webhook=callback)
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    await bench.run("/sums", json=[1, 2])
    url = f"http://127.0.0.1:{hook.port}/mine?x=1"
    await bench.run("/sums", json=[3, 4], params={"callback": url})
    (message,) = await told(hook, 1)
    assert (hook.got[0].path, message["data"]["result"]) == ("/mine?x=1", 7)
    refused = await bench.client.post("/sums", json=[5], params={"callback": "http://10.0.0.1/"})
    assert refused.status_code == 422
    assert "10.0.0.1 is no public address" in refused.json()["detail"]


async def test_on_end_is_called_with_the_document(new_bench: NewBench) -> None:
    bench = new_bench()
    ends: list[dict[str, Any]] = []

    @bench.operation("/sums", on_end=ends.append)
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    document = await bench.run("/sums", json=[1, 2])
    await asyncio.to_thread(eventually, lambda: ends)
    assert ends == [document]


async def test_what_was_not_told_the_next_process_tells(new_bench: NewBench) -> None:
    """It takes up what is left at its first request."""
    ends: list[str] = []

    def declare(bench: Bench, on_end: Any) -> None:
        @bench.operation("/sums", on_end=on_end)
        def add(numbers: list[int]) -> int:
            return sum(numbers)

    bench = new_bench()
    hanging = threading.Event()
    release = threading.Event()

    def hang(document: dict[str, Any]) -> None:
        hanging.set()
        release.wait(30)

    declare(bench, hang)
    document = await bench.run("/sums", json=[1])
    assert await asyncio.to_thread(hanging.wait, 10)
    await asyncio.to_thread(bench.operations.drain, 0)
    later = new_bench()
    declare(later, lambda document: ends.append(document["id"]))
    await later.client.get(document["links"]["self"])
    await asyncio.to_thread(eventually, lambda: ends == [document["id"]])
    release.set()


def test_a_webhook_without_a_secret_is_refused_when_it_is_declared(new_bench: NewBench) -> None:
    with pytest.raises(SettingError, match="webhook_secret="):
        new_bench().operation("/sums", webhook="https://hooks.example/")(lambda: None)
