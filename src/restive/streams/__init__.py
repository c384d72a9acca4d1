"""Streams: append-only sequences at a URI, by the Durable Streams protocol 1.0 (design 3).

https://github.com/durable-streams/durable-streams/blob/main/PROTOCOL.md. A stream's own log in the backend is
the truth of its items and of its writers; only this package writes to it.
"""

from .registry import Host, Streams
from .stream import BlockingStream, Stream, StreamInfo, StreamPage

__all__ = ["BlockingStream", "Host", "Stream", "StreamInfo", "StreamPage", "Streams"]
