"""``restive serve --workers``: one listening socket that outlives each process, and one end for all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clirun import APPS, Served, run

from restive.client import AsyncClient
from restive.client.policy import Policy
from scenarios.waiting import until

WITHIN = 30.0
SOON = Policy(backoff=0.05, most_backoff=0.2)
KINDS = ("websocket", "sse", "ndjson", "long-poll")

Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Serve the team's app."""
    started: list[Served] = []

    def serve(workers: int, *arguments: str, **env: str) -> Served:
        options = ["--workers", str(workers), "--app-dir", str(APPS), *arguments]
        started.append(Served(tmp_path, "serve", "team:app", *options, **env))
        return started[-1]

    yield serve
    for server in started:
        workers = children(server)
        try:
            server.stop()
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def children(server: Served) -> list[int]:
    """The processes that the server has started."""
    try:
        said = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(pid) for pid in said.split()]


async def ask(server: Served) -> dict[str, Any]:
    """What one of the workers says of itself."""
    async with httpx2.AsyncClient() as http:
        found: dict[str, Any] = (await http.get(f"{server.url}/worker")).json()
        return found


async def team(server: Served, workers: int, known: frozenset[int] = frozenset()) -> dict[int, int]:
    """Clients by worker, once so many workers that are not ``known`` have answered."""
    found: dict[int, int] = {}
    async with asyncio.timeout(WITHIN):
        while len(found) < workers:
            said = await ask(server)
            if said["pid"] not in known:
                found[said["pid"]] = said["clients"]
    return found


class Follower:
    """A client that watches, reconnects by itself, and keeps what it has last seen."""

    def __init__(self, url: str, kind: str, **options: Any) -> None:
        self._client = AsyncClient(url, transport=kind, policy=SOON, **options)
        self.seen: list[Any] = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for state in self._client.watch("/seen"):
            self.seen.append(state.data)

    async def until(self, value: int) -> None:
        """Wait until it has seen ``value`` last."""
        await until(lambda: self.seen[-1:] == [value] or self._task.done(), WITHIN)
        assert self.seen[-1:] == [value]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()


@asynccontextmanager
async def followers(server: Served, count: int) -> AsyncIterator[list[Follower]]:
    """So many, of every kind, that all have the first state."""
    found = [Follower(server.url, KINDS[n % len(KINDS)]) for n in range(count)]
    try:
        for each in found:
            await each.until(0)
        yield found
    finally:
        for each in found:
            await each.close()


async def put(server: Served, value: int) -> None:
    async with httpx2.AsyncClient() as http:
        (await http.put(f"{server.url}/seen", json=value)).raise_for_status()


async def test_a_put_by_one_worker_is_pushed_by_all(start: Start) -> None:
    server = start(2)
    async with AsyncExitStack() as stack:
        all_of_them: list[Follower] = []
        # Who accepts a connection is chance, so it takes a few until each has some of them.
        while len(all_of_them) < 8 or not all((await team(server, 2)).values()):
            all_of_them += await stack.enter_async_context(followers(server, 4))
        await put(server, 7)
        for each in all_of_them:
            await each.until(7)


async def test_a_worker_that_is_killed_is_replaced_and_its_clients_go_to_the_others(start: Start) -> None:
    server = start(2)
    before = await team(server, 2)
    async with followers(server, 12) as all_of_them:
        killed = (await ask(server))["pid"]
        os.kill(killed, signal.SIGKILL)
        await put(server, 8)  # the listener lives on in the other one
        for each in all_of_them:
            await each.until(8)
        after = await team(server, 2, frozenset({killed}))
        await put(server, 9)
        for each in all_of_them:
            await each.until(9)
    assert len(after.keys() - before.keys()) == 1
    assert f"Child process [{killed}] died" in server.log


async def test_a_rolling_restart_loses_nothing(start: Start) -> None:
    """Every request is answered, and every watcher ends on the last state."""
    server = start(2)
    before = await team(server, 2)
    async with followers(server, 12) as all_of_them:
        server.process.send_signal(signal.SIGHUP)
        value, fresh = 0, set[int]()
        async with asyncio.timeout(WITHIN):
            while len(fresh) < 2:
                value += 1
                await put(server, value)
                fresh |= {(await ask(server))["pid"]} - before.keys()
        await until(lambda: server.log.count("Finished server process") == 2, WITHIN)
        await put(server, value + 1)
        for each in all_of_them:
            await each.until(value + 1)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_drains_every_process(start: Start, workers: int) -> None:
    server = start(workers)
    async with AsyncClient(server.url) as client:
        waiting = [asyncio.create_task(_goodbye(server)) for _ in range(20)]
        assert (await anext(client.watch("/seen"))).data == 0
        await until(lambda: all(task.get_name() == "open" for task in waiting), WITHIN)
        server.process.terminate()
        assert all(0 < retry < 10_000 for retry in await asyncio.gather(*waiting))
    assert await asyncio.to_thread(server.process.wait, WITHIN) == 0
    assert server.log.count("Application shutdown complete") == workers
    assert "Traceback" not in server.log


async def _goodbye(server: Served) -> int:
    """Follow a stream until its server says when to come back; the milliseconds."""
    task = asyncio.current_task()
    assert task is not None
    async with (
        httpx2.AsyncClient(timeout=WITHIN) as http,
        http.stream("GET", f"{server.url}/seen?live=sse") as answer,
    ):
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if "data: 0" in text:
                task.set_name("open")
    return int(text.rpartition("retry: ")[2])


async def test_workers_whose_parent_was_killed_end_in_order(start: Start) -> None:
    """They would hold the port and go on as before, and nobody could restart the server."""
    server = start(2)
    waiting = [asyncio.create_task(_goodbye(server)) for _ in range(6)]
    await until(lambda: all(task.get_name() == "open" for task in waiting), WITHIN)
    workers = children(server)
    server.process.kill()
    assert all(0 < retry < 10_000 for retry in await asyncio.gather(*waiting))
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), WITHIN)
    assert server.log.count("Application shutdown complete") == 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_under_way_is_answered_before_the_end(
    start: Start, tmp_path: Path, workers: int
) -> None:
    server = start(workers)
    async with httpx2.AsyncClient(timeout=WITHIN) as http:
        slow = asyncio.create_task(http.get(f"{server.url}/slow/begun", params={"seconds": 1}))
        await until((tmp_path / "begun").exists, WITHIN)
        server.process.terminate()
        assert (await slow).json() == 1
    assert await asyncio.to_thread(server.process.wait, WITHIN) == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_signal_waits_for_nothing(start: Start, tmp_path: Path, workers: int) -> None:
    server = start(workers)
    async with httpx2.AsyncClient(timeout=WITHIN) as http:
        stuck = asyncio.create_task(http.get(f"{server.url}/slow/begun", params={"seconds": 600}))
        await until((tmp_path / "begun").exists, WITHIN)
        server.process.terminate()
        await until(lambda: "Shutting down" in server.log, WITHIN)
        server.process.terminate()
        await asyncio.to_thread(server.process.wait, WITHIN)
        with pytest.raises(httpx2.HTTPError):
            await stuck


async def test_a_signal_in_a_rolling_restart_ends_it(start: Start) -> None:
    """The processes that were not restarted yet are not restarted any more."""
    server = start(3)
    before = await team(server, 3)
    server.process.send_signal(signal.SIGHUP)
    await team(server, 1, frozenset(before))
    server.process.terminate()
    assert await asyncio.to_thread(server.process.wait, WITHIN) == 0
    assert server.log.count("Started server process") < 6


async def test_a_worker_that_cannot_start_does_not_end_those_that_serve(start: Start, tmp_path: Path) -> None:
    server = start(2)
    before = await team(server, 2)
    (tmp_path / "closed").touch()
    killed, left = before
    os.kill(killed, signal.SIGKILL)
    await until(lambda: "failed to start; again in 2 s" in server.log, WITHIN)
    assert (await ask(server))["pid"] == left
    (tmp_path / "closed").unlink()
    assert killed not in await team(server, 2)
    server.process.terminate()
    assert await asyncio.to_thread(server.process.wait, WITHIN) == 0


async def test_where_no_worker_ever_served_all_end_with_status_3(tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    done = await asyncio.to_thread(
        run, tmp_path, "serve", "team:app", "--workers", "2", "--app-dir", str(APPS)
    )
    assert done.returncode == 3
    assert "failed to start, stopping the parent process" in done.stderr


async def test_how_many_clients_one_process_can_hold_is_said(start: Start) -> None:
    server = start(1)
    assert "room for" in server.log
