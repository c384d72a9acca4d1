"""Nothing acknowledged is lost or doubled when the server's process is killed at any moment."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import httpx2
import pytest

from scenarios.servers import ProcessServer, Spawn

HEADERS = {"Content-Type": "application/json", "Producer-Id": "writer", "Producer-Epoch": "0"}


class Writer(threading.Thread):
    """Sends one batch after the other, and each again until it is acknowledged."""

    def __init__(self, url: str, batches: int) -> None:
        super().__init__(daemon=True)
        self.url, self.batches = url, batches
        self.acknowledged = 0
        self.retries = 0

    def run(self) -> None:
        with httpx2.Client(trust_env=False, timeout=5) as client:
            while self.acknowledged < self.batches:
                headers = {**HEADERS, "Producer-Seq": str(self.acknowledged)}
                try:
                    sent = client.post(self.url, headers=headers, json=[self.acknowledged] * 2)
                except httpx2.TransportError:
                    self.retries += 1
                    continue
                assert sent.status_code in {200, 204}, sent.text
                self.acknowledged += 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_producer_that_repeats_itself_writes_each_batch_once(
    spawn: Spawn, tmp_path: Path, workers: int
) -> None:
    chance = random.Random(workers)
    env = {"STREAMS_BACKEND": f"sqlite:///{tmp_path}/streams.db"}
    servers: list[ProcessServer] = [spawn("streams.stream_apps:app", env=env) for _ in range(workers)]
    url = f"{servers[0].url}/v1/stream/log"
    with httpx2.Client(trust_env=False, timeout=5) as client:
        assert client.put(url, headers={"Content-Type": "application/json"}).status_code == 201
        writer = Writer(url, 60)
        writer.start()
        for kill in range(2):
            while writer.is_alive() and writer.acknowledged < (kill + 1) * 20 + chance.randrange(10):
                if workers == 2:  # another process writes to the same stream meanwhile
                    client.post(f"{servers[1].url}/v1/stream/log", json=-1)
            servers[0].kill()
            servers[0].start()
        writer.join(40)
        assert not writer.is_alive()
        assert writer.retries
        for server in servers:
            items = [item for item in client.get(f"{server.url}/v1/stream/log").json() if item >= 0]
            assert items == [number for number in range(60) for _ in range(2)]
