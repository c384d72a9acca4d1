"""What holds when a worker process is killed, stopped, or ends itself."""

from __future__ import annotations

import asyncio
import os
import signal

import httpx2
import pytest

from faults.fleet import eventually
from faults.validators import INTERRUPTED

pytestmark = pytest.mark.timeout(120)


async def test_a_killed_worker_harms_only_its_own_operation(scene):
    server = await scene.start()
    harmed = await scene.submit(server, "/processes/2/count", steps=20)
    other = await scene.submit(server, "/processes/0/count", steps=20)
    threaded = await scene.submit(server, "/threads/0/count", steps=20)
    pid = await scene.at_work(harmed)
    assert pid not in {await scene.at_work(other), server.pid}
    os.kill(pid, signal.SIGKILL)
    document = await scene.done(server, harmed)
    assert (document["status"], document["attempt"]) == ("succeeded", 2)
    for op in (other, threaded):
        document = await scene.done(server, op)
        assert (document["status"], document["attempt"]) == ("succeeded", 1)


async def test_a_killed_worker_without_retries_is_an_interruption(scene):
    server = await scene.start()
    op = await scene.submit(server, "/processes/0/count", steps=20)
    os.kill(await scene.at_work(op), signal.SIGKILL)
    document = await scene.done(server, op)
    assert (document["status"], document["attempt"]) == ("failed", 1)
    assert document["error"]["type"] == INTERRUPTED
    again = await scene.submit(server, "/processes/0/count", steps=1)
    assert (await scene.done(server, again))["status"] == "succeeded"


async def test_all_helpers_killed_leaves_a_server_that_goes_on(scene):
    """The one that makes the workers too."""
    server = await scene.start()
    op = await scene.submit(server, "/processes/2/count", steps=20)
    await scene.at_work(op)
    for pid in server.helpers():
        os.kill(pid, signal.SIGKILL)
    document = await scene.done(server, op)
    assert (document["status"], document["attempt"]) == ("succeeded", 2)
    again = await scene.submit(server, "/processes/0/count", steps=1)
    assert (await scene.done(server, again))["status"] == "succeeded"


async def test_a_function_that_ends_its_process_is_run_again(scene):
    server = await scene.start()
    document = await scene.done(server, await scene.submit(server, "/processes/2/leave"))
    assert (document["status"], document["attempt"]) == ("succeeded", 2)
    document = await scene.done(server, await scene.submit(server, "/processes/0/leave"))
    assert (document["status"], document["error"]["type"]) == ("failed", INTERRUPTED)


async def test_a_stopped_worker_goes_on_where_it_was(scene):
    """Its lease is the server's, which lives."""
    server = await scene.start()
    op = await scene.submit(server, "/processes/0/count", steps=10)
    pid = await scene.at_work(op)
    os.kill(pid, signal.SIGSTOP)
    before = await scene.get(server, op)
    await asyncio.sleep(2.0)  # two leases
    assert (await scene.get(server, op))["status"] == before["status"] == "running"
    os.kill(pid, signal.SIGCONT)
    document = await scene.done(server, op)
    assert (document["status"], document["attempt"]) == ("succeeded", 1)


async def test_a_stopped_worker_that_is_to_end_is_killed(scene):
    """Cancel, and the worker does not answer: it is ended by force, and another one takes its place."""
    server = await scene.start()
    op = await scene.submit(server, "/processes/2/count", steps=50)
    pid = await scene.at_work(op)
    os.kill(pid, signal.SIGSTOP)
    answer = await scene.http.post(f"{server.url}{op}/cancel")
    assert answer.status_code == 202
    assert (await scene.done(server, op))["status"] == "canceled"
    await eventually(lambda: pid not in server.helpers(), 20)
    again = await scene.submit(server, "/processes/0/count", steps=1)
    assert (await scene.done(server, again))["status"] == "succeeded"


async def test_who_follows_a_part_is_cut_when_its_writer_is_killed(scene):
    server = await scene.start()
    op = await scene.submit(server, "/processes/0/follow", steps=100)
    pid = await scene.at_work(op)
    taken = bytearray()

    async def follow():
        async with scene.http.stream("GET", f"{server.url}{op}/parts/log.txt") as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_raw():
                if not taken:
                    os.kill(pid, signal.SIGKILL)
                taken.extend(chunk)

    with pytest.raises(httpx2.TransportError):
        await asyncio.wait_for(follow(), 40)
    assert taken
    assert (await scene.done(server, op))["status"] == "failed"


async def test_the_part_of_a_killed_writer_is_written_anew(scene):
    server = await scene.start()
    op = await scene.submit(server, "/processes/2/follow", steps=10)
    os.kill(await scene.at_work(op, 4), signal.SIGKILL)
    document = await scene.done(server, op)
    assert (document["status"], document["attempt"], document["parts"]) == ("succeeded", 2, 1)
    text = (await scene.http.get(f"{server.url}{op}/parts/log.txt")).text
    identity = op.rpartition("/")[2]
    assert text == "".join(f"{identity} {number} " * 50 for number in range(1, 11))
