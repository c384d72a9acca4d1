"""One WebSocket: opens it, sends frames, reports what comes under the socket's number."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..wire.messages import Event, parse_event
from .asking import MAX_MESSAGE
from .news import Failure, Kind, of_refusal
from .policy import Policy, retry_after

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

__all__ = ["SUBPROTOCOL", "Handshake", "LiveSocket", "SocketReport"]

SUBPROTOCOL = "restive.v1"
_CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Handshake:
    """Where to connect and with what: ``options`` are keyword arguments of ``websockets.connect``."""

    url: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


class SocketReport(Protocol):
    """Where it is told what came."""

    def opened(self, number: int) -> None:
        """Frames can be sent."""

    def event(self, number: int, event: Event) -> None:
        """An event came."""

    def failed(self, number: int, failure: Failure) -> None:
        """It did not open, or it is gone."""


class LiveSocket:
    """A socket and its two tasks."""

    def __init__(
        self,
        number: int,
        handshake: Callable[[], Awaitable[Handshake]],
        policy: Policy,
        report: SocketReport,
    ) -> None:
        self._number = number
        self._handshake = handshake
        self._policy = policy
        self._report = report
        self._outbox: asyncio.Queue[str] = asyncio.Queue()

    def send(self, text: str) -> None:
        """Send a text frame, in order."""
        self._outbox.put_nowait(text)

    async def run(self) -> None:
        """Live until the socket is gone or the task is cancelled, which closes it."""
        try:
            connection = await self._connect()
        except Exception as error:  # noqa: BLE001 - whatever a handshake fails with, its kind is told
            self._report.failed(self._number, _handshake_failure(error))
            return
        writer: asyncio.Task[None] | None = None
        try:
            if connection.subprotocol != SUBPROTOCOL:
                refused = ValueError(f"The server does not speak {SUBPROTOCOL}.")
                self._report.failed(self._number, Failure(Kind.REFUSED, refused))
                return
            writer = asyncio.create_task(self._write(connection))
            self._report.opened(self._number)
            await self._read(connection)
        finally:
            if writer is not None:
                writer.cancel()
            await connection.close()

    async def _connect(self) -> ClientConnection:
        from websockets.asyncio.client import connect

        class Connect(connect):
            """Follows no redirect: the client's credentials, of whatever name, are for this server."""

            def process_redirect(self, exc: Exception) -> Exception | str:
                return exc

        shake = await self._handshake()
        return await Connect(
            shake.url,
            subprotocols=[_subprotocol()],
            additional_headers=shake.headers,
            user_agent_header=None,
            open_timeout=self._policy.patience,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE,
            **shake.options,
        )

    async def _read(self, connection: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = await connection.recv()
                # A kind of event that a later server adds is not for us.
                with contextlib.suppress(ValueError):
                    self._report.event(self._number, parse_event(message))
        except ConnectionClosed as error:
            self._report.failed(self._number, Failure(Kind.DROPPED, error))

    async def _write(self, connection: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        # The reader sees the same close, and reports it.
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(await self._outbox.get())


def _subprotocol() -> Any:
    from websockets.typing import Subprotocol

    return Subprotocol(SUBPROTOCOL)


def _handshake_failure(error: Exception) -> Failure:
    """What it says of the server, or of WebSockets on the way to it."""
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

    if isinstance(error, InvalidStatus):
        response = error.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        problem = of_refusal(response.status_code, headers, bytes(response.body or b""))
        busy = response.status_code == 429 or response.status_code >= 500
        kind = Kind.BUSY if busy else Kind.REFUSED
        return Failure(kind, problem, retry_after(headers, time.time()))
    if isinstance(error, TimeoutError):
        return Failure(Kind.SILENT, error)
    if isinstance(error, InvalidMessage | EOFError | ConnectionResetError):
        return Failure(Kind.DROPPED, error)
    if isinstance(error, OSError) and not isinstance(error, InvalidHandshake):
        return Failure(Kind.UNREACHABLE, error)
    return Failure(Kind.REFUSED, error)
