"""One connection's fault holds up no other: neither its writes nor its time."""

from __future__ import annotations

import asyncio

from restive.hub.flusher import Flusher
from restive.hub.wheel import Wheel


class Faulty:
    def flush(self) -> None:
        raise ValueError("broken")

    def tick(self, now: float) -> float | None:
        raise ValueError("broken")


class Sound:
    def __init__(self) -> None:
        self.flushed, self.ticked = asyncio.Event(), asyncio.Event()

    def flush(self) -> None:
        self.flushed.set()

    def tick(self, now: float) -> float | None:
        self.ticked.set()
        return None


async def test_a_connection_that_raises_holds_up_no_other():
    loop, sound = asyncio.get_running_loop(), Sound()
    flusher, wheel = Flusher(loop), Wheel(loop)
    for each in (Faulty(), sound):
        flusher.add(each)
        wheel.at(loop.time(), each)
    await asyncio.wait_for(sound.flushed.wait(), 10)
    await asyncio.wait_for(sound.ticked.wait(), 10)
    again = Sound()
    flusher.add(again)
    await asyncio.wait_for(again.flushed.wait(), 10)
    assert len(wheel) == 0
