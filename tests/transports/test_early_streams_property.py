"""Whatever happens in whatever order: a stream that was opened early tells what one by a call would tell.

It never tells anything older than what somebody could know when it was asked for, nor than what it has told;
and its last word is the state at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.servers import Serve, ThreadServer
from scenarios.waiting import until
from transports.bare_client import Raw, request
from transports.early_board import FIELDS, PUBLIC, Board, Early, Reader, asking, number, start

STREAMS = 4
PLAIN: dict[str, str] = {}


@dataclass(frozen=True)
class Step:
    """What somebody does."""

    what: str
    """``open`` a stream, ``put`` or ``delete`` by a request, ``changed`` or ``gone`` by the app itself."""
    who: int = 0
    """Which stream."""
    cursor: bool = False
    """It is opened with what it had last."""
    call: bool = False
    """It is opened by an ASGI call."""
    turns: int = 0
    """Of the server's loop between the commit and the response."""
    alone: bool = True
    """The next step waits for this one."""


class Notes:
    """The one note of a board: its history, and the latest version that somebody can know of."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.known = board.n
        self.currents = self.ends = 0

    def commit(self, *, absent: bool) -> None:
        """By the app itself, announced from this thread."""
        self.learn(self.board.commit("/a", absent=absent))
        self.board.live.changed("/a")

    def learn(self, n: int) -> None:
        self.known = max(self.known, n)

    def was_gone(self, since: int) -> bool:
        """Whether it was absent in that version or a later one."""
        return any(n >= since for n in self.board.removed)


class Stream:
    """One client, and what it was told on its present connection."""

    def __init__(self, notes: Notes, server: ThreadServer, data: bytes, n: int) -> None:
        self.notes, self.server, self.data, self.name = notes, server, data, n
        self.told = -1
        self.tag = ""
        self.open = False
        self.lock = asyncio.Lock()
        self.reader: Reader | None = None
        self.task: asyncio.Task[None] | None = None

    async def begin(self, *, cursor: bool, call: bool) -> None:
        """Come again, perhaps with what it had last."""
        await self.leave()
        reader = self.reader = await Reader(self.server.port).__aenter__()
        data = self.data
        if cursor and self.tag:
            data = data.replace(b"live=sse", b"live=sse&etag=" + quote(self.tag, safe="").encode())
        self.told = self.notes.known
        reader.send(b"\r\n" + data if call else data)
        head = await reader.until(b"\r\n\r\n")
        if b" 404 " in head.partition(b"\r\n")[0]:
            assert self.notes.was_gone(self.told), self.told
            return
        assert b" 200 " in head.partition(b"\r\n")[0], head
        self.open = True
        self.task = asyncio.create_task(self.read(reader))

    async def read(self, reader: Reader) -> None:
        while chunk := await reader.chunk():
            for event in chunk.split(b"\n\n"):
                self.take(event)

    def take(self, event: bytes) -> None:
        if b"event: end" in event:
            assert self.notes.was_gone(self.told), (event, self.told)
            self.open = False
            self.notes.ends += 1
        elif b"event: current" in event:
            self.notes.currents += 1
        elif b"data:" in event:
            n = number(event)
            assert n >= self.told, (n, self.told)
            self.told = n
            self.notes.learn(n)
            self.tag = re.search(rb"id: (.*)", event)[1].decode()  # type: ignore[index]

    async def leave(self) -> None:
        if self.reader is not None:
            self.reader.cut()
        task, self.task, self.open = self.task, None, False
        if task is not None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await task

    async def at_the_end(self) -> None:
        """It comes to know what is so at the end; where its stream has ended, when it comes again."""
        board = self.notes.board
        while not self.done:
            if not self.open:
                await self.begin(cursor=False, call=False)
            await until(lambda: self.done or not self.open)
            if "/a" in board.absent:
                break
        await self.leave()

    @property
    def done(self) -> bool:
        """It has told the state at the end, or failed to tell what was right."""
        return self.failed or (self.open and self.told == self.notes.board.n)

    @property
    def failed(self) -> bool:
        return self.task is not None and self.task.done() and self.task.exception() is not None


async def carry_out(notes: Notes, streams: list[Stream], writers: list[Raw], steps: list[Step]) -> None:
    locks = [asyncio.Lock() for _ in writers]

    async def take(step: Step) -> None:
        if step.what == "open":
            stream = streams[step.who]
            async with stream.lock:
                await stream.begin(cursor=step.cursor, call=step.call)
        elif step.what in {"changed", "gone"}:
            notes.commit(absent=step.what == "gone")
        else:
            writer, lock = writers[step.who % len(writers)], locks[step.who % len(writers)]
            async with lock:
                fields = {**FIELDS, "Content-Length": "0"}
                writer.send(request(f"/a?turns={step.turns}", fields, step.what.upper()))
                head = await writer.head()
                notes.learn(int(await writer.exactly(int(head.fields["content-length"]))))

    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            task = tasks.create_task(take(step))
            if step.alone:
                await task


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["open"] * 6 + ["put"] * 3 + ["delete", "changed", "gone"]),
        st.integers(0, STREAMS - 1),
        st.booleans(),
        st.booleans(),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=3,
    max_size=25,
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("headers", [PLAIN, PUBLIC], ids=["plain", "public"])
def test_a_stream_tells_nothing_older_than_what_was_known(
    headers: dict[str, str], loop: str, serve: Serve
) -> None:
    early, board = Early(), Board(settle=0.05)
    board.headers = headers
    server = start(serve, board, early, loop=loop)
    data = [asking(), asking(), asking(), asking(Authorization="Bearer x")]
    seen = [0, 0, 0]

    async def example(steps: list[Step]) -> None:
        before = await early.count()
        async with contextlib.AsyncExitStack() as stack:
            notes = Notes(board)
            writers = [await stack.enter_async_context(Raw(server.port)) for _ in range(2)]
            streams = [Stream(notes, server, each, n) for n, each in enumerate(data)]
            begin = [Step("put"), Step("open", 0), Step("open", 1)]
            await carry_out(notes, streams, writers, [*begin, *steps])
            for stream in streams:
                await stream.at_the_end()
        seen[0] += await early.count() - before
        seen[1] += notes.currents
        seen[2] += notes.ends

    @settings(max_examples=60)
    @given(STEPS, st.sampled_from([0, 1, 30]))
    def holds(steps: list[Step], lag: int) -> None:
        board.lag = lag
        asyncio.run(example(steps))

    holds()
    assert seen[0] > 60
    assert min(seen) > 5, seen
