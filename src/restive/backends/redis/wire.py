"""One connection to a Redis: commands out, replies in, every wait bounded.

redis-py speaks the protocol; its own retries, health checks and pools are not used, since whether a
command may be repeated, only its sender knows. A connection whose exchange was cut short is closed, so
that nobody gets another's reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError
from redis.retry import Retry

from .url import Address, RedisUrl

__all__ = ["Wire", "pack"]

CHUNK = 1 << 18
"""Bytes that are given to the socket at once: each has the whole timeout."""


def pack(arguments: Sequence[bytes]) -> bytes:
    """One command as it is sent (RESP2 array of bulk strings)."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts += (b"$%d\r\n" % len(argument), argument, b"\r\n")
    return b"".join(parts)


class Wire:
    """A connection to ``address``, which is open once this is made. Raises what redis-py raises."""

    def __init__(self, url: RedisUrl, address: Address) -> None:
        kind: Any = SSLConnection if url.tls else Connection
        self._connection: Any = kind(
            host=address[0],
            port=address[1],
            db=url.db,
            username=url.user,
            password=url.password,
            socket_timeout=url.timeout,
            socket_connect_timeout=url.timeout / 2,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # it would need leave for one command more
            **url.options,
        )
        self._connection.connect()

    def send(self, data: bytes) -> None:
        """Send packed commands."""
        if not self._connection.is_connected:  # redis-py would connect again by itself
            raise NotConnected("the connection is closed")
        self._connection.send_packed_command(_chunks(data), check_health=False)

    def receive(self, within: float | None = None) -> Any:
        """The next reply, waited for so many seconds, else the URL's. Raises ResponseError for an error."""
        if within is None:
            return self._connection.read_response(disable_decoding=True)
        return self._connection.read_response(disable_decoding=True, timeout=within)

    def ask(self, *arguments: bytes, within: float | None = None) -> Any:
        """Send one command and return its reply."""
        self.send(pack(arguments))
        return self.receive(within)

    def rests(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        try:
            return self._connection.is_connected and not self._connection.can_read(0)
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        """Close it."""
        self._connection.disconnect()

    def interrupt(self) -> None:
        """End a wait for a reply, from another thread; who waits has to close it."""
        socket = self._connection._get_socket()  # noqa: SLF001 - disconnect() is not for two threads
        with suppress(OSError):
            socket.shutdown(SHUT_RDWR)


def _chunks(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= CHUNK:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(view), CHUNK):
        yield view[start : start + CHUNK]
