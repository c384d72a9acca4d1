"""Just enough of HTTP/1.1 and RFC 6455 for a client that costs next to nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


def request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    document: Any = None,
    body: bytes | None = None,
) -> bytes:
    """A request, with ``document`` as its JSON body, or ``body`` as it is."""
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if document is not None:
        body = json.dumps(document, separators=(",", ":")).encode()
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode() + (body or b"")


def handshake(target: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The request that opens a WebSocket."""
    upgrade = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    return request("GET", target, upgrade | dict(headers or {}))


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame of less than 64 KiB. A mask of zeros leaves the payload as it is."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def watch(target: str) -> bytes:
    """The frame that begins a watch over Restive's socket."""
    return frame(TEXT, json.dumps({"watch": target}).encode())


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames of a server in ``data``, as (opcode, payload), and what is left over."""
    found = []
    while len(data) >= 2:
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                break
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            break
        found.append((data[0] & 0xF, data[start : start + size]))
        data = data[start + size :]
    return found, data


def head_of(data: bytes) -> tuple[bytes, bytes] | None:
    """Head and rest of a response; None before the head is whole."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    return (head, rest) if mark else None


def field(head: bytes, name: bytes) -> bytes | None:
    """The value of a field in a head."""
    for line in head.split(b"\r\n")[1:]:
        given, _, value = line.partition(b":")
        if given.strip().lower() == name:
            return value.strip()
    return None
