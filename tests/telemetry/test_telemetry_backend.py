"""What is counted of the backend, and of announcements on their way through it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from scraped import scrape, scraped

from apps import shop
from engines.redis_server import RedisServer
from restive import BackendUnavailable, Conflict, Restive
from restive.backends.memory import MemoryBackend
from restive.backends.port import LOST
from restive.telemetry import metrics
from restive.telemetry.backend import Standing, observed
from restive.telemetry.lag import Lag
from restive.testing import check_backend
from scenarios.servers import CALM, Serve, Spawn
from scenarios.watches import watch


class Shaky(MemoryBackend):
    """Its name is another, so that it is counted by itself."""

    away = False

    def load(self, name: str):  # type: ignore[no-untyped-def]
        if self.away:
            raise BackendUnavailable("away")
        return super().load(name)


def calls(call: str) -> int:
    return sum(metrics.backend_seconds.of("shaky", call).counts)


def test_calls_are_counted_and_timed() -> None:
    standing, inner = Standing(), Shaky(name="x")
    backend = observed(inner, standing)
    assert standing.ok is None
    before, failed = calls("load"), metrics.backend_errors.of("shaky", "load").value
    assert backend.load("a") is None
    assert (standing.ok, calls("load")) == (True, before + 1)
    inner.away = True
    with pytest.raises(BackendUnavailable):
        backend.load("a")
    assert standing.ok is False
    assert (calls("load"), metrics.backend_errors.of("shaky", "load").value) == (before + 1, failed + 1)
    assert list(standing.readings()) == [(metrics.backend_up, ("shaky",), 0.0)]
    backend.save("a", b"1", version=0)
    assert standing.ok is True


def test_a_conflict_is_an_answer_and_a_wrong_argument_says_nothing() -> None:
    standing = Standing()
    backend = observed(Shaky(name="x"), standing)
    errors = metrics.backend_errors.of("shaky", "save").value
    with pytest.raises(ValueError, match="name"):
        backend.save("", b"1", version=0)
    assert standing.ok is None
    with pytest.raises(Conflict):
        backend.save("a", b"1", version=7)
    assert standing.ok is True
    assert metrics.backend_errors.of("shaky", "save").value == errors


def test_what_is_observed_is_a_backend_like_the_one_inside() -> None:
    check_backend(lambda name: observed(MemoryBackend(name=name), Standing()))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lag() -> tuple[Lag, Clock]:
    clock = Clock()
    made = Lag(clock)
    made.listening(+1)
    return made, clock


def test_the_lag_is_the_time_until_it_is_heard_back(lag: tuple[Lag, Clock]) -> None:
    it, clock = lag
    assert it.seconds is None
    it.sending(b"a")
    clock.now += 0.25
    assert it.seconds == 0.25  # so far
    it.heard(b"others'")
    it.heard(b"a")
    clock.now += 10
    assert it.seconds == 0.25


def test_what_does_not_come_back_is_ever_later(lag: tuple[Lag, Clock]) -> None:
    it, clock = lag
    it.sending(b"a")
    it.heard(b"a")
    it.sending(b"b")
    it.sending(b"b")
    clock.now += 60
    assert it.seconds == 60
    it.lost()
    assert it.seconds == 0
    it.sending(b"c")
    it.failed(b"c")
    clock.now += 60
    assert it.seconds == 0


def test_who_does_not_listen_waits_for_nothing(lag: tuple[Lag, Clock]) -> None:
    it, clock = lag
    it.sending(b"a")
    it.listening(-1)
    it.sending(b"b")
    clock.now += 60
    assert it.seconds is None


def test_announcements_without_an_echo_are_not_kept_for_ever(lag: tuple[Lag, Clock]) -> None:
    it, _ = lag
    for n in range(10_000):
        it.sending(b"%d" % n)
    assert len(it._under_way) == 100


async def test_announcements_of_two_nodes(serve: Serve, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/it.db"
    server = serve(shop.make(metrics=True, **{**CALM, "backend": url})[0])
    before = await scrape(http, server.url)
    async with watch("sse-query", server.url, "/orders/3") as one:
        await one.next()
        changed = {"item": "cake", "count": 1}
        await http.put(f"{server.url}/orders/3", json=changed)
        await one.state(changed)
        name = "restive_announcement_lag_seconds_count"
        await scraped(http, server.url, lambda now: now(name) > before(name))
        told = (await http.get(f"{server.url}/-/health")).json()["backend"]
        assert 0 < told["lag"] < 8
        name = "restive_announcements_total"
        heard = (await scrape(http, server.url))(name, direction="heard")
        code = f"from restive import Restive; Restive(backend={url!r}).changed('/orders/9')"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
        now = await scraped(http, server.url, lambda now: now(name, direction="heard") > heard)
        assert now(name, direction="sent") > before(name, direction="sent")
        assert now("restive_backend_up", engine="sqlite") == 1


async def test_a_backend_that_was_away(spawn: Spawn, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """In a process of its own: the gauge is that of all apps of a process."""
    redis = RedisServer(tmp_path / "redis")
    try:
        redis.start()
        settings = {**CALM, "metrics": True, "backend": redis.url}
        server = spawn("apps.shop:app", env={"SHOP_SETTINGS": json.dumps(settings)})
        up = lambda now: now("restive_backend_up", engine="redis")  # noqa: E731
        async with watch("sse-query", server.url, "/orders/3") as one:
            await one.next()
            await http.put(f"{server.url}/orders/3", json={"item": "cake", "count": 1})
            now = await scraped(http, server.url, lambda now: up(now) == 1)
            lost = now("restive_announcements_lost_total")
            redis.kill()
            await scraped(http, server.url, lambda now: up(now) == 0)
            redis.start()
            await scraped(http, server.url, lambda now: now("restive_announcements_lost_total") > lost)
            now = await scraped(http, server.url, lambda now: up(now) == 1)
            assert now("restive_backend_errors_total", engine="redis") > 0
    finally:
        redis.kill()


def test_lost_is_counted() -> None:
    live = Restive(FastAPI(), backend="memory:")
    from restive.announcements import Subscription

    lost = metrics.announcements_lost.of().value
    heard: list[object] = []
    Subscription(live.backend, heard.append)._hear(LOST)
    assert (metrics.announcements_lost.of().value, heard) == (lost + 1, [None])
