"""Tasks of Celery that were there before, as operations: nothing of them or of their workers is changed."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from elsewhere_bench import Bench, Node, Worker
from fastapi import FastAPI, UploadFile

from engines.redis_server import RedisServer
from restive import Operation, Restive
from restive.errors import SettingError

PATHS = ("double", "later", "area", "thumbnails", "raising", "flaky", "long", "odd", "counted")


class TaskBench(Bench):
    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder, {"ELSEWHERE_MODULE": "given_tasks", **env})

    def module(self) -> Any:
        """The tasks, as a process with this bench's environment has them."""
        if self.app is None:
            before = dict(os.environ)
            os.environ.update(self.env)
            sys.modules.pop("given_tasks", None)
            try:
                self.app = importlib.import_module("given_tasks")
            finally:
                os.environ.clear()
                os.environ.update(before)
        return self.app

    def node(self, **settings: Any) -> Node:
        module = self.module()
        app = FastAPI()
        options = settings.pop("options", {})
        url = f"sqlite:///{self.folder}/it.db"
        live = Restive(app, **{"backend": url, "lease": 1.0, "stop_grace": 0.5, **settings})
        for name in PATHS:
            live.operation(f"/{name}", **options.get(name, {}))(getattr(module, name))
        made = Node(app, live)
        live._home = self.folder
        self.nodes.append(made)
        return made


def environment(redis_url: str) -> dict[str, str]:
    return {"ELSEWHERE_BROKER": redis_url, "ELSEWHERE_RESULTS": redis_url.removesuffix("/0") + "/1"}


@pytest.fixture(scope="module")
def worker_of_all(tmp_path_factory, redis_url):
    """One worker of eight threads for all tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("tasks")
    bench = TaskBench(folder, environment(redis_url))
    worker = Worker(folder, bench.env, "threads", 8)
    try:
        worker.await_ready()
        yield bench, worker
    finally:
        worker.stop()


@pytest.fixture
async def tasks(tmp_path, redis_url):
    benches: list[TaskBench] = []

    def make(**env: str) -> TaskBench:
        benches.append(TaskBench(tmp_path, {**environment(redis_url), **env}))
        return benches[-1]

    yield make
    for each in benches:
        await each.close()


async def test_a_task_gets_its_arguments_and_its_result_is_seen(common):
    node = common[0].node()
    ended = await node.run("/double?number=21")
    assert (ended["status"], ended["result"]) == ("succeeded", 42)
    assert (await node.client.post("/double?number=many")).status_code == 422
    assert (await node.run("/later?when=2026-01-02T03:04:05"))["result"] == "datetime 2026"
    assert (await node.run("/area", json={"width": 6, "height": 7}))["result"] == 42
    long = await node.run("/long?size=100000")
    assert long["result"] is None
    assert (await node.client.get(long["links"]["result"])).json() == "x" * 100_000
    assert (await node.run("/odd"))["error"]["title"] == "The result cannot be stored"
    described = (await node.client.get("/openapi.json")).json()["paths"]["/double"]["post"]
    assert described["description"] == "Twice the number."


async def test_progress_and_states_are_seen_from_any_node(common, tmp_path):
    bench, _ = common
    first, second = bench.node(), bench.node()
    go = tmp_path / "go"
    url = await first.post("/thumbnails", params={"path": str(go)})
    seen = await second.until(url, lambda it: it["progress"]["completed"] == 3)
    assert seen["status"] == "running"
    assert (seen["progress"]["total"], seen["progress"]["message"]) == (3, "at 2")
    go.touch()
    assert (await second.done(url))["result"] == {"made": 3}


async def test_a_failure_is_told_without_internals(common):
    node = common[0].node()
    ended = await node.run("/raising")
    assert ended["status"] == "failed"
    assert ended["error"]["detail"] == "raising() raised LookupError."
    assert "secret" not in json.dumps(ended)


@pytest.mark.parametrize("extended", ["1", ""])
async def test_retries_are_attempts(tasks, extended):
    bench = tasks(GIVEN_EXTENDED=extended)
    node = bench.node()
    await bench.worker("threads")
    url = await node.post("/flaky", params={"path": str(bench.folder / "runs")})
    between = await node.until(url, lambda it: it["attempt"] == 2)
    assert "secret" not in json.dumps(between)
    ended = await node.done(url)
    assert (ended["status"], ended["result"]) == ("succeeded", 2)
    assert ended["attempt"] == 3 or not extended
    assert (bench.folder / "runs").read_text() == "xx"


async def test_one_that_no_worker_has_fetched_is_revoked(tasks):
    bench = tasks()
    node = bench.node()
    blocker = await node.post("/thumbnails", params={"path": str(bench.folder / "go"), "count": 1})
    worker = await bench.worker("threads", 1)
    await node.until(blocker, lambda it: it["status"] == "running")
    fetched = await node.post("/double?number=1")
    while "double" not in worker.said().partition("ready.")[2]:
        await asyncio.sleep(0.02)
    runs = bench.folder / "runs"
    url = await node.post("/counted", params={"path": str(runs)})
    await node.until(url, lambda _: node.service.store.load(url.rpartition("/")[2]).sends == 2)
    assert (await node.client.post(f"{url}/cancel")).status_code == 202
    assert (await node.done(url))["status"] == "canceled"
    (bench.folder / "go").touch()
    assert (await node.done(blocker))["status"] == "succeeded"
    assert (await node.done(fetched))["result"] == 2
    while "Discarding revoked task" not in worker.said():
        await asyncio.sleep(0.02)
    assert not runs.exists()


async def test_one_that_runs_on_is_given_up(common, tmp_path):
    node = common[0].node()
    go = tmp_path / "go"
    url = await node.post("/thumbnails", params={"path": str(go)})
    await node.until(url, lambda it: it["status"] == "running")
    await node.client.post(f"{url}/cancel")
    ended = await node.done(url, 4)
    assert ended["status"] == "canceled"
    go.touch()
    assert (await node.run("/double?number=1"))["result"] == 2
    assert await node.read(url) == ended


async def test_one_that_is_revoked_by_others_is_canceled(tasks):
    bench = tasks()
    node = bench.node()
    blocker = await node.post("/thumbnails", params={"path": str(bench.folder / "go"), "count": 1})
    await bench.worker("threads", 1)
    await node.until(blocker, lambda it: it["status"] == "running")
    await node.post("/double?number=1")  # this one is fetched
    url = await node.post("/double?number=1")
    await asyncio.to_thread(bench.module().celery.control.revoke, url.rpartition("/")[2])
    (bench.folder / "go").touch()
    assert (await node.done(url))["status"] == "canceled"


async def test_a_timeout_ends_what_celery_would_never_end(tasks):
    """Its worker is killed, and Celery says for ever that it has started."""
    bench = tasks()
    node = bench.node(options={"thumbnails": {"timeout": 1.5}})
    worker = await bench.worker("prefork", 1)
    url = await node.post("/thumbnails", params={"path": str(bench.folder / "go"), "count": 0})
    await node.until(url, lambda it: it["status"] == "running")
    worker.stop()
    ended = await node.done(url)
    assert (ended["status"], ended["error"]["status"]) == ("failed", 504)


async def test_without_a_tracked_start_it_is_queued_until_it_ends(tasks):
    bench = tasks(GIVEN_TRACK="")
    node = bench.node()
    worker = await bench.worker("threads")
    go = bench.folder / "go"
    url = await node.post("/thumbnails", params={"path": str(go), "count": 0})
    while "received" not in worker.said():
        await asyncio.sleep(0.05)
    assert (await node.read(url))["status"] == "queued"
    go.touch()
    ended = await node.done(url)
    assert (ended["status"], ended["started"]) == ("succeeded", None)


async def test_a_broker_that_is_away_never_makes_two_runs(tasks, tmp_path, caplog):
    server = RedisServer(tmp_path / "broker")
    bench = tasks(ELSEWHERE_BROKER=server.url)
    nodes = [bench.node(), bench.node()]
    runs = [tmp_path / f"runs-{number}" for number in range(6)]
    try:
        urls = [
            await nodes[number % 2].post("/counted", params={"path": str(path)})
            for number, path in enumerate(runs)
        ]
        while "stored and not sent" not in caplog.text:
            await asyncio.sleep(0.05)
        assert (await nodes[0].read(urls[0]))["status"] == "queued"
        server.start()
        await bench.worker("threads", 4)
        for url in urls:
            assert (await nodes[0].done(url, 30))["status"] == "succeeded"
        assert [path.read_text() for path in runs] == ["x"] * 6
    finally:
        await bench.close()
        bench.workers, bench.nodes = [], []
        server.stop()


async def test_another_node_goes_on_where_the_sender_died(common, tmp_path):
    bench, _ = common
    dying, living = bench.node(), bench.node()
    go = tmp_path / "go"
    url = await dying.post("/thumbnails", params={"path": str(go)})
    await dying.until(url, lambda it: it["status"] == "running")
    await asyncio.to_thread(dying.service.runner.drain, 0)
    await asyncio.to_thread(living.service.runner.resume)
    go.touch()
    assert (await living.done(url))["result"] == {"made": 3}


# What cannot work


@pytest.fixture
def declared(tmp_path):
    def declare(task: Any, **options: Any) -> None:
        Restive(backend=f"sqlite:///{tmp_path}/it.db").operation("/it", **options)(task)

    return declare


@pytest.mark.parametrize("results", [None, "rpc://"])
def test_a_task_of_which_nothing_is_seen_is_refused(declared, results):
    app = Celery("x", broker="memory://", backend=results)
    with pytest.raises(SettingError, match="result_backend="):
        declared(app.task(len_of))


def test_what_a_task_cannot_do_is_refused(declared):
    app = Celery("x", broker="memory://", backend="cache+memory://")
    for function, options, match in (
        (len_of, {"retries": 1}, "max_retries="),
        (len_of, {"engine": "threads"}, "no engine="),
        (uploaded, {}, "path or a URL"),
        (handled, {}, "engine= the Celery app"),
    ):
        with pytest.raises(SettingError, match=match):
            declared(app.task(function, name=f"{function.__name__}-{match}"), **options)
    with pytest.raises(SettingError, match="ignore_result"):
        declared(app.task(len_of, name="silent", ignore_result=True))
    declared(app.task(len_of, name="fine"))


def len_of(text: str) -> int:
    return len(text)


def uploaded(file: UploadFile) -> None: ...
def handled(op: Operation) -> None: ...
