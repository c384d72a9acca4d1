"""Whatever is asked, in whatever order: an early answer is that of the ASGI call, and never an older one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.servers import Serve, ThreadServer
from transports.bare_client import request
from transports.early_shop import FIELDS, PUBLIC, SAME, Caller, Segments, Shop, watched

# Early and not, the same


def mixed_shop() -> Shop:
    """Pages that differ in what decides whether, and with what, a request is answered from memory."""
    shop = Shop()
    shop.pages = {
        "/vary": {"vary": "Accept-Language, X-Tenant"},
        "/dated": {"last-modified": "Mon, 23 Nov 2026 01:09:40 GMT", "age": "7", "x-mine": "1"},
        "/tagged": {"etag": 'W/"own"', "cache-control": "s-maxage=100"},
        "/private": {"cache-control": "private"},
        "/text": {"content-type": "text/plain; charset=utf-8"},
        "/image": {"content-type": "image/png"},
        "/coded": {"vary": "accept-encoding"},
    }
    shop.bodies = {"/big": b'"%b"' % (b"x" * 40_000), "/empty": b"", "/text": "ü".encode()}
    return shop


TARGETS = [
    *(
        "/a",
        "/vary",
        "/dated",
        "/tagged",
        "/private",
        "/text",
        "/image",
        "/coded",
        "/big",
        "/empty",
        "/unseen",
    ),
    *("/a?x=1", "/a?", "//a", "/./a", "/%61", "/a#f", "http://shop.test/a", "/a?live=no"),
]
LINES = st.one_of(
    st.tuples(
        st.sampled_from(["cache-control", "Cache-Control"]),
        st.sampled_from(
            ["no-cache", "max-age=0", "max-age=5", "max-stale=9", "min-fresh=1000", "only-if-cached"]
        ),
    ),
    st.tuples(
        st.just("If-None-Match"),
        st.sampled_from(["*", '"x"', '"own"', 'W/"own", "y"', '"r-frs8fCqHsaL4p-1ynssEDQ"', "x"]),
    ),
    st.tuples(
        st.sampled_from(["If-Modified-Since", "If-Unmodified-Since", "If-Range"]),
        st.sampled_from(["Mon, 23 Nov 2026 01:09:40 GMT", "Sun, 22 Nov 2026 01:09:40 GMT", "x"]),
    ),
    st.tuples(st.just("Accept-Language"), st.sampled_from(["de", "en", "de, en"])),
    st.tuples(st.just("Accept-Encoding"), st.sampled_from(["gzip", "identity", "*"])),
    st.tuples(st.sampled_from(["Accept"]), st.sampled_from(["*/*", "text/html", "application/json"])),
    st.tuples(
        st.sampled_from(["Cookie", "Authorization", "X-Tenant", "X-Unknown"]), st.sampled_from(["a", "b"])
    ),
    st.tuples(
        st.sampled_from(["X-Forwarded-Host", "X-Forwarded-Proto"]), st.sampled_from(["https", "evil.test"])
    ),
    st.tuples(st.just("Origin"), st.sampled_from(["http://shop.test", "https://other.test", "null"])),
    st.tuples(
        st.sampled_from(
            ["Range", "Pragma", "Connection", "Expect", "Prefer", "User-Agent", "Content-Length"]
        ),
        st.sampled_from(["0", "no-cache", "keep-alive", "bytes=0-1", "x"]),
    ),
)


@dataclass
class Seen:
    """What happened in all examples."""

    early: int = 0
    statuses: set[int] = field(default_factory=set)


async def compare(server: ThreadServer, segments: Segments, data: bytes, seen: Seen) -> None:
    """The same request twice as it is, and behind an empty line, which makes it no request that is known."""
    before = await segments.early()
    async with contextlib.AsyncExitStack() as stack:
        answers = []
        for sent in (data, data, b"\r\n" + data):
            caller = await stack.enter_async_context(Caller(server.port))
            answers.append((await caller.ask(sent)).timeless())
    assert answers[1] == answers[0] == answers[2]
    seen.early += await segments.early() - before
    seen.statuses.add(int(answers[0][0][0].split(" ")[1]))


def test_an_early_answer_is_the_answer_of_the_call(serve: Serve) -> None:
    segments, seen = Segments(), Seen()
    server = serve(mixed_shop().app, http=segments.protocol())

    async def watch(stack: contextlib.AsyncExitStack) -> None:
        for target in TARGETS[:10]:
            for fields in ({}, {"Accept-Language": "de"}):
                await stack.enter_async_context(watched(server, target, {**FIELDS, **fields}))

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        runner.run(watch(stack))

        @settings(max_examples=200)
        @given(st.sampled_from(TARGETS), st.lists(LINES, max_size=3))
        def same(target: str, lines: list[tuple[str, str]]) -> None:
            rest = "".join(f"{name}: {value}\r\n" for name, value in lines)
            data = request(target, FIELDS)[:-2] + rest.encode() + b"\r\n"
            runner.run(compare(server, segments, data, seen))

        same()
        runner.run(stack.aclose())
    assert seen.early > 50
    assert {200, 304} <= seen.statuses


# Own writes


@dataclass(frozen=True)
class Step:
    """What somebody does on one of the connections."""

    what: str
    """``read``; ``write``; ``both``: a write and a read behind it at once; ``changed``: by the app itself."""
    who: int = 0
    turns: int = 0
    """Of the server's loop between the commit and the response."""
    alone: bool = True
    """The next step waits for this one."""


def put(turns: int) -> bytes:
    return request(f"/a?turns={turns}", {**FIELDS, "Content-Length": "0"}, "PUT")


class Readers:
    """Connections to one page, and what somebody can know of it."""

    def __init__(self, shop: Shop, callers: list[Caller]) -> None:
        self.shop, self.callers = shop, callers
        self.locks = [asyncio.Lock() for _ in callers]
        self.known = shop.version

    async def carry_out(self, steps: list[Step]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                task = tasks.create_task(self.take(step))
                if step.alone:
                    await task

    async def take(self, step: Step) -> None:
        if step.what == "changed":
            version = self.shop.commit()
            self.shop.live.changed("/a")
            self.known = max(self.known, version)
            return
        caller = self.callers[step.who]
        async with self.locks[step.who]:
            least = self.known
            if step.what != "read":
                caller.send(put(step.turns))
            if step.what != "write":
                caller.send(SAME)
            if step.what != "read":
                least = int((await caller.answer()).body)
                self.known = max(self.known, least)
            if step.what != "write":
                assert json.loads((await caller.answer()).body)["n"] >= least


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["read", "read", "read", "write", "both", "changed"]),
        st.integers(0, 3),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=3,
    max_size=25,
)


def test_nobody_reads_anything_older_than_what_was_known(serve: Serve) -> None:
    segments, shop = Segments(), Shop(settle=0.05)
    shop.headers = dict(PUBLIC)
    server = serve(shop.app, http=segments.protocol())
    early = 0

    async def carry_out(steps: list[Step]) -> None:
        nonlocal early
        before = await segments.early()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(watched(server))
            callers = [await stack.enter_async_context(Caller(server.port)) for _ in range(4)]
            await Readers(shop, callers).carry_out([Step("read"), Step("read"), *steps, Step("read", 3)])
        early += await segments.early() - before

    @settings(max_examples=100)
    @given(STEPS)
    def holds(steps: list[Step]) -> None:
        asyncio.run(carry_out(steps))

    holds()
    assert early > 100
