"""The database cannot be used: another process holds it, or it is none."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from fastapi import UploadFile

from restive.backends.sqlite import SqliteBackend

HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
db.execute("ROLLBACK")
"""


def key(value):
    return {"Idempotency-Key": value}


def problem(response, status):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    return response.json()


@pytest.fixture
def backend(tmp_path):
    """It waits for other processes for a short time only."""
    made = SqliteBackend(tmp_path / "it.db", patience=0.2)
    yield made
    made.close()


@pytest.fixture
def lock(backend):
    """Let another process hold the database; returns what lets it go."""
    holders = []

    def hold():
        command = [sys.executable, "-c", HOLD, str(backend.path)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"

        def unlock():
            holder.stdin.close()
            holder.wait(10)

        return unlock

    yield hold
    for holder in holders:
        holder.kill()
        holder.wait(10)


async def test_a_locked_database_is_a_503_and_nothing_is_left(bench, lock, home):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return file.size

    before = await bench.run("/digests", files={"file": b"before"})
    await bench.settled()
    unlock = await asyncio.to_thread(lock)
    for headers in ({}, key("k")):
        refused = await bench.client.post("/digests", files={"file": b"data"}, headers=headers)
        found = problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert "sqlite" not in refused.text.lower()
        assert found["title"] == "Operations are away"
    location = before["links"]["self"]
    assert (await bench.client.get(location)).status_code == 200, "reads go on"
    problem(await bench.client.delete(location), 503)
    assert len(list((home / "operations").iterdir())) == 1, "no upload is left"
    await asyncio.to_thread(unlock)
    assert (await bench.run("/digests", files={"file": b"data"}, headers=key("k")))["result"] == 4
    assert (await bench.client.delete(location)).status_code == 204


async def test_a_database_that_is_no_database_is_a_503(bench, backend):
    backend.path.write_bytes(b"this is no database" * 1000)

    @bench.operation("/ones")
    def one() -> int:
        return 1

    for method, url in (("POST", "/ones"), ("GET", "/ones/" + "0" * 36)):
        found = problem(await bench.client.request(method, url), 503)
        assert str(backend.path.parent) not in str(found)
