"""``/-/health`` and its two parts: what a balancer, Kubernetes and an operator are told, and how soon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from engines.redis_server import RedisServer
from restive import BackendUnavailable, Restive
from restive.telemetry import probing
from restive.telemetry.backend import Standing
from restive.telemetry.probing import Probing
from scenarios.servers import Serve
from scenarios.waiting import until


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that a test may stop."""
    server = RedisServer(tmp_path / "redis", password="planted-secret")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is a probe."""
    monkeypatch.setattr(probing, "EVERY", 0.0)


def app_with(**settings: object) -> FastAPI:
    app = FastAPI()
    Restive(app, **settings)
    return app


def test_what_is_told(tmp_path: Path) -> None:
    client = TestClient(app_with(backend=f"sqlite:///{tmp_path}/it.db"))
    answer = client.get("/-/health")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert {name: told[name] for name in ("live", "ready")} == {"live": True, "ready": True}
    backend = told["backend"]
    assert (backend["engine"], backend["ok"]) == ("sqlite", True)
    assert backend["lag"] is None or backend["lag"] >= 0  # of this process, whatever ran in it before
    assert backend["since"].endswith("Z")
    assert client.get("/-/health").json()["backend"]["since"] == backend["since"]


def test_live_and_ready_by_themselves() -> None:
    app = app_with()
    client = TestClient(app)
    assert client.get("/-/health/live").json() == {"live": True}
    assert client.get("/-/health/ready").json() == {"ready": True}
    assert client.head("/-/health/ready").content == b""
    app.restive.draining = True  # type: ignore[attr-defined]
    for path, status in (("/-/health", 503), ("/-/health/ready", 503), ("/-/health/live", 200)):
        assert client.get(path).status_code == status
    assert client.get("/-/health/ready").json() == {"ready": False}


def test_what_is_not_known_there_is_the_apps() -> None:
    client = TestClient(app_with())
    assert client.get("/-/health/other").json() == {"detail": "Not Found"}
    assert client.post("/-/health/live").status_code == 405


def test_live_and_ready_ask_no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a backend that is away would have every process restarted."""
    app = app_with(backend="postgresql://nobody:planted-secret@127.0.0.1:1/none")
    client = TestClient(app)
    for part in ("live", "ready"):
        assert client.get(f"/-/health/{part}").status_code == 200
    assert app.restive.observation.backend()["engine"] is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["redis://:planted-secret@127.0.0.1:1/0", "wrong://planted-secret@host"])
def test_a_backend_that_is_not_there(url: str) -> None:
    """It is shown, without what its URL holds; the node is ready all the same."""
    client = TestClient(app_with(backend=url))
    answer = client.get("/-/health")
    while answer.json()["backend"]["ok"] is None:  # it takes longer than anybody waits
        answer = client.get("/-/health")
    assert answer.status_code == 200
    assert answer.json()["backend"]["ok"] is False
    assert "planted-secret" not in answer.text


async def test_a_backend_that_hangs(
    serve: Serve, http: httpx2.AsyncClient, redis: RedisServer, prompt: None
) -> None:
    """No answer waits for it, nothing piles up, and it is seen to be back."""
    server = serve(app_with(backend=redis.url))
    url = f"{server.url}/-/health"

    async def backend() -> dict[str, object]:
        answer = await http.get(url)
        assert answer.status_code == 200
        assert "planted-secret" not in answer.text
        found: dict[str, object] = answer.json()["backend"]
        return found

    before = await backend()
    assert (before["engine"], before["ok"]) == ("redis", True)
    redis.pause()
    seen: list[dict[str, object]] = []
    async with asyncio.timeout(20):
        while not seen or seen[-1]["ok"]:
            seen += await asyncio.gather(*(backend() for _ in range(5)))
            probes = [each for each in threading.enumerate() if each.name == "restive-probe"]
            assert len(probes) <= 1
    away = seen[-1]["since"]
    assert isinstance(away, str)
    assert away >= str(before["since"])
    redis.resume()
    async with asyncio.timeout(20):
        while not (await backend())["ok"]:
            pass


class Backend:
    """Answers when it may, and counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = threading.Event()
        self.away = False

    def probe(self) -> None:
        self.asked += 1
        assert self.may.wait(20)
        if self.away:
            raise BackendUnavailable("away")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_probe_is_good_for_a_while() -> None:
    backend, clock = Backend(), Clock()
    backend.may.set()
    standing = Standing()
    probes = Probing(standing, clock)
    await asyncio.gather(*(probes.ask(lambda: backend) for _ in range(10)))
    assert (backend.asked, standing.ok) == (1, True)
    clock.now += probing.EVERY - 0.1
    await probes.ask(lambda: backend)
    assert backend.asked == 1
    backend.away = True
    clock.now += 0.2
    await probes.ask(lambda: backend)
    assert (backend.asked, standing.ok) == (2, False)


async def test_a_probe_that_does_not_end_says_that_the_backend_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "PATIENCE", 0.01)
    backend, clock, standing = Backend(), Clock(), Standing()
    probes = Probing(standing, clock)
    await probes.ask(lambda: backend)
    assert (backend.asked, standing.ok) == (1, None)  # nobody knows yet
    clock.now += probing.TOO_LONG + 100
    await probes.ask(lambda: backend)
    assert (backend.asked, standing.ok) == (1, False)
    backend.may.set()  # late, but it was an answer
    await until(lambda: bool(standing.ok))
    await probes.ask(lambda: backend)
    await until(lambda: backend.asked == 2)


def test_since_is_when_it_last_changed() -> None:
    clock = Clock()
    standing = Standing(clock)
    for ok, now, since in ((True, 1, 1), (True, 2, 1), (False, 3, 3), (False, 4, 3), (True, 5, 5)):
        clock.now = float(now)
        standing.tell(ok=ok)
        assert (standing.ok, standing.since) == (ok, since)


async def test_an_answer_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask: each waits its own half second, all at the same time."""
    monkeypatch.setattr(probing, "PATIENCE", 0.1)
    backend = Backend()
    probes = Probing(Standing())
    async with asyncio.timeout(5):
        await asyncio.gather(*(probes.ask(lambda: backend) for _ in range(200)))
    backend.may.set()
    assert backend.asked == 1
