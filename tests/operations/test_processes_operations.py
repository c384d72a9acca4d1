"""Operations in worker processes, over HTTP: retries, timeouts, cancel, uploads, quotas of workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import process_functions as functions
import pytest
from operation_bench import Bench

from restive.errors import SettingError
from restive.operations.record import INTERRUPTED, TIMED_OUT


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    return new_bench(engine="processes", stop_grace=0.2)


async def said(bench: Bench, url: str) -> int:
    return int((await bench.until(url, lambda it: it["progress"]["message"]))["progress"]["message"])


async def submitted(bench: Bench, url: str, **params: object) -> str:
    response = await bench.client.post(url, params={name: str(value) for name, value in params.items()})
    assert response.status_code == 202, response.text
    return str(response.headers["location"])


async def test_killed_worker_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    bench.operation("/until", retries=1, backoff=0)(functions.until)
    url = await submitted(bench, "/until", path=tmp_path / "go")
    first = await said(bench, url)
    os.kill(first, signal.SIGKILL)
    again = await bench.until(url, lambda it: it["attempt"] == 2 and it["status"] == "running")
    assert again["error"] is None
    (tmp_path / "go").touch()
    document = await bench.done(url)
    assert (document["status"], document["attempt"]) == ("succeeded", 2)


async def test_killed_worker_without_retries(bench: Bench, tmp_path: Path) -> None:
    bench.operation("/until")(functions.until)
    url = await submitted(bench, "/until", path=tmp_path / "go")
    os.kill(await said(bench, url), signal.SIGKILL)
    document = await bench.done(url)
    assert document["error"]["type"] == INTERRUPTED


async def test_timeout_kills_what_does_not_end(bench: Bench, tmp_path: Path) -> None:
    bench.operation("/deaf", timeout=0.1)(functions.deaf)
    document = await bench.run("/deaf", params={"path": str(tmp_path / "never")})
    assert document["error"]["type"] == TIMED_OUT


async def test_cancel(bench: Bench, tmp_path: Path) -> None:
    bench.operation("/until")(functions.until)
    bench.operation("/deaf")(functions.deaf)
    for path in ("/until", "/deaf"):
        url = await submitted(bench, path, path=tmp_path / "never")
        await said(bench, url)
        await bench.client.post(f"{url}/cancel")
        assert (await bench.done(url))["status"] == "canceled"


async def test_parts_and_upload(bench: Bench) -> None:
    bench.operation("/copied")(functions.copied)
    document = await bench.run("/copied", files={"file": ("a.txt", b"alpha" * 1000)})
    assert document["parts"] == 1
    response = await bench.client.get(document["result"])
    assert response.content == b"alpha" * 1000


async def test_long_result(bench: Bench) -> None:
    bench.operation("/long")(functions.long)
    document = await bench.run("/long", params={"size": "1000000"})
    response = await bench.client.get(document["links"]["result"])
    assert response.json() == "x" * 1_000_000


async def test_engine_of_one_operation(new_bench: Callable[..., Bench]) -> None:
    bench = new_bench()
    bench.operation("/here")(functions.pid)
    bench.operation("/there", engine="processes")(functions.pid)
    assert (await bench.run("/here"))["result"] == os.getpid()
    assert (await bench.run("/there"))["result"] != os.getpid()


def test_function_that_no_process_finds_is_refused_when_declared(bench: Bench) -> None:
    def inner() -> None: ...

    with pytest.raises(SettingError, match="top level"):
        bench.operation("/inner")(inner)
