"""A TCP hop before a server that can refuse, swallow, hold and cut what passes."""

from __future__ import annotations

import asyncio
from typing import Self


class Link:
    """A TCP hop on this test's loop: ``mode`` is ``pass``, ``drop`` (accept and close) or ``swallow``.

    ``cut_after`` closes a connection once so many bytes have come from the server; ``connections`` counts.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.mode = "pass"
        self.cut_after: int | None = None
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self._open.add(writer)
        try:
            if self.mode == "drop":
                return
            if self.mode == "swallow":
                await reader.read()
                return
            await self._pass(reader, writer)
        except (ConnectionError, OSError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        there = asyncio.ensure_future(self._pump(reader, up_writer, None))
        try:
            await self._pump(up_reader, writer, self.cut_after)
        finally:
            there.cancel()
            up_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None
    ) -> None:
        passed = 0
        while data := await reader.read(65536):
            if most is not None and passed + len(data) >= most:
                writer.write(data[: most - passed])
                await writer.drain()
                writer.close()
                return
            passed += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
