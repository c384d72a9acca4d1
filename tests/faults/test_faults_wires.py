"""The faults themselves: a wire that is cut, held or slow, and a full disk, are what they are called."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from faults.table.stores import SqliteStore
from faults.table.wires import Wire

SHORT = 0.3
"""Seconds in which nothing comes, where nothing should."""


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """To a server that answers each line with the same; ``arrived`` has what it has got."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                arrived.append(line)
                writer.write(line)
                await writer.drain()
        writer.close()

    arrived: list[bytes] = []
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    made = Wire("127.0.0.1", server.sockets[0].getsockname()[1])
    made.arrived = arrived  # type: ignore[attr-defined]
    await made.start()
    yield made
    await made.stop()
    server.close()


class Client:
    """One connection through the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._wire.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def say(self, line: bytes) -> None:
        self._writer.write(line)

    async def heard(self, within: float = 5.0) -> bytes:
        async with asyncio.timeout(within):
            return await self._reader.readline()


async def test_a_wire_forwards_both_ways(wire):
    async with Client(wire) as client:
        client.say(b"one\n")
        assert await client.heard() == b"one\n"


async def test_a_cut_wire_breaks_off_old_and_new_connections_until_it_is_healed(wire):
    async with Client(wire) as client:
        client.say(b"one\n")
        await client.heard()
        wire.cut()
        with suppress(ConnectionError):
            assert await client.heard() == b""
    async with Client(wire) as client:
        with suppress(ConnectionError):
            assert await client.heard() == b""
    wire.heal()
    async with Client(wire) as client:
        client.say(b"two\n")
        assert await client.heard() == b"two\n"


@pytest.mark.parametrize("replies_only", [False, True])
async def test_a_held_wire_says_nothing_and_gives_all_when_it_is_healed(wire, replies_only):
    async with Client(wire) as client:
        client.say(b"one\n")
        await client.heard()
        wire.hold(replies_only=replies_only)
        client.say(b"two\n")
        with pytest.raises(TimeoutError):
            await client.heard(SHORT)
        assert wire.arrived == [b"one\n", b"two\n"] if replies_only else [b"one\n"]
        wire.heal()
        assert await client.heard() == b"two\n"


async def test_what_was_held_is_lost_when_the_wire_breaks(wire):
    async with Client(wire) as client:
        client.say(b"one\n")
        await client.heard()
        wire.hold()
        client.say(b"two\n")
        with pytest.raises(TimeoutError):
            await client.heard(SHORT)
        wire.break_off()
        wire.heal()
        with suppress(ConnectionError):
            assert await client.heard() == b""
    assert wire.arrived == [b"one\n"]


async def test_a_slow_wire_takes_its_time(wire):
    wire.delay = 0.1
    async with Client(wire) as client:
        begun = time.monotonic()
        client.say(b"one\n")
        assert await client.heard() == b"one\n"
        assert time.monotonic() - begun >= 0.19


WRITES = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("CREATE TABLE t (b BLOB)")
for _ in sys.stdin:
    try:
        for _ in range(40):
            db.execute("INSERT INTO t VALUES (zeroblob(30000))")
        print("written", flush=True)
    except sqlite3.OperationalError as error:
        print("refused", flush=True)
"""


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "limited"])
async def test_a_full_disk_refuses_until_it_is_emptied(tmp_path: Path, mounted: bool):
    store = SqliteStore(tmp_path)
    await store.start()
    if not mounted:  # as where nobody may mount
        await store.stop()
        store._mounted = False
    path = store.url(None).removeprefix("sqlite:///")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def written() -> str:
        process.stdin.write("\n")
        return process.stdout.readline().strip()

    try:
        assert written() == "written"
        async with store.full([process.pid]):
            assert written() == "refused"
        assert written() == "written"
    finally:
        process.kill()
        process.communicate()
        await store.stop()
