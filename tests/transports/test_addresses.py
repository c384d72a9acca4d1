"""The addresses of a connection, and that nothing waits for Nagle's algorithm, on both loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from restive.transports.uvicorn import Http
from restive.transports.uvicorn.addresses import addresses

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


async def accepted(
    listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]
) -> asyncio.Transport:
    """The server's transport of one connection to ``listening``."""
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def one() -> asyncio.BaseProtocol:
        made.append(protocol())
        return made[0]

    server = await loop.create_server(one, sock=listening)
    client, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname()[:2])
    while not made or getattr(made[0], "transport", None) is None:
        await asyncio.sleep(0.01)
    transport: asyncio.Transport = made[0].transport
    client.close()
    server.close()
    return transport


class Plain(asyncio.Protocol):
    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


@LOOPS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_they_are_what_uvicorn_says(new_loop, host):
    async def main() -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        transport = await accepted(socket.create_server((host, 0), family=family), Plain)
        assert addresses(transport) == (get_local_addr(transport), get_remote_addr(transport))
        transport.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@LOOPS
def test_small_writes_go_at_once_where_uvicorn_has_made_the_listening_socket(new_loop):
    async def main() -> None:
        config = Config(app, host="127.0.0.1", port=0, log_level="critical")
        config.load()
        transport = await accepted(config.bind_socket(), lambda: Http(config, ServerState(), {}))
        held = transport.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(held.fileno())) as asked:
            assert asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
