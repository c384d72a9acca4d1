"""Operations in real Celery workers, with a real Redis as the broker: what works when nothing fails."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading

import pytest
import redis
from celery import Celery

from restive import Restive
from restive.errors import SettingError


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
async def test_functions_run_in_a_worker(elsewhere, pool):
    bench = elsewhere()
    node = bench.node()
    worker = await bench.worker(pool)
    ended = await node.run("/doubles?number=21")
    assert (ended["status"], ended["result"]) == ("succeeded", 42)
    assert (await node.run("/adoubles?number=4"))["progress"]["completed"] == 1
    assert (await node.run("/mapping?to=50"))["result"] == sum(n * n for n in range(50))
    url = await node.post("/waits", params={"path": str(bench.folder / "go")})
    pid = await node.pid(url)
    assert pid != os.getpid()
    assert (pid == worker.pid) == (pool != "prefork")
    (bench.folder / "go").touch()
    assert (await node.done(url))["result"] == "seen"


async def test_parts_uploads_and_long_results_in_a_common_folder(common):
    bench, _ = common
    node = bench.node()
    ended = await node.run("/copies", files={"file": ("a.bin", b"x" * 100_000)})
    copy = await node.client.get(f"{ended['links']['parts']}/copy.bin")
    assert copy.content == b"x" * 100_000
    assert copy.headers["etag"]
    ended = await node.run("/long?size=100000")
    assert ended["result"] is None
    assert (await node.client.get(ended["links"]["result"])).json() == "x" * 100_000
    parts = await node.run("/parts")
    assert parts["parts"] == 3
    assert (await node.client.get(f"{parts['links']['parts']}/left-open.txt")).text == "gamma"


async def test_other_nodes_hear_read_and_cancel(common, tmp_path):
    bench, _ = common
    first, second = bench.node(), bench.node()
    heard: list[str] = []
    told = threading.Event()

    def hear(payload):
        heard.append(str(payload))
        told.set()

    stop = second.live.backend.listen(hear)
    url = await first.post("/waits", params={"path": str(tmp_path / "go")})
    await second.until(url, lambda it: it["status"] == "running" and it["progress"]["message"])
    assert (await second.client.post(f"{url}/cancel")).status_code == 202
    ended = await first.done(url, 3)
    assert ended["status"] == "canceled"
    assert any(url in each for each in heard)
    stop()


async def test_a_message_says_which_attempt_and_nothing_else(elsewhere, redis_url):
    bench = elsewhere()
    nodes = [bench.node() for _ in range(3)]
    url = await nodes[0].post("/doubles?number=21")
    broker = redis.Redis.from_url(redis_url)
    while not broker.llen(bench.queue):
        await asyncio.sleep(0.01)
    for node in nodes:  # nobody sends it again by looking at it
        waiting = await node.read(url)
        assert (waiting["status"], waiting["queue"]["position"]) == ("queued", None)
        await asyncio.to_thread(node.service.runner._sweeping.do)
    (message,) = broker.lrange(bench.queue, 0, -1)
    envelope = json.loads(message)
    assert envelope["content-type"] == "application/json"
    assert envelope["headers"]["task"] == "restive.run"
    args, kwargs, _ = json.loads(base64.b64decode(envelope["body"]))
    assert args == []
    assert kwargs == {"app": "restive", "path": "/doubles", "id": url.rpartition("/")[2], "attempt": 1}


async def test_each_is_run_once_however_often_it_is_delivered(elsewhere):
    """Twelve at once get each message, and each message comes twelve times."""
    bench = elsewhere()
    node = bench.node()
    urls = [await node.post(f"/doubles?number={number}") for number in range(12)]
    desk = node.service.runner.engines.of(node.live._operations._declared["/doubles"])
    for _ in range(12):
        for url in urls:
            said = {"app": "restive", "path": "/doubles", "id": url.rpartition("/")[2], "attempt": 1}
            desk._task.apply_async(kwargs=said)
    worker = await bench.worker("threads", 12)
    for number, url in enumerate(urls):
        assert (await node.done(url))["result"] == 2 * number
    while worker.said().count("succeeded in") < 12 * 13:
        await asyncio.sleep(0.05)
    said = worker.said()
    assert said.count(": True") == 12
    assert said.count(": False") == 12 * 12


async def test_failures_are_told_without_internals_and_tried_again(common):
    bench, worker = common
    node = bench.node()
    raised = await node.run("/raising")
    assert raised["error"]["detail"] == "raising() raised LookupError."
    assert raised["progress"]["completed"] == 3
    assert "nothing here" in worker.said()
    assert (await node.run("/refusing"))["error"]["hint"] == 7
    again = await node.run("/failing")
    assert (again["status"], again["attempt"], again["result"]) == ("succeeded", 2, 2)
    assert "secret" not in json.dumps(again)


async def test_what_was_kept_long_enough_goes_with_all_its_records(elsewhere):
    bench = elsewhere(ELSEWHERE_LEASE="0.6")
    node = bench.node()
    await bench.worker("solo")
    url = await node.post("/brief?number=1")
    await node.until(url, lambda it: it.get("status") in {"succeeded", 410})
    await node.until(url, lambda it: it["status"] == 410)
    now = node.service.store.clock()
    for later in (now + 100_000, now + 300_000):
        node.service.store.clock = lambda later=later: later
        await asyncio.to_thread(node.service.runner._sweeping.do)
    assert [each.name for each in node.live.backend.scan("operation")] == []


# Limits


async def test_concurrency_holds_back_what_is_not_sent(common, tmp_path):
    bench, _ = common
    node = bench.node()
    paths = [tmp_path / f"go-{number}" for number in range(2)]
    first, second = [await node.post("/one", params={"path": str(path)}) for path in paths]
    await node.pid(first)
    waiting = await node.read(second)
    assert (waiting["status"], waiting["queue"]["position"]) == ("queued", 1)
    paths[1].touch()
    paths[0].touch()
    assert (await node.done(first))["status"] == "succeeded"
    assert (await node.done(second))["status"] == "succeeded"


async def test_what_waits_elsewhere_counts(elsewhere):
    bench = elsewhere()
    node = bench.node(max_queued=3, owner_queued=2)
    go = {"path": str(bench.folder / "go")}
    owned = [await node.post("/owned", params=go) for _ in range(2)]
    refused = await node.client.post("/owned", params=go)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    await node.post("/waits", params=go)
    assert (await node.client.post("/waits", params=go)).status_code == 503
    (bench.folder / "go").touch()
    await bench.worker("threads")
    for url in owned:
        assert (await node.done(url))["status"] == "succeeded"
    await node.run("/doubles?number=1")


# Cancel


async def test_one_that_nobody_has_begun_is_canceled_at_once(elsewhere):
    bench = elsewhere()
    node = bench.node()
    ran = bench.folder / "go"
    url = await node.post("/waits", params={"path": str(ran)})
    assert (await node.client.post(f"{url}/cancel")).status_code == 200
    deleted = await node.post("/waits", params={"path": str(ran)})
    assert (await node.client.delete(deleted)).status_code == 204
    await bench.worker("solo")
    await node.run("/doubles?number=1")  # behind them
    assert (await node.read(url))["status"] == "canceled"
    assert (await node.client.get(deleted)).status_code == 410
    assert (await node.read(url))["started"] is None


@pytest.mark.parametrize("function", ["/waits", "/awaits"])
async def test_a_cancel_reaches_the_function(common, function, tmp_path):
    bench, _ = common
    node = bench.node()
    url = await node.post(function, params={"path": str(tmp_path / "go")})
    await node.pid(url)
    await node.client.post(f"{url}/cancel")
    assert (await node.done(url, 3))["status"] == "canceled"


@pytest.mark.parametrize(("function", "status"), [("/deaf", "canceled"), ("/late", "failed")])
async def test_a_function_that_does_not_end_loses_its_process(elsewhere, function, status):
    bench = elsewhere()
    node = bench.node()
    await bench.worker("prefork", 1)
    url = await node.post(function, params={"path": str(bench.folder / "go")})
    pid = await node.pid(url)
    if function == "/deaf":
        await node.client.post(f"{url}/cancel")
    assert (await node.done(url))["status"] == status
    assert (await node.run("/doubles?number=1"))["result"] == 2
    assert not os.path.exists(f"/proc/{pid}")


# What cannot work


@pytest.mark.parametrize("backend", ["memory:", "auto"])
def test_a_backend_that_no_worker_reaches_is_refused(backend, monkeypatch):
    monkeypatch.delenv("RESTIVE_BACKEND", raising=False)
    live = Restive(backend=backend, engine=Celery("x"))
    with pytest.raises(SettingError, match="RESTIVE_BACKEND"):
        live.operation("/doubles")(lambda number: number)


def test_two_of_one_name_are_refused(tmp_path):
    celery, url = Celery("x"), f"sqlite:///{tmp_path}/it.db"
    first = Restive(backend=url, engine=celery)
    first.operation("/doubles")(len_of)
    other = Restive(backend=url, engine=celery, name="other")
    other.operation("/doubles")(len_of)
    with pytest.raises(SettingError, match="name="):
        Restive(backend=url, engine=celery).operation("/doubles")(len_of)
    assert celery.tasks["restive.run"].ignore_result


def len_of(text: str) -> int:
    return len(text)


async def test_a_worker_that_does_not_know_the_operation_says_so(elsewhere):
    bench = elsewhere()
    node = bench.node(name="other")
    worker = await bench.worker("solo")
    url = await node.post("/doubles?number=1")
    while "import the module" not in worker.said():
        await asyncio.sleep(0.05)
    assert (await node.read(url))["status"] == "queued"
