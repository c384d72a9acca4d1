"""Operations in Celery workers while workers are killed or stopped, and brokers and messages are lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from engines.redis_server import RedisServer
from restive.operations import record
from restive.operations.record import INTERRUPTED


def home_of(bench) -> dict[str, str]:
    """A worker on another machine, as far as its files can tell."""
    return {"RESTIVE_HOME": str(bench.folder / "other-home")}


@pytest.mark.parametrize("acks_late", ["", "yes"])
async def test_a_killed_child_is_noticed_and_another_attempt_follows(elsewhere, acks_late):
    bench = elsewhere(ELSEWHERE_ACKS_LATE=acks_late)
    node = bench.node()
    await bench.worker("prefork")
    go = bench.folder / "go"
    failing = await node.post("/waits", params={"path": str(go)})
    retried = await node.post("/again", params={"path": str(go)})
    victims = [await node.pid(failing), await node.pid(retried)]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    ended = await node.done(failing, 6)
    assert (ended["status"], ended["error"]["type"]) == ("failed", INTERRUPTED)
    await node.until(retried, lambda it: it["attempt"] == 2 and it["status"] == "running")
    assert await node.pid(retried) not in victims
    go.touch()
    ended = await node.done(retried)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)


async def test_a_worker_of_another_machine_is_missed_within_its_lease(elsewhere):
    """Nothing but the lease tells of its end; the clock of the node is an hour ahead."""
    bench = elsewhere(ELSEWHERE_LEASE="1")
    node = bench.node()
    clock = node.service.store.clock
    node.service.store.clock = lambda: clock() + 3600
    worker = await bench.worker("prefork", **home_of(bench))
    go = bench.folder / "go"
    url = await node.post("/again", params={"path": str(go)})
    await node.pid(url)
    begun = time.monotonic()
    while time.monotonic() < begun + 2.5:  # twice its lease, and more: a live one is left alone
        found = await node.read(url)
        assert (found["status"], found["attempt"]) == ("running", 1)
        await asyncio.sleep(0.1)
    worker.stop()
    await node.until(url, lambda it: it["attempt"] == 2, 1 + 2)
    go.touch()
    await bench.worker("prefork", **home_of(bench))
    assert (await node.done(url))["attempt"] == 2


async def test_the_late_result_of_a_stopped_worker_is_refused(elsewhere, monkeypatch):
    monkeypatch.setattr(record, "RESEND_AFTER", 0.5)  # the stopped one's parent takes the next message too
    bench = elsewhere(ELSEWHERE_LEASE="1")
    node = bench.node()
    worker = await bench.worker("prefork", 1)
    go = bench.folder / "go"
    url = await node.post("/odds", params={"path": str(go)})
    pid = await node.pid(url)
    os.kill(pid, signal.SIGSTOP)
    await node.until(url, lambda it: it["attempt"] == 2, 10)
    go.touch()
    await bench.worker("prefork", 1)
    ended = await node.done(url)
    # Its second attempt wrote other bytes under a name that was published: it is refused, and says so.
    assert (ended["status"], ended["attempt"], ended["error"]["status"]) == ("failed", 2, 409)
    os.kill(pid, signal.SIGCONT)
    while "came too late" not in worker.said() and "is interrupted" not in worker.said():
        await asyncio.sleep(0.05)
    assert await node.read(url) == ended
    assert (await node.client.get(f"{url}/parts/it.txt")).text == "1"


async def test_a_broker_that_is_away_costs_time_and_no_operation(elsewhere, tmp_path, caplog):
    server = RedisServer(tmp_path / "broker")
    bench = elsewhere(ELSEWHERE_BROKER=server.url)
    node = bench.node()
    try:
        urls = [await node.post(f"/doubles?number={number}") for number in range(20)]
        assert (await node.read(urls[0]))["status"] == "queued"
        while "stored and not sent" not in caplog.text:
            await asyncio.sleep(0.01)
        server.start()
        worker = await bench.worker("threads")
        for number, url in enumerate(urls):
            assert (await node.done(url))["result"] == 2 * number
        assert caplog.text.count("stored and not sent") == 1
        assert "are sent again" in caplog.text
        server.kill()
        between = await node.post("/doubles?number=5")
        server.start()
        assert (await node.done(between, 30))["result"] == 10
        assert worker.process.poll() is None
    finally:
        await bench.close()
        bench.workers, bench.nodes = [], []
        server.stop()


async def test_a_lost_message_is_sent_again(elsewhere, redis_url, monkeypatch):
    monkeypatch.setattr(record, "RESEND_AFTER", 0.5)
    bench = elsewhere(ELSEWHERE_LEASE="0.6")
    nodes = [bench.node(), bench.node()]
    url = await nodes[0].post("/doubles?number=3")
    broker = redis.Redis.from_url(redis_url)
    while not broker.delete(bench.queue):
        await asyncio.sleep(0.01)
    await asyncio.to_thread(nodes[1].service.runner.resume)
    await bench.worker("solo")
    assert (await nodes[1].done(url))["result"] == 6
    found = nodes[0].service.store.load(url.rpartition("/")[2])
    assert found.sends >= 2


async def test_a_server_that_dies_before_it_has_sent_costs_no_operation(elsewhere, monkeypatch):
    monkeypatch.setattr(record, "RESEND_AFTER", 0.3)
    bench = elsewhere(ELSEWHERE_LEASE="0.6")
    dead, living = bench.node(), bench.node()
    dead.service.runner.enqueue = lambda operation: None
    url = await dead.post("/doubles?number=3")
    await asyncio.to_thread(dead.service.runner.drain, 0)
    await asyncio.to_thread(living.service.runner.resume)
    await bench.worker("solo")
    assert (await living.done(url))["result"] == 6


# Files on other machines


async def test_files_reach_workers_and_servers_of_other_machines(elsewhere):
    parts = "file-parts"
    bench = elsewhere()
    depot = bench.folder / parts
    bench.env["ELSEWHERE_PARTS"] = str(depot)
    node, third = bench.node(), bench.node(home=str(bench.folder / "third-home"))
    await bench.worker("threads", **home_of(bench))
    ended = await node.run("/copies", files={"file": ("a.bin", b"x" * 100_000)})
    assert ended["status"] == "succeeded", ended
    assert str(bench.folder / "other-home") in ended["result"]
    long = await node.run("/long?size=100000")
    for each in (node, third):
        copy = await each.client.get(f"{ended['links']['parts']}/copy.bin")
        assert copy.content == b"x" * 100_000
        part = await each.client.get(f"{ended['links']['parts']}/copy.bin", headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, b"x" * 10)
        assert (await each.client.get(f"{ended['links']['parts']}/none.bin")).status_code == 404
        assert (await each.client.get(long["links"]["result"])).json() == "x" * 100_000
    assert list((bench.folder / "other-home" / "operations").iterdir()) == []
    for url in (ended["links"]["self"], long["links"]["self"]):
        assert (await third.client.delete(url)).status_code == 204
    assert list(depot.iterdir()) == []


async def test_a_later_attempt_on_another_machine_knows_what_an_earlier_one_published(elsewhere, monkeypatch):
    monkeypatch.setattr(record, "RESEND_AFTER", 0.5)  # a killed worker takes what it has fetched with it
    bench = elsewhere(ELSEWHERE_LEASE="1")
    bench.env["ELSEWHERE_PARTS"] = str(bench.folder / "depot")
    node, go = bench.node(), bench.folder / "go"
    first = await bench.worker("prefork", 1, **home_of(bench))
    url = await node.post("/halves", params={"path": str(go)})
    next_one = await node.post("/doubles?number=2")
    await node.pid(url)
    first.stop()
    await node.until(url, lambda it: it["attempt"] == 2, 8)
    go.touch()
    await bench.worker("prefork", 1, RESTIVE_HOME=str(bench.folder / "third-home"))
    ended = await node.done(url)
    parts = [f"{url}/parts/{name}.txt" for name in ("first", "second")]
    assert (ended["status"], ended["result"]) == ("succeeded", parts), ended
    assert [(await node.client.get(part)).text for part in parts] == ["one", "two"]
    listed = (await node.client.get(f"{url}/parts")).json()
    assert [part["name"] for part in listed] == ["first.txt", "second.txt"]
    assert (await node.done(next_one))["status"] == "succeeded"
    # What the killed one left on its machine goes with its next process there.
    left = bench.folder / "other-home" / "operations"
    assert list(left.iterdir()) != []
    await bench.worker("solo", **home_of(bench))
    while list(left.iterdir()):
        await node.run("/doubles?number=1")


async def test_without_a_common_place_files_are_refused_and_all_else_works(elsewhere):
    bench = elsewhere()
    node = bench.node()
    worker = await bench.worker("threads", **home_of(bench))
    assert (await node.run("/doubles?number=1"))["result"] == 2
    for ended in (await node.run("/sizes", files={"file": b"abc"}), await node.run("/parts")):
        assert ended["status"] == "failed"
    long = await node.run("/long?size=100000")
    assert long["status"] == "failed"
    assert worker.said().count("set parts= to a place that both reach") >= 3


@pytest.mark.parametrize("pool", ["threads"])
async def test_a_stopped_worker_of_another_machine_finds_its_lease_taken(elsewhere, pool):
    """Its process lives, and may go on after its lease: what it says then is refused."""
    bench = elsewhere(ELSEWHERE_LEASE="1")
    node = bench.node()
    worker = await bench.worker(pool, **home_of(bench))
    url = await node.post("/ticks?seconds=60")
    pid = await node.pid(url)
    os.kill(pid, signal.SIGSTOP)
    ended = await node.done(url, 6)
    assert ended["error"]["type"] == INTERRUPTED
    os.kill(pid, signal.SIGCONT)
    while "interrupted" not in worker.said():
        await asyncio.sleep(0.05)
    assert await node.read(url) == ended
    assert Path(f"/proc/{pid}").exists()


async def test_a_run_survives_a_backend_that_goes_and_comes_back(elsewhere, tmp_path):
    """Its parts are listed once each, its lease holds, and its end is stored."""
    server = RedisServer(tmp_path / "backend")
    server.start()
    bench = elsewhere(ELSEWHERE_BACKEND=server.url, ELSEWHERE_LEASE="10")
    node = bench.node()
    try:
        await bench.worker("threads")
        url = await node.post("/parted?to=60")
        await node.until(url, lambda it: it["parts"] > 5)
        for _ in range(2):
            server.kill()
            await asyncio.sleep(0.3)
            server.start()
            before = (await node.until(url, lambda it: "parts" in it))["parts"]
            await node.until(url, lambda it, before=before: it.get("parts", 0) > before + 3)
        ended = await node.until(url, lambda it: it.get("status") == "succeeded", 30)
        assert (ended["attempt"], ended["parts"], ended["result"]) == (1, 60, 60)
        listed = (await node.client.get(f"{url}/parts")).json()
        assert [part["name"] for part in listed] == [f"{number}.txt" for number in range(60)]
    finally:
        await bench.close()
        bench.workers, bench.nodes = [], []
        server.stop()
