"""What the clients of one operation do: submit it, watch it, read its parts, cancel it, see its end."""

from __future__ import annotations

import asyncio

from .observers import Observers
from .plans import Submission


async def live_through(observers: Observers, wanted: Submission) -> None:
    """From the submission on until everybody has seen the end."""
    op = await observers.submit(wanted)
    reader = asyncio.create_task(
        observers.follow_parts(op, "log.txt" if wanted.kind == "follow" else "2.txt")
    )
    watches = [asyncio.create_task(observers.watch(op, each)) for each in wanted.transports]
    try:
        if wanted.then:
            await asyncio.sleep(wanted.after)
            await observers.ask(wanted.then, op)
        await asyncio.gather(*watches)
        await observers.poll(op)
    finally:
        for task in (reader, *watches):
            task.cancel()
        await asyncio.gather(reader, *watches, return_exceptions=True)
