"""The network between one node and the backend's server: a TCP proxy that can be cut, held and slowed."""

from __future__ import annotations

import asyncio
import contextlib

CHUNK = 64 * 1024
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """Forwards what comes to ``port``; ``delay`` is in seconds for each piece and direction."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = 0
        self.delay = 0.0
        self._is_cut = False
        self._requests, self._replies = asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.heal()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.break_off()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break off every connection, and every new one, until it is healed."""
        self._is_cut = True
        self.break_off()

    def hold(self, *, replies_only: bool = False) -> None:
        """Let nothing through and say nothing: half-open. With ``replies_only`` requests still arrive."""
        self._replies.clear()
        if not replies_only:
            self._requests.clear()

    def heal(self) -> None:
        self._is_cut, self.delay = False, 0.0
        self._requests.set()
        self._replies.set()

    def break_off(self) -> None:
        """Reset every connection; what was held is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._requests.wait()
            if not self._is_cut:
                await self._forward(
                    (reader, writer), await asyncio.open_connection(*self._target, limit=CHUNK)
                )
        except (OSError, asyncio.CancelledError):
            pass  # the target is away, or we stop
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _forward(self, client: Pair, server: Pair) -> None:
        self._writers.add(server[1])
        pumps = [
            asyncio.create_task(self._pump(client[0], server[1], self._requests)),
            asyncio.create_task(self._pump(server[0], client[1], self._replies)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers.discard(server[1])
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server[1].transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await allowed.wait()
                writer.write(data)
                await writer.drain()
