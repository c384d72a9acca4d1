"""What the port promises of streams that keep only their newest items, as checks for any backend."""

from __future__ import annotations

import threading

from restive.backends.limits import MAX_VALUE
from restive.backends.port import Append, Backend, Save, Trimmed
from restive.errors import Conflict

from .stores import Check, Stores, at_once, expect, refused
from .stream_checks import read_all

__all__ = ["CHECKS"]

MORE = 999
"""Items beyond those to keep that may stay: some hundreds."""


def _number(item: bytes) -> int:
    return int(item)


def _numbered(first: int, count: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, first + count)]


def _fill(backend: Backend, stream: str, appends: int, each: int, keep: int) -> list[str]:
    """Append numbers; the offset before each append, and the end."""
    ends = [backend.append(stream, [], keep=keep)]
    ends += [backend.append(stream, _numbered(n * each, each), keep=keep) for n in range(appends)]
    return ends


def newest_stay(stores: Stores) -> None:
    """At least the newest ``keep`` items stay, at most some hundreds more, in order and without a hole."""
    backend = stores.fresh()
    for keep, appends, each in ((1, 30, 50), (10, 40, 40), (100, 100, 20)):
        stream = f"s{keep}"
        ends = _fill(backend, stream, appends, each, keep)
        total = appends * each
        for handle in (backend, stores.peer(backend)):
            items = read_all(handle, stream, limit=70)
            expect(len(items) >= keep, f"keep={keep} left {len(items)} items.")
            expect(len(items) <= keep + MORE, f"keep={keep} left {len(items)} of {total} items.")
            expect(items == _numbered(total - len(items), len(items)), f"keep={keep} left a hole: {items!r}.")
            expect(handle.read(stream, limit=5000).next == ends[-1], "Dropping items moved the end.")


def offsets_of_what_is_kept(stores: Stores) -> None:
    """An offset leads to what follows it as long as that is kept, and is refused as Trimmed from then on."""
    backend = stores.fresh()
    each, keep = 5, 50
    ends = _fill(backend, "s", 300, each, keep)
    end = ends[-1]
    for handle in (backend, stores.peer(backend)):
        first = _number(handle.read("s", limit=1).items[0])
        for n, offset in enumerate(ends):
            if n * each >= first:
                expected = _numbered(n * each, (len(ends) - 1 - n) * each)
                got = read_all(handle, "s", offset)
                expect(
                    got == expected, f"After {n * each} items follows {got!r}; {first} is the oldest kept."
                )
            else:
                with refused(Trimmed, f"Reading behind {n * each} items, where {first} is the oldest kept"):
                    handle.read("s", offset)
    page = backend.read("s", end)
    expect((list(page.items), page.next, page.up_to_date) == ([], end, True), f"At the end follows {page!r}.")


def pages_into_what_is_dropped(stores: Stores) -> None:
    """The offset of a page goes on working while what follows is kept; then it is refused, never skipped."""
    backend = stores.fresh()
    backend.append("s", _numbered(0, 40))
    page = backend.read("s", limit=10)
    expect(list(page.items) == _numbered(0, 10), f"The oldest are {page.items!r}.")
    backend.append("s", _numbered(40, 10), keep=40)
    expect(backend.read("s", page.next).items[:1] == (b"10",), "An offset of kept items leads elsewhere.")
    backend.append("s", _numbered(50, 2000), keep=40)
    with refused(Trimmed, "Reading behind a page of which the following items were dropped"):
        backend.read("s", page.next)
    first = _number(backend.read("s", limit=1).items[0])
    expect(first >= 50, f"Of 2000 items more with keep=40 all are left from {first} on.")


def more_than_is_kept(stores: Stores) -> None:
    """An append of more items than are kept leaves the newest of its own."""
    backend = stores.fresh()
    for stream in ("new", "old"):
        if stream == "old":
            backend.append(stream, [b"old"] * 10)
        end = backend.append(stream, _numbered(0, 1500), keep=3)
        items = read_all(backend, stream)
        expect(3 <= len(items) <= 3 + MORE, f"keep=3 left {len(items)} of 1500 items.")
        expect(items == _numbered(1500 - len(items), len(items)), "keep=3 did not leave the newest.")
        expect(backend.read(stream, end).up_to_date, "The offset of a trimmed append is not its end.")


def kept_and_closed(stores: Stores) -> None:
    """What was kept stays where keep is left away; the stream is closed and dropped as any other."""
    backend = stores.fresh()
    ends = _fill(backend, "s", 30, 50, 20)
    kept = read_all(backend, "s")
    end = backend.append("s", [b"after"], after=ends[-1])
    expect(read_all(backend, "s") == [*kept, b"after"], "An append without keep dropped items.")
    end = backend.append("s", [b"last"], close=True, after=end, keep=20)
    page = backend.read("s", limit=5000)
    expect(page.closed and page.next == end and page.items[-2:] == (b"after", b"last"), f"Closed: {page!r}.")
    with refused(Conflict, "Appending to a closed stream with keep"):
        backend.append("s", [b"x"], keep=1)
    with refused(Trimmed, "Reading from the start of a closed stream that was trimmed"):
        backend.read("s", ends[0])
    backend.drop("s")
    backend.append("s", [b"new"])
    expect(read_all(backend, "s") == [b"new"], "A stream made again is not read from its start.")
    with refused(ValueError, "Reading after an offset of the dropped stream"):
        backend.read("s", ends[-1])


def keep_in_a_batch(stores: Stores) -> None:
    """In a batch too; a number below 0 is refused before anything is done."""
    backend = stores.fresh()
    done = backend.apply([Append("s", _numbered(n * 100, 100), keep=10) for n in range(20)])
    items = read_all(backend, "s")
    expect(10 <= len(items) <= 10 + MORE, f"keep=10 left {len(items)} of 2000 items.")
    expect(items == _numbered(2000 - len(items), len(items)), f"keep=10 left {items!r}.")
    with refused(Trimmed, "Reading behind an append of the batch that was dropped in it"):
        backend.read("s", str(done[0]))
    for call in (
        lambda: backend.append("none", [b"x"], keep=-1),
        lambda: backend.apply([Append("none", [b"x"]), Append("s", [], keep=-5)]),
    ):
        with refused(ValueError, "A number of items to keep below 0"):
            call()
    with refused(KeyError, "Reading a stream of appends that were refused"):
        backend.read("none")


def kept_after_a_conflict(stores: Stores) -> None:
    """Where a Conflict follows an append with keep in its batch, offsets lead where they did."""
    backend = stores.fresh()
    ends = _fill(backend, "s", 10, 3, 0)
    backend.save("r", b"", version=0)
    with refused(Conflict, "A batch whose last step meets a record that is there"):
        backend.apply([Append("s", _numbered(30, 20), keep=2), Save("r", b"")])
    items = read_all(backend, "s")
    expect(items in (_numbered(0, 30), _numbered(50 - len(items), len(items))), f"Left is {items!r}.")
    for n, offset in enumerate(ends):
        try:
            got = read_all(backend, "s", offset)
        except Trimmed:
            expect(3 * n < _number(items[0]), f"Behind {3 * n} items is Trimmed, kept is {items!r}.")
        else:
            expected = _numbered(3 * n, _number(items[-1]) + 1 - 3 * n)
            expect(got == expected, f"Behind {3 * n} items follows {got!r}, not {expected!r}.")
    end = backend.append("s", [b"next"])
    expect(backend.read("s", limit=5000).next == end, "The end is another after a batch with a Conflict.")


def large_items_are_dropped(stores: Stores) -> None:
    """Large items are kept and dropped as small ones."""
    backend = stores.fresh()
    items = [bytes([n]) * (MAX_VALUE // 2) for n in range(12)]
    ends = [backend.append("s", [item], keep=4) for item in items]
    for number, offset in enumerate(ends):
        try:
            got = read_all(backend, "s", offset)
        except Trimmed:
            expect(number < len(items) - 4, f"Behind item {number} of {len(items)} with keep=4 is Trimmed.")
        else:
            expect(got == items[number + 1 :], f"Behind item {number} follows something else.")


def slow_readers(stores: Stores) -> None:
    """Who reads while the oldest are dropped gets each in order, or is told that some are gone."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    total, over = 600, threading.Event()

    def write() -> None:
        try:
            for n in range(0, total, 3):
                backend.append("s", _numbered(n, 3), keep=20)
        finally:
            over.set()

    def read(handle: Backend, limit: int) -> None:
        after, last = "", -1
        while True:
            ended = over.is_set()
            try:
                page = handle.read("s", after, limit)
            except Trimmed:
                expect(after, "Reading from the oldest that is kept is refused as Trimmed.")
                after = ""
                continue
            numbers = [_number(item) for item in page.items]
            if numbers:
                start = last + 1 if after else max(numbers[0], last + 1)
                expect(numbers == list(range(start, start + len(numbers))), f"After {last} came {numbers!r}.")
                last = numbers[-1]
            after = page.next
            if ended and page.up_to_date:
                expect(last == total - 1, f"The last item is {last}, not {total - 1}.")
                return

    backend.append("s", [])
    at_once(write, lambda: read(peer, 2), lambda: read(backend, 100))


CHECKS: tuple[Check, ...] = (
    newest_stay,
    offsets_of_what_is_kept,
    pages_into_what_is_dropped,
    more_than_is_kept,
    kept_and_closed,
    keep_in_a_batch,
    kept_after_a_conflict,
    large_items_are_dropped,
    slow_readers,
)
