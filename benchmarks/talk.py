"""Blocking clients for timing one thing at a time: nothing between the socket and the clock."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Protocol

from . import wire
from .server import HOST

TIMEOUT = 20.0


class Connection:
    """A keep-alive connection, for requests one after the other."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""

    def send(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, document: Any = None
    ) -> None:
        """Send a request."""
        self.socket.sendall(wire.request(method, target, headers, document))

    def read(self) -> bytes:
        """More bytes. Raises ``ConnectionError`` at the end."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def answer(self) -> tuple[bytes, bytes]:
        """Head and body of the next response, which says its length."""
        while (parts := wire.head_of(self.left)) is None:
            self.left += self.read()
        head, rest = parts
        length = int(wire.field(head, b"content-length") or 0)
        while len(rest) < length:
            rest += self.read()
        self.left = rest[length:]
        return head, rest[:length]

    def until(self, mark: bytes) -> None:
        """Read until ``mark`` came, and forget what came."""
        while mark not in self.left:
            self.left += self.read()
        self.left = b""

    def say(self, text: bytes) -> None:
        """Send a text over the WebSocket that this has become."""
        self.socket.sendall(wire.frame(wire.TEXT, text))

    def close(self) -> None:
        """Close."""
        self.socket.close()


class Watcher(Protocol):
    """A client that waits for the state that ends in ``mark``."""

    def until(self, mark: bytes) -> None:
        """Wait for it."""
        ...

    def close(self) -> None:
        """Go."""
        ...


def socket_watcher(port: int, target: str, opens: str = "/-/live") -> Connection:
    """A WebSocket on which ``target`` is watched; one opened elsewhere needs no frame."""
    connection = Connection(port)
    connection.socket.sendall(wire.handshake(opens))
    connection.until(b"\r\n\r\n")
    if opens == "/-/live":
        connection.socket.sendall(wire.watch(target))
    return connection


def stream_watcher(port: int, target: str) -> Connection:
    """An event stream or NDJSON, as ``target`` asks for."""
    connection = Connection(port)
    connection.send("GET", target)
    return connection


class LongPoll:
    """Asks again with the tag of the last answer."""

    def __init__(self, port: int, target: str) -> None:
        self._connection = Connection(port)
        self._target = target
        self._ask("")

    def _ask(self, tag: str) -> None:
        self._connection.send("GET", f"{self._target}?live=long-poll&wait=30{tag}")

    def until(self, mark: bytes) -> None:
        """Read answers until one ends in ``mark``; the next poll is on its way then."""
        body = b""
        while not body.endswith(mark):
            head, body = self._connection.answer()
            tag = (wire.field(head, b"etag") or b"").decode().strip('"')
            self._ask(f"&etag={tag}")

    def close(self) -> None:
        """Go."""
        self._connection.close()
