"""Operations in the workers of a real Dask cluster, given as its executor and as its client."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import elsewhere_functions as here
import process_functions as functions
import pytest
from distributed import Client, LocalCluster
from elsewhere_bench import Node
from fastapi import FastAPI

from restive import Operation, Restive
from restive.errors import SettingError
from restive.operations import record
from restive.operations.record import INTERRUPTED

MakeNode = Callable[..., Node]

OPTIONS: dict[str, dict[str, Any]] = {"/again": {"retries": 2, "backoff": 0}, "/late": {"timeout": 0.5}}
DECLARED = {
    "/doubles": functions.double,
    "/adoubles": functions.adouble,
    "/waits": functions.until,
    "/again": functions.until,
    "/late": functions.deaf,
    "/parts": functions.parts,
    "/long": functions.long,
    "/copies": here.copied,
    "/raising": functions.raising,
    "/spread": here.spread,
    "/slowly": here.spread_slowly,
    "/here": here.here_only,
    "/badly": functions.mapping_badly,
    "/amapping": functions.amapping,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes of two threads each."""
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture(params=["client", "executor"])
def engine(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[Any]:
    with Client(cluster) as client:
        yield client if request.param == "client" else client.get_executor()


@pytest.fixture
async def node_of(tmp_path: Path) -> AsyncIterator[MakeNode]:
    nodes: list[Node] = []

    def make(engine: Any, **settings: Any) -> Node:
        app = FastAPI()
        given = {"backend": f"sqlite:///{tmp_path}/it.db", "lease": 2.0, "report_interval": 0.02, **settings}
        live = Restive(app, engine=engine, stop_grace=0.5, parts=str(tmp_path / "depot"), **given)
        for path, function in DECLARED.items():
            live.operation(path, **OPTIONS.get(path, {}))(function)
        live._home = tmp_path
        nodes.append(Node(app, live))
        return nodes[-1]

    yield make
    for each in nodes:
        await each.close()


async def test_functions_run_in_the_cluster(node_of, engine, tmp_path):
    node = node_of(engine)
    assert (await node.run("/doubles?number=21"))["result"] == 42
    assert (await node.run("/adoubles?number=4"))["result"] == 8
    url = await node.post("/waits", params={"path": str(tmp_path / "go")})
    assert await node.pid(url) != os.getpid()
    (tmp_path / "go").touch()
    assert (await node.done(url))["result"] == "seen"
    raised = await node.run("/raising")
    assert raised["error"]["detail"] == "raising() raised LookupError."


async def test_files_go_through_the_depot(node_of, engine):
    node = node_of(engine)
    ended = await node.run("/copies", files={"file": ("a.bin", b"x" * 1000)})
    copy = await node.client.get(f"{ended['links']['parts']}/copy.bin")
    assert copy.content == b"x" * 1000
    long = await node.run("/long?size=100000")
    assert (await node.client.get(long["links"]["result"])).json() == "x" * 100_000


async def test_a_cancel_reaches_the_function_and_what_waits(node_of, engine, tmp_path):
    node = node_of(engine)
    urls = [await node.post("/waits", params={"path": str(tmp_path / "go")}) for _ in range(6)]
    running = [url for url in urls if (await settled(node, url))]
    assert len(running) == 4
    for url in reversed(urls):
        await node.client.post(f"{url}/cancel")
    for url in urls:
        assert (await node.done(url, 5))["status"] == "canceled"
    assert (await node.run("/doubles?number=1"))["result"] == 2


async def settled(node: Node, url: str) -> bool:
    try:
        await node.until(url, lambda it: it["status"] == "running", 1)
    except AssertionError:
        return False
    return True


async def test_a_function_that_does_not_end_is_given_up(node_of, engine, tmp_path):
    node = node_of(engine)
    url = await node.post("/late", params={"path": str(tmp_path / "go")})
    assert (await node.done(url))["error"]["status"] == 504
    (tmp_path / "go").touch()


async def test_a_killed_worker_is_noticed(node_of, engine, tmp_path):
    node = node_of(engine)
    go = tmp_path / "go"
    failing = await node.post("/waits", params={"path": str(go)})
    retried = await node.post("/again", params={"path": str(go)})
    for pid in {await node.pid(failing), await node.pid(retried)}:
        os.kill(pid, signal.SIGKILL)
    ended = await node.done(failing)
    assert (ended["status"], ended["error"]["type"]) == ("failed", INTERRUPTED)
    await node.until(retried, lambda it: it["attempt"] == 2 and it["status"] == "running")
    go.touch()
    assert (await node.done(retried))["result"] == "seen"


# op.map


async def test_pieces_of_a_map_run_in_all_workers(node_of, engine):
    node = node_of(engine)
    ended = await node.run("/spread?pieces=40")
    assert len(ended["result"]) == 2
    assert ended["progress"]["completed"] == 40


async def test_more_maps_than_workers_do_not_wait_for_each_other(node_of, engine):
    node = node_of(engine)
    urls = [await node.post("/slowly?pieces=6") for _ in range(8)]
    for url in urls:
        assert (await node.done(url, 30))["status"] == "succeeded"


async def test_what_cannot_be_sent_is_done_by_the_caller(node_of, engine):
    node = node_of(engine)
    assert (await node.run("/here"))["result"] == sum(range(20))
    assert (await node.run("/badly"))["error"]["detail"] == "mapping_badly() raised KeyError."
    assert (await node.run("/amapping"))["result"] == sum(number * number for number in range(50))


# By value


async def test_a_function_of_no_module_travels_by_value(node_of, engine):
    node = node_of(engine)
    offset = 100

    def add(number: int, op: Operation) -> int:
        op.report(completed=1)
        return number + offset

    node.live.operation("/adds")(add)
    assert (await node.run("/adds?number=1"))["result"] == 101


async def test_a_function_that_cannot_be_sent_fails_and_says_so(node_of, engine):
    node = node_of(engine)
    lock = __import__("threading").Lock()

    def locked() -> bool:
        return lock.locked()

    node.live.operation("/locked")(locked)
    ended = await node.run("/locked")
    assert ended["error"]["detail"].startswith("locked() cannot be loaded in a worker process")


# Which executors are elsewhere


class Foreign(Executor):
    """An executor of which nobody knows where its workers are."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(2)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self.threads.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, **_: Any) -> None:
        self.threads.shutdown(wait)


async def test_any_other_executor_is_taken_for_one_elsewhere(node_of):
    foreign = Foreign()
    node = node_of(lambda: foreign)
    assert (await node.run("/doubles?number=21"))["result"] == 42
    assert (await node.run("/spread?pieces=5"))["result"] == [os.getpid()]
    assert (await node.run("/parts"))["parts"] == 3
    await asyncio.to_thread(node.live._operations.drain, 0)
    assert foreign.threads._shutdown


@pytest.mark.parametrize("backend", ["memory:", "auto"])
def test_a_backend_that_no_worker_reaches_is_refused(backend, monkeypatch):
    monkeypatch.delenv("RESTIVE_BACKEND", raising=False)
    live = Restive(backend=backend, engine=Foreign())
    with pytest.raises(SettingError, match="RESTIVE_BACKEND"):
        live.operation("/doubles")(functions.double)


async def test_the_end_of_a_server_ends_no_run_and_loses_none(node_of, cluster, tmp_path, monkeypatch):
    """Dask drops what waits for a client that is gone: another server sends it again."""
    monkeypatch.setattr(record, "RESEND_AFTER", 0.5)
    dying = Client(cluster, set_as_default=False)
    first = node_of(dying)
    urls = [await first.post("/waits", params={"path": str(tmp_path / "go")}) for _ in range(6)]
    for url in urls[:4]:
        await first.pid(url)
    await asyncio.to_thread(first.service.runner.drain, 0)
    dying.close()
    with Client(cluster, set_as_default=False) as client:
        second = node_of(client)
        await asyncio.to_thread(second.service.runner.resume)
        (tmp_path / "go").touch()
        for url in urls:
            ended = await second.done(url)
            assert (ended["status"], ended["attempt"]) == ("succeeded", 1)
        await asyncio.to_thread(second.service.runner.drain, 0)
