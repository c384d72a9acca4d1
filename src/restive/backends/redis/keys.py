"""The names of an app's keys in a Redis.

All share one hash tag, so that a cluster keeps them in one slot and a script may touch them together.
The app's name is percent-encoded in it; what follows the tag is free, since only the first pair of
braces counts. Names of records are fields and members, names of streams the end of a key, as UTF-8.
"""

from __future__ import annotations

from urllib.parse import quote

__all__ = ["Keys"]


class Keys:
    """The keys of the app called ``app``."""

    def __init__(self, app: str) -> None:
        self.prefix = b"{restive:%b}:" % quote(app, safe="/:.@", errors="surrogatepass").encode()
        self.versions = self.prefix + b"versions"
        """Hash: a record's name to its version."""
        self.records = self.prefix + b"records"
        """Hash: a record's name to its version, of 19 digits, and its value."""
        self.names = self.prefix + b"names"
        """Sorted set: the records' names, all with score 0 and so in the order of their bytes."""
        self.streams = self.prefix + b"streams"
        """Hash: a stream's name to its epoch, length, last mark, whether it is closed, its largest item's
        size, and how many items were removed."""
        self.store = self.prefix + b"store"
        """Hash: ``clock``, the last number given, and ``announced``, the id of the last announcement."""
        self.announcements = self.prefix + b"announcements"
        """Stream: each entry has ``p``, the id of the one before it, and ``d``, the payload."""

    @property
    def fixed(self) -> tuple[bytes, ...]:
        """Those that every batch may touch, in the order in which its script takes them."""
        return (self.versions, self.records, self.names, self.streams, self.store, self.announcements)

    def items(self, stream: str) -> bytes:
        """Stream: the items of ``stream``; an entry's id is its position, from 1, and its append's mark."""
        return self.prefix + b"stream:" + stream.encode()
