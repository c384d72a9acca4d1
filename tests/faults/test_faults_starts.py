"""A node that starts while its backend is away, and one that ends while its backend is slow."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from engines.redis_server import RedisServer
from faults.table.wires import Wire
from restive.backends import open_backend
from restive.client import AsyncClient
from scenarios.servers import ProcessServer
from scenarios.waiting import until

WITHIN = 30.0


@pytest.mark.timeout(120)
async def test_a_node_starts_without_its_backend(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    env = {"RESTIVE_BACKEND": redis.url, "RESTIVE_HOME": str(tmp_path / "home")}
    server = ProcessServer("apps.digests:app", tmp_path, runner="fast", env=env)
    try:
        async with httpx2.AsyncClient(base_url=server.url, timeout=WITHIN) as http:
            assert (await http.get("/-/health/ready")).status_code == 200
            assert (await http.post("/digests", files={"file": b"abc"})).status_code == 503
            assert "Serving without the backend until it is back" in server.log
            redis.start()
            async with asyncio.timeout(WITHIN):
                while (answer := await http.post("/digests", files={"file": b"abc"})).status_code == 503:
                    await asyncio.sleep(0.05)
            assert answer.status_code == 202
            async with AsyncClient(server.url) as client:
                assert await client.operation(answer).result() == 3
    finally:
        server.stop()
        redis.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_was_answered_last_is_announced_before_the_end(
    redis_url: str, tmp_path: Path, workers: str
):
    parts = urlsplit(redis_url)
    wire = Wire(str(parts.hostname), int(parts.port or 0))
    await wire.start()
    env = {
        "RESTIVE_BACKEND": parts._replace(netloc=f"127.0.0.1:{wire.port}").geturl(),
        "SHOP_SETTINGS": json.dumps({"name": f"ends-{workers}"}),
        "SHOP_FILE": str(tmp_path / "orders.json"),
        "WEB_CONCURRENCY": workers,
    }
    heard: list[bytes | None] = []
    ear = open_backend(redis_url, name=f"ends-{workers}")
    stop = await asyncio.to_thread(ear.listen, heard.append)
    server = await asyncio.to_thread(ProcessServer, "apps.shop:app", tmp_path, runner="restive", env=env)
    try:
        async with httpx2.AsyncClient(base_url=server.url, timeout=WITHIN) as http:
            assert (await http.put("/orders/3", json={"n": 0})).status_code == 200
            await until(lambda: any(b"/orders/3" in it for it in heard if it), WITHIN)
            wire.delay = 1.0
            assert (await http.put("/orders/4", json={"n": 1})).status_code == 200
        server.signal()
        await asyncio.to_thread(server.wait, WITHIN)
        await until(lambda: any(b"/orders/4" in it for it in heard if it), WITHIN)
    finally:
        server.stop()
        stop()
        ear.close()
        await wire.stop()
