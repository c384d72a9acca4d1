"""The protocol's published clients write to and read from a server of ours."""

from __future__ import annotations

import asyncio
import json

import pytest
from durable_streams import AsyncDurableStream, DurableStream, SeqConflictError, StreamNotFoundError, stream

from scenarios.servers import ProcessServer, Spawn
from streams.published import node


@pytest.fixture
def server(spawn: Spawn) -> ProcessServer:
    return spawn("streams.stream_apps:app")


@pytest.mark.timeout(280)
@pytest.mark.parametrize("live", ["none", "long-poll", "sse"])
def test_the_typescript_client_reads_what_it_has_written(server: ProcessServer, live: str) -> None:
    done = node(["node", "reader.js", f"{server.url}/v1/stream/{live}", live])
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got[0] == {"number": 1}
    if live != "none":
        assert got == [{"number": 1}, {"number": 2}, {"number": 3}]


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_the_python_client_follows_to_the_end(server: ProcessServer, live: str) -> None:
    url = f"{server.url}/v1/stream/python"
    with DurableStream.create(url, content_type="application/json") as written:
        written.append({"number": 1}, seq="001")
        with stream(url, offset="-1", live=live) as reading:
            items = reading.iter_json()
            got = [next(items)]
            for number in range(2, 10):
                written.append({"number": number}, seq=f"{number:03d}")
            with pytest.raises(SeqConflictError):
                written.append({"number": 0}, seq="002")
            while len(got) < 9:
                got.append(next(items))
        assert got == [{"number": number} for number in range(1, 10)]
        tail = written.head().offset
        written.append({"number": 10})
        with stream(url, offset=tail, live=False) as rest:
            assert rest.read_json() == [{"number": 10}]
        written.delete()
        with pytest.raises(StreamNotFoundError):
            written.head()


async def test_the_python_client_reads_bytes_on_a_loop(server: ProcessServer) -> None:
    url = f"{server.url}/v1/stream/bytes"
    async with await AsyncDurableStream.create(url, content_type="application/octet-stream") as written:
        body = bytes(range(256)) * 100
        await asyncio.gather(*(written.append(body) for _ in range(5)))
        async with await written.stream(offset="-1", live=False) as reading:
            assert await reading.read_bytes() == body * 5
