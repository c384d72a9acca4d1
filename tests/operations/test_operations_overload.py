"""Too much, or nothing works: each submission ends in a clear answer and leaves nothing half done."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets

import pytest
from fastapi import UploadFile
from msgspec.structs import replace

from restive.operations import forms
from restive.operations.identity import new_identity


def key(value):
    return {"Idempotency-Key": value}


def owner_of_request(request):
    return "ann"


async def submit(bench, number):
    return await bench.client.post(f"/waits?number={number}")


def problem(response, status):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    return response.json()


# The disk is full


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_is_a_507_and_leaves_the_key_free(bench, home, monkeypatch):
    @bench.operation("/digests")
    def digest(file: UploadFile) -> int:
        return file.size

    files = bench.operations.service.files
    for owner, name in ((files, "sync"), (files, "upload")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            refused = await bench.client.post("/digests", files={"file": b"data"}, headers=key("k"))
            problem(refused, 507)
        assert bench.host.backend.scan("operation") == []
        assert not list(home.rglob("uploads"))
    with monkeypatch.context() as patch:
        patch.setattr(forms, "_unnamed", lambda _: open("/dev/full", "wb"))  # noqa: SIM115
        problem(await bench.client.post("/digests", files={"file": bytes(100_000)}, headers=key("k")), 507)
    assert bench.host.backend.scan("operation") == []
    assert (await bench.run("/digests", files={"file": b"data"}, headers=key("k")))["result"] == 4


# Many


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_ten_thousand_wait(new_bench, gate):
    """They were submitted to a process that is gone; the next one has them all in its queue."""

    def declare(bench):
        @bench.operation("/waits", owner=owner_of_request)
        def wait(number: int) -> int:
            gate.wait(60)
            return number

    before = new_bench(max_queued=10_000, workers=1, owner_queued=0)
    declare(before)
    first = await submit(before, 0)
    store = before.operations.service.store
    sample, arguments = store.load(first.json()["id"]), b'{"number":1}'
    await asyncio.to_thread(before.operations.drain, 0)
    for number in range(9_999):
        identity = new_identity(sample.created - 10 + number / 1000, secrets.token_bytes)
        waiting = replace(sample, id=identity, status="queued", started=None, lease=None)
        store.create(waiting, arguments)

    bench = new_bench(max_queued=10_000, workers=1, owner_queued=0)
    declare(bench)
    await asyncio.to_thread(bench.operations.resume)
    location = ""
    while (last := await submit(bench, 10_000)).status_code == 202:
        assert last.json()["queue"]["position"] > 9_900
        location = last.headers["location"]
    assert problem(last, 503)["title"] == "The queue is full"
    assert int(last.headers["retry-after"]) >= 1
    assert (await bench.client.get(location)).json()["queue"]["position"] > 9_900
    page = await bench.client.get("/waits?status=queued&limit=200")
    assert len(page.json()) == 200
    assert "next" in page.links
    assert (await bench.client.post(f"{location}/cancel")).json()["status"] == "canceled"
    again = await submit(bench, 10_001)
    assert again.status_code == 202, "there is room for one"
    assert (await bench.client.delete(again.headers["location"])).status_code == 204
    gate.set()
    await asyncio.to_thread(bench.operations.drain, 0)
