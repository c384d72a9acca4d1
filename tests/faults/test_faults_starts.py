"""A node that starts while its backend is away: it serves, says so, and takes up its work once it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from engines.redis_server import RedisServer
from restive.client import AsyncClient
from scenarios.servers import ProcessServer

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
