"""How much of what was written to a transport its client has not taken.

The kernel keeps some of it: on Linux up to megabytes, which a slow client takes for minutes while the
transport itself seems to stand still.
"""

from __future__ import annotations

import asyncio
import struct

__all__ = ["unsent"]


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that wait in the transport, and in the kernel where it says."""
    try:
        return transport.get_write_buffer_size() + _queued(transport)
    except (OSError, RuntimeError, AttributeError):  # it has been closed meanwhile
        return 0


def _queued(transport: asyncio.Transport) -> int:
    socket = transport.get_extra_info("socket")
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        return int(struct.unpack("i", ioctl(socket.fileno(), TIOCOUTQ, b"\0\0\0\0"))[0])
    except (ImportError, OSError):  # not this kernel
        return 0
