"""The floor of a push: a WebSocket server by the ``websockets`` library that says what it hears."""

from __future__ import annotations

import argparse
import asyncio
import http
import sys
from contextlib import AbstractContextManager

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from .server import HOST, Server, running


def echoing() -> AbstractContextManager[Server]:
    """The server in a process of its own."""
    return running([sys.executable, "-m", "benchmarks.echo"])


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def _ready(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(http.HTTPStatus.OK, "ready\n") if request.path == "/ready" else None


async def _serve(port: int) -> None:
    async with serve(
        _echo, HOST, port, process_request=_ready, compression=None, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
