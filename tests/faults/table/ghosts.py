"""Clients that vanish: they are reset in mid-stream, or read nothing and say nothing for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from random import Random

from .nodes import Node
from .schedule import Schedule

HANDSHAKE = (
    "GET /-/live HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REQUEST = "GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
FRAME = b"\x81"
RESET = struct.pack("ii", 1, 0)


class Ghosts:
    """Some sockets, opened at random times by ``run``; nobody ever reads from them."""

    def __init__(self, plan: Schedule, nodes: Sequence[Node]) -> None:
        self._plan, self._nodes = plan, nodes
        self._random = Random(f"ghosts {plan.seed}")
        self._sockets: list[socket.socket] = []

    async def run(self) -> None:
        for _ in range(self._plan.ghosts):
            await asyncio.sleep(self._random.uniform(0.0, 0.4))
            await self._appear(self._random.choice(self._nodes))

    def vanish(self) -> None:
        """Every other one is reset; the rest stays, deaf."""
        for each in self._sockets[::2]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            each.close()
        self._sockets = self._sockets[1::2]

    def stop(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = []

    async def _appear(self, node: Node) -> None:
        resource = self._random.choice(self._plan.writers).resource
        live = self._random.choice(("sse", "ndjson", "long-poll&wait=100", "websocket"))
        ours = socket.socket()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            async with asyncio.timeout(1):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(ours, ("127.0.0.1", node.port))
                await loop.sock_sendall(ours, self._opening(node, resource, live))
        except (OSError, TimeoutError):
            ours.close()
        except asyncio.CancelledError:
            ours.close()
            raise
        else:
            # Not before: the loop would go on with a number that the next connection has.
            self._sockets.append(ours)

    def _opening(self, node: Node, resource: str, live: str) -> bytes:
        host = f"127.0.0.1:{node.port}"
        if live != "websocket":
            return REQUEST.format(host=host, target=f"{resource}?live={live}").encode()
        text = f'{{"watch": "{resource}"}}'.encode()
        masked = FRAME + bytes([0x80 | len(text)]) + bytes(4) + text
        return HANDSHAKE.format(host=host).encode() + masked
