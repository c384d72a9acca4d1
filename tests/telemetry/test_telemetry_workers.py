"""Several workers of one host: each has its own numbers, and any of them tells those of all."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from scraped import Scrape, scrape

from cli.clirun import APPS, Served
from restive.telemetry import siblings, snapshot
from scenarios.watches import watch

SETTINGS = '{"metrics": true}'


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Served]:
    options = ["serve", "team:app", "--workers", "2", "--app-dir", str(APPS)]
    server = Served(tmp_path, *options, TEAM_SETTINGS=SETTINGS, TMPDIR=str(tmp_path))
    try:
        yield server
    finally:
        server.stop()


def workers(now: Scrape) -> set[str]:
    return now.labels("restive_build_info", "worker")


async def scrape_anew(url: str) -> Scrape:
    """By a connection of its own, which may lead to another worker."""
    async with httpx2.AsyncClient() as http:
        return await scrape(http, url)


async def test_any_worker_tells_the_numbers_of_all(team: Served, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await both(team.url)
        for _ in range(12):
            one = await stack.enter_async_context(watch("sse-query", team.url, "/seen"))
            await one.next()
        answers: set[str] = set()
        async with asyncio.timeout(20):
            while len(answers) < 2:
                async with httpx2.AsyncClient() as http:
                    answers.add(str((await http.get(f"{team.url}/worker")).json()["pid"]))
                    now = await scrape(http, team.url)  # on the same connection: the same worker
                assert len(workers(now)) == 2
                assert now("restive_clients", transport="sse") == 12
                assert now("restive_connections_total", transport="sse") == 12
        shared = [now("restive_clients", transport="sse", worker=each) for each in workers(now)]
        assert sum(shared) == 12
    await scraped_anew(team.url, lambda now: now("restive_clients") == 0)
    team.stop()
    assert not list(tmp_path.glob("restive-*"))  # the folder went with the parent


async def both(url: str) -> Scrape:
    """A scrape once both workers have begun."""
    return await scraped_anew(url, lambda now: len(workers(now)) == 2)


async def scraped_anew(url: str, condition) -> Scrape:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(20):
        while not condition(now := await scrape_anew(url)):
            await asyncio.sleep(0.02)
    return now


async def test_a_worker_that_is_killed_leaves_and_its_successor_comes(team: Served) -> None:
    before = await both(team.url)
    killed = min(workers(before))
    os.kill(int(killed), signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            try:
                now = await scrape_anew(team.url)
            except (httpx2.HTTPError, AssertionError):  # it was on its way to the one that was killed
                continue
            if len(workers(now)) == 2 and killed not in workers(now):
                break
            await asyncio.sleep(0.02)
    (left,) = workers(now) & workers(before)
    name = "restive_backend_call_duration_seconds_count"
    assert now(name, worker=left) >= before(name, worker=left)  # no counter of another was reset


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path_factory.mktemp("s")
    monkeypatch.setenv(siblings.FOLDER, str(made))
    monkeypatch.setattr(siblings, "_joined", None)
    return made


def test_one_that_hangs_or_talks_nonsense_is_left_out(folder: Path) -> None:
    hangs, babbles = (socket.socket(socket.AF_UNIX) for _ in range(2))
    hangs.bind(str(folder / "111"))
    hangs.listen()
    babbles.bind(str(folder / "222"))
    babbles.listen()
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(str(folder / "333"))
    gone.close()
    (folder / "notes.txt").write_text("not a process")
    babbling = [sys.executable, "-c", SENDER, str(babbles.fileno())]
    sender = subprocess.Popen(babbling, pass_fds=[babbles.fileno()], stdin=subprocess.DEVNULL)
    try:
        found = siblings.ask_all(within=1.0)
    finally:
        sender.kill()
        sender.wait()
        hangs.close()
        babbles.close()
    assert set(found) == {str(os.getpid())}
    assert not (folder / "333").exists()


SENDER = """
import socket, sys
listening = socket.socket(fileno=int(sys.argv[1]))
while True:
    connection = listening.accept()[0]
    connection.sendall(b"nonsense")
    connection.close()
"""


def test_what_is_asked_is_what_is_counted(folder: Path) -> None:
    """Another process asks this one."""
    siblings.join()
    siblings.join()
    code = "from restive.telemetry import siblings; print(sorted(siblings.ask_all()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert str(os.getpid()) in done.stdout
    assert len(siblings.ask_all()) == 1  # the other one took its socket away
    assert (folder / str(os.getpid())).stat().st_mode & 0o077 == 0


def test_alone_there_is_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(siblings.FOLDER, raising=False)
    assert set(siblings.ask_all()) == {""}
    assert siblings.ask_all()[""].keys() == snapshot.take().keys()
