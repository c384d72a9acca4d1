"""A client that is nothing but a connection: it sends and reads bytes, whatever they are."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from wire.websocket_client import CLOSE, TEXT, frame

TIMEOUT = 10.0
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Frame(NamedTuple):
    """What a server sent."""

    opcode: int
    data: bytes
    packed: bool

    @property
    def code(self) -> int | None:
        return int.from_bytes(self.data[:2], "big") if self.data else None


class Head(NamedTuple):
    """How a response begins."""

    status: int
    fields: Mapping[str, str]


def request(target: str, fields: Mapping[str, str], method: str = "GET", version: str = "1.1") -> bytes:
    """The head of a request."""
    lines = [f"{name}: {value}" for name, value in {"Host": "shop.test", **fields}.items()]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")


class Raw:
    """One connection; ``room`` bounds what the kernel keeps for a client that does not read.

    ``source`` is the address it comes from.
    """

    def __init__(
        self,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        room: int | None = None,
        source: str | None = None,
    ) -> None:
        self._port, self._tls, self._room, self._source = port, tls, room, source

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        if self._room is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._room)
        if self._source is not None:
            raw.bind((self._source, 0))
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self._port))
        name = "127.0.0.1" if self._tls else None
        self.reader, self.writer = await asyncio.open_connection(
            sock=raw, ssl=self._tls, server_hostname=name, limit=2**22
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End the connection without a word."""
        self.writer.transport.abort()

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def go_on_reading(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def request(
        self, target: str, fields: Mapping[str, str] = {}, *, method: str = "GET", version: str = "1.1"
    ) -> None:
        self.send(request(target, {"Host": f"127.0.0.1:{self._port}", **fields}, method, version))

    async def head(self) -> Head:
        """The status line and the fields of the next response."""
        async with asyncio.timeout(TIMEOUT):
            data = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = data.decode("latin-1").split("\r\n")[:-2]
        pairs = (line.partition(": ") for line in lines)
        return Head(int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs})

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readexactly(size)

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readuntil(mark)

    async def rest(self, timeout: float = TIMEOUT) -> bytes:
        """All that comes until the server ends the connection, which it must do in good order."""
        async with asyncio.timeout(timeout):
            return await self.reader.read()

    async def lost(self, timeout: float = TIMEOUT) -> None:
        """Wait until the server ends the connection, in whatever order."""
        async with asyncio.timeout(timeout):
            try:
                while await self.reader.read(2**20):
                    pass
            except ConnectionError:
                pass

    # Chunked bodies

    async def chunk(self) -> bytes:
        """The next chunk of a body, empty for the last."""
        size = int(await self.until(b"\r\n"), 16)
        return (await self.exactly(size + 2))[:-2]

    # WebSocket

    async def open(self, target: str = "/-/live", **fields: str) -> Head:
        """Shake hands."""
        self.request(target, {**UPGRADE, **{name.replace("_", "-"): value for name, value in fields.items()}})
        return await self.head()

    def say(self, message: Any) -> None:
        """Send JSON as a text frame."""
        self.send(frame(TEXT, json.dumps(message).encode()))

    async def frame(self) -> Frame:
        """The next frame of the server: whole and not masked."""
        first, size = await self.exactly(2)
        assert first & 0x80
        assert size < 128
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8), "big")
        return Frame(first & 0x0F, await self.exactly(size), bool(first & 0x40))

    async def told(self) -> Any:
        """The next text frame as JSON."""
        got = await self.frame()
        assert got.opcode == TEXT, got
        return json.loads(got.data)

    async def closed(self) -> Frame:
        """The close frame, whatever comes before."""
        while (got := await self.frame()).opcode != CLOSE:
            pass
        return got
