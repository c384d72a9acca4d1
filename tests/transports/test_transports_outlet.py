"""The outlet: waiting with one timer, and sending with none where the client takes it at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from restive.hub.hub import Hub
from restive.settings import Settings
from restive.telemetry.metrics import LONG_POLL
from restive.transports.outlet import Outlet, Stalled, send_in_time


def outlet() -> Outlet:
    return Outlet(Hub(None, Settings(), state=lambda: None), "203.0.113.1", LONG_POLL)  # type: ignore[arg-type]


async def test_a_send_that_suspends_goes_on_where_it_was() -> None:
    sent: list[Any] = []
    go_on = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append("begun")
        await go_on.wait()
        await asyncio.sleep(0)
        sent.append(message)

    task = asyncio.create_task(send_in_time(send, {"type": "x"}, 60))
    await asyncio.sleep(0)
    assert sent == ["begun"]
    go_on.set()
    await task
    assert sent == ["begun", {"type": "x"}]


@pytest.mark.parametrize("late", [False, True])
async def test_what_a_send_raises_is_raised(*, late: bool) -> None:
    async def send(_message: Any) -> None:
        if late:
            await asyncio.sleep(0)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await send_in_time(send, {}, 60)


async def test_a_send_that_never_ends_is_given_up_and_cancelled() -> None:
    ended: list[str] = []

    async def send(_message: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(Stalled):
        await send_in_time(send, {}, 0.01)
    assert ended == ["cancelled"]


async def test_cancelling_the_sender_cancels_the_send() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def send(_message: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(send_in_time(send, {}, 60))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_send_that_is_no_coroutine_is_awaited() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await send_in_time(lambda _message: future, {}, 60)
    assert future.done()


async def test_waiting_tells_silence_from_news() -> None:
    out = outlet()
    assert not await out.wait(0.01)
    asyncio.get_running_loop().call_soon(out.wake)
    assert await out.wait(60)
    assert not await out.wait(0.01)
    out.leave()
    assert await out.wait(60)
    out.close()


async def test_a_timer_that_fires_while_nobody_waits_is_no_silence() -> None:
    out = outlet()
    asyncio.get_running_loop().call_soon(out.wake)
    assert await out.wait(0.01)
    await asyncio.sleep(0.03)
    asyncio.get_running_loop().call_later(0.01, out.leave)
    assert await out.wait(60)
    assert out.gone
    out.close()


def test_times_that_have_come_already_are_no_trouble_on_uvloop() -> None:
    """Its ``call_at`` gives a handle without ``when`` for them."""

    async def main() -> None:
        out = outlet()
        for timeout in (0.0, -1.0, 0.0, 0.001):
            assert not await out.wait(timeout)
        hub = out._hub
        for at in (hub.now() + 9, hub.now() - 1, hub.now() - 2):
            hub._pump_at(at)
        await asyncio.sleep(0.01)
        assert hub._pump_timer is None
        out.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
