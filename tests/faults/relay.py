"""What stands before the servers, as a load balancer does: one port, whose connections go to any of them."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

CHUNK = 64 * 1024


class Relay:
    """``targets`` are the ports that take new connections; without one a connection is refused."""

    def __init__(self, random: Random) -> None:
        self.targets: list[int] = []
        self.port = 0
        self._random = random
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._accepting: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        tasks = [*self._accepting, *self._pumps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection off."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepting.add(task)
        self._open.add(writer)
        try:
            for port in self._random.sample(self.targets, len(self.targets)):
                with contextlib.suppress(OSError):
                    upstream = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
                    await self._both((reader, writer), upstream)
                    return
        except asyncio.CancelledError:
            pass  # by stop
        finally:
            self._accepting.discard(task)
            self._open.discard(writer)
            writer.transport.abort() if not writer.is_closing() else None

    async def _both(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._open.add(server[1])
        pumps = [
            asyncio.create_task(_pump(client[0], server[1])),
            asyncio.create_task(_pump(server[0], client[1])),
        ]
        self._pumps.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pumps.difference_update(pumps)
            self._open.discard(server[1])
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (server[1], client[1]):
                writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
