"""A bare socket at ``/-/live``: frames as JSON in both directions, and how it was closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from scenarios.servers import Server

TIMEOUT = 8.0
V1 = ("restive.v1",)


class Socket:
    """Opened by ``async with``; raises ``websockets.InvalidStatus`` where the handshake is refused."""

    def __init__(
        self,
        server: Server,
        *,
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        subprotocols: tuple[str, ...] | None = V1,
        path: str = "/-/live",
    ) -> None:
        self._url = server.ws + path
        self._options: dict[str, Any] = {
            "additional_headers": dict(headers or {}),
            "origin": origin,
            "subprotocols": subprotocols,
        }

    async def __aenter__(self) -> Self:
        self.connection: ClientConnection = await connect(
            self._url, proxy=None, close_timeout=1, max_size=None, **self._options
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    async def send(self, frame: Any) -> None:
        await self.connection.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def frame(self, timeout: float = TIMEOUT) -> Any:
        async with asyncio.timeout(timeout):
            return json.loads(await self.connection.recv())

    async def ask(self, frame: Any) -> Any:
        """Send, and give the next frame."""
        await self.send(frame)
        return await self.frame()

    async def error(self, frame: Any) -> Any:
        """Send what must be refused, and give the problem."""
        answer = await self.ask(frame)
        assert "error" in answer, answer
        assert 400 <= answer["error"]["status"] < 500
        assert answer["error"]["title"]
        return answer

    async def silent(self, seconds: float) -> None:
        """Nothing comes for so long."""
        try:
            frame = await self.frame(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {frame}")

    async def closed(self, timeout: float = TIMEOUT) -> tuple[int, list[Any]]:
        """The code that the server closes with, and the frames before it."""
        frames = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                frames.append(await self.frame(timeout))
        assert self.connection.close_code not in {None, 1006}, "no close frame"
        return self.connection.close_code or 0, frames
