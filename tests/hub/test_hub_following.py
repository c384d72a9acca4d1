"""Following a stream: as long as a GET of it would be answered, item by item, at the client's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from virtual import Bench, Client, Page, run

from restive.errors import Problem
from restive.http.invalidation import Change
from restive.http.key import Neutral, request_key
from restive.hub.following import Following, Gone
from restive.hub.watch import Closed, Items


@dataclass
class Some:
    """A batch."""

    items: tuple[bytes, ...]
    offset: str
    closed: bool = False
    up_to_date: bool = True
    kind: Literal["json", "text", "bytes"] = "json"
    forms: dict[Any, bytes] = field(default_factory=dict)


class Log:
    """A stream in memory, one item a batch, and its followers."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.closed = False
        self.gone: Gone | None = None
        self.followers: list[Place] = []

    def follow(self, wake: Callable[[], None]) -> Place:
        self.followers.append(Place(self, wake))
        return self.followers[-1]

    def append(self, *items: bytes) -> None:
        self.items += items
        self.wake()

    def wake(self) -> None:
        for follower in self.followers:
            follower.wake()


class Place:
    def __init__(self, log: Log, wake: Callable[[], None]) -> None:
        self.log, self.wake, self.at, self.takes, self.closed = log, wake, 0, 0, False

    def take(self) -> Some | Gone | None:
        assert not self.closed
        self.takes += 1
        if self.log.gone is not None:
            return self.log.gone
        if self.at == len(self.log.items):
            return Some((), str(self.at), closed=True) if self.log.closed else None
        item = self.log.items[self.at]
        self.at += 1
        last = self.at == len(self.log.items)
        return Some((item,), str(self.at), closed=last and self.log.closed)

    def close(self) -> None:
        self.closed = True


def key(**fields: str) -> Any:
    headers = [(b"host", b"shop.test"), *((k.encode(), v.encode()) for k, v in fields.items())]
    scope = {"type": "http", "scheme": "http", "path": "/log", "query_string": b"", "headers": headers}
    return request_key(scope, Neutral())


def following(bench: Bench, log: Log, **fields: str) -> tuple[Client, Following]:
    client = Client()
    wanted = key(**fields)
    follow = Following(
        client,  # type: ignore[arg-type]
        wanted,
        lambda sink: bench.hub.watch(wanted, sink),
        log.follow,
        bench.hub.loop.call_soon,
    )
    return client, follow


def told(client: Client) -> list[bytes]:
    return [item for event in client.events if isinstance(event, Items) for item in event.batch.items]


async def soon() -> None:
    await asyncio.sleep(0.5)


def test_items_are_told_in_order_and_once():
    async def main() -> None:
        bench, log = Bench(Page()), Log()
        log.append(b"0", b"1")
        client, follow = following(bench, log)
        await soon()
        log.append(b"2")
        log.wake()
        await soon()
        assert told(client) == [b"0", b"1", b"2"]
        follow.close()
        log.append(b"3")
        await soon()
        assert told(client) == [b"0", b"1", b"2"]
        assert log.followers[0].closed

    run(main())


def test_nothing_is_told_before_the_right_to_read_is_known():
    async def main() -> None:
        page, log = Page(), Log()
        page.takes = 3.0
        bench = Bench(page)
        log.append(b"0")
        client, follow = following(bench, log)
        await asyncio.sleep(2.5)
        log.wake()
        await soon()
        assert client.events == []
        assert log.followers[0].takes == 0
        await asyncio.sleep(1)
        assert told(client) == [b"0"]
        follow.close()

    run(main())


def test_who_may_not_read_is_told_why_and_nothing_else():
    async def main() -> None:
        bench, log = Bench(Page(b"{}", 403)), Log()
        log.append(b"0")
        client, follow = following(bench, log)
        await soon()
        assert (client.ends, told(client), follow.over) == ([403], [], True)
        assert log.followers[0].closed
        assert len(bench.hub) == 0

    run(main())


def test_a_right_that_is_withdrawn_ends_it_at_the_next_recheck():
    async def main() -> None:
        page, log = Page(), Log()
        bench = Bench(page, recheck=60)
        client, _ = following(bench, log)
        await soon()
        page.status = 401
        log.append(b"0")
        await asyncio.sleep(80)
        log.append(b"1")
        await soon()
        assert (client.ends, told(client)) == ([401], [b"0"])

    run(main())


def test_a_change_of_the_stream_itself_has_the_right_asked_for_again():
    async def main() -> None:
        page, log = Page(), Log()
        bench = Bench(page)
        client, _ = following(bench, log)
        await soon()
        page.status = 404
        bench.hub.announce([Change("/log")])
        await soon()
        assert client.ends == [404]

    run(main())


def test_a_closed_stream_ends_with_its_last_item():
    async def main() -> None:
        bench, log = Bench(Page()), Log()
        log.append(b"0", b"1")
        log.closed = True
        client, follow = following(bench, log)
        await soon()
        assert told(client) == [b"0", b"1"]
        assert isinstance(client.events[-1], Closed)
        assert follow.over
        assert len(bench.hub) == 0

    run(main())


def test_one_that_is_closed_later_says_so_without_an_item():
    async def main() -> None:
        bench, log = Bench(Page()), Log()
        client, follow = following(bench, log)
        await soon()
        log.closed = True
        log.wake()
        await soon()
        assert [type(event) for event in client.events] == [Items, Closed]
        assert follow.over

    run(main())


def test_a_stream_that_is_gone_ends_it_with_its_problem():
    async def main() -> None:
        bench, log = Bench(Page()), Log()
        client, _ = following(bench, log)
        await soon()
        log.gone = Gone(Problem(410).document())
        log.wake()
        await soon()
        assert client.ends == [410]

    run(main())


def test_a_client_that_takes_nothing_costs_its_place_only():
    async def main() -> None:
        bench, log = Bench(Page()), Log()
        client, follow = following(bench, log)
        await soon()
        ready: list[object] = []
        client.ready = ready.append  # type: ignore[method-assign]
        for n in range(1000):
            log.append(b"%d" % n)
        await soon()
        assert log.followers[0].at == 0
        while ready:
            ready.clear()
            client.events += follow.take()
            await soon()
        assert told(client) == [b"%d" % n for n in range(1000)]
        follow.close()

    run(main())


def test_equal_readers_share_the_look_and_the_bytes():
    async def main() -> None:
        page, log = Page(), Log()
        bench = Bench(page)
        clients = [following(bench, log)[0] for _ in range(10)]
        await soon()
        log.append(b"0")
        await soon()
        made: list[str] = []

        def form(_batch: Any, on: str) -> bytes:
            made.append(on)
            return b"bytes"

        batch = Some((b"0",), "1")
        assert [Items(batch).wire(form, "/log") for _ in clients] == [b"bytes"] * 10
        assert made == ["/log"]
        assert len(page.looks) == 1
        assert all(told(client) == [b"0"] for client in clients)

    run(main())


def test_what_cannot_be_followed_leaves_no_look_behind():
    async def main() -> None:
        bench = Bench(Page())

        def refuse(_wake: Callable[[], None]) -> Place:
            raise Problem(400, "No such offset")

        with pytest.raises(Problem, match="No such offset"):
            Following(
                Client(),  # type: ignore[arg-type]
                key(),
                lambda sink: bench.hub.watch(key(), sink),
                refuse,
                bench.hub.loop.call_soon,
            )
        assert len(bench.hub) == 0

    run(main())
