"""Members of a variant on the real transports of socket pairs, and what their clients got."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from virtual import Bench, Page

from restive.http.invalidation import Change
from restive.hub.rendering import Rendering
from restive.hub.watch import End, Event, State, Watch
from restive.transports.bare import Bare
from scenarios.waiting import until

QUIET: dict[str, Any] = {"settle": 600, "min_interval": 0.0, "recheck": 3600, "heartbeat": 3600}


def line(rendering: Rendering, on: str) -> bytes:
    """The form of a state: its body, and what ends it."""
    return rendering.body + b"\n"


Play = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
"""Runs a coroutine on one of the loops."""


class _Books:
    def gone(self, connection: Bare) -> None:
        pass


BOOKS = _Books()


class Member(Bare):
    """A client of the hub, and the other end of its connection."""

    __slots__ = ("client", "flushes", "got", "rests", "told", "watches")

    def __init__(self, bench: Bench, client: socket.socket) -> None:
        super().__init__(bench.hub, "203.0.113.1", BOOKS, line)
        self.client = client
        self.got = b""
        self.flushes = 0
        """Turns in which it was written to by itself."""
        self.told: list[Watch] = []
        """What it was asked to tell by itself."""
        self.rests: list[int] = []
        """Bytes that a push could not write."""
        self.watches: list[Watch] = []

    @classmethod
    async def of(cls, bench: Bench, *, room: int | None = None) -> Member:
        """A new one, whose kernel keeps about ``room`` bytes."""
        ours, theirs = socket.socketpair()
        for end, option in ((ours, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF)):
            end.setblocking(False)
            if room is not None:
                end.setsockopt(socket.SOL_SOCKET, option, room)
        member = cls(bench, theirs)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: member, sock=ours)
        member.begin(transport, set())
        return member

    def watch(self, bench: Bench, target: str = "/a", **options: Any) -> Watch:
        """Watch ``target``, as a sink of the hub."""
        _, watch = bench.watch(target, client=self, **options)  # type: ignore[arg-type]
        self.watches.append(watch)
        return watch

    def leave(self) -> None:
        """Close the connection from the server's side."""
        if self._transport is not None:
            self._transport.abort()

    # What the hub does

    def ready(self, watch: Watch) -> None:
        self.told.append(watch)
        super().ready(watch)

    def flush(self) -> None:
        self.flushes += 1
        super().flush()

    def unsent(self, data: bytes) -> None:
        self.rests.append(len(data))
        super().unsent(data)

    # What a protocol does

    def data_received(self, data: bytes) -> None:
        pass

    def event(self, watch: Watch, event: Event) -> bytes:
        if isinstance(event, State):
            return b"patch\n" if event.base is not None else event.rendering.wire(self.form, watch.on)
        return b"end\n" if isinstance(event, End) else b"current\n"

    def beat(self) -> None:
        pass

    def farewell(self) -> None:
        pass

    def lost(self) -> None:
        for watch in self.watches:
            watch.close()

    # The client's side

    def read(self) -> None:
        """Take what has come."""
        while True:
            try:
                data = self.client.recv(2**20)
            except (BlockingIOError, ConnectionError):
                return
            if not data:
                return
            self.got += data

    def lines(self) -> list[bytes]:
        """What came until now."""
        self.read()
        assert self.got.endswith(b"\n") or not self.got, "a line was cut off"
        return self.got.split(b"\n")[:-1]

    async def has(self, last: bytes) -> None:
        """Wait until ``last`` is the last line."""

        def came() -> bool:
            self.read()
            return self.got.endswith(b"\n") and self.got.split(b"\n")[-2] == last

        await until(came)


class Party:
    """A page, its hub, and members who watch it."""

    def __init__(self, page: Page | None = None, **settings: Any) -> None:
        self.page = Page(b'{"n":0}', cache_control="public, max-age=3600") if page is None else page
        self.bench = Bench(self.page, **{**QUIET, **settings})
        self.members: list[Member] = []

    async def join(self, count: int = 1, *, target: str = "/a", room: int | None = None) -> list[Member]:
        """So many more, told what there is."""
        new = [await Member.of(self.bench, room=room) for _ in range(count)]
        for member in new:
            member.watch(self.bench, target)
        self.members += new
        for member in new:
            await member.has(self.page.body)
            member.told.clear()
            member.flushes, member.wrote = 0, False
        return new

    def change(self, n: Any, *targets: str) -> bytes:
        """Another state, announced."""
        self.page.body = body = b'{"n":%b}' % str(n).encode()
        self.announce(targets or ("/a",))
        return body

    def announce(self, targets: Iterable[str]) -> None:
        self.bench.hub.announce([Change(target) for target in targets])

    def close(self) -> None:
        """End all of it, and leave no descriptor."""
        for member in self.members:
            member.leave()
            member.client.close()
        self.bench.hub.wheel.close()
