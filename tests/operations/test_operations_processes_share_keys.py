"""Idempotency-Key over real processes that share a database."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
END = b"\r\n--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": "k"}


@pytest.fixture
def servers(spawn, tmp_path):
    env = {"RESTIVE_BACKEND": f"sqlite:///{tmp_path / 'it.db'}"}
    return [spawn("apps.digests:app", env=env) for _ in range(2)]


def names(tmp_path, prefix):
    with sqlite3.connect(tmp_path / "it.db") as db:
        found = db.execute("SELECT name FROM records WHERE name LIKE ?", (f"{prefix}%",))
        return [name for (name,) in found]


async def test_in_two_processes_it_is_one_operation_which_outlives_one(servers, http, tmp_path):
    first, second = servers

    async def submit(server):
        while True:
            response = await http.post(f"{server.url}/digests", content=HEAD + b"data" + END, headers=FORM)
            if response.status_code != 409:
                return response
            await asyncio.sleep(0.02)

    answers = await asyncio.gather(*(submit(server) for server in servers * 10))
    assert {each.status_code for each in answers} == {202}
    assert len({each.headers["location"] for each in answers}) == 1
    assert len(names(tmp_path, "operation/")) == 1
    assert len(list((tmp_path / "home" / "operations").iterdir())) == 1
    first.kill()
    again = await submit(second)
    assert (again.status_code, again.headers["location"]) == (202, answers[0].headers["location"])
    other = await http.post(f"{second.url}/digests", content=HEAD + b"more" + END, headers=FORM)
    assert other.status_code == 422


async def test_what_a_killed_server_held_is_free_after_the_lease(servers, http, tmp_path):
    first, second = servers
    finish = asyncio.Event()

    async def body():
        yield HEAD + b"x" * 100_000
        await finish.wait()

    upload = asyncio.create_task(http.post(f"{first.url}/digests", content=body(), headers=FORM))
    async with asyncio.timeout(10):
        while not names(tmp_path, "operation-arriving/"):
            await asyncio.sleep(0.02)
    whole = {"content": HEAD + b"data" + END, "headers": FORM}
    assert (await http.post(f"{second.url}/digests", **whole)).status_code == 409
    first.kill()
    finish.set()
    await asyncio.wait({upload})
    assert upload.exception() is not None
    async with asyncio.timeout(10):
        while (made := await http.post(f"{second.url}/digests", **whole)).status_code == 409:
            await asyncio.sleep(0.05)
    assert made.status_code == 202
    assert len(names(tmp_path, "operation/")) == 1
