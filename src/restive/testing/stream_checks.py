"""What the port promises of streams, as checks that any backend can be put through."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from restive.backends.limits import MAX_VALUE
from restive.backends.port import Backend, Page
from restive.errors import Conflict

from .stores import Check, Stores, at_once, expect, refused

__all__ = ["CHECKS", "read_all"]

NONSENSE = ("0", "-1", "now", "nonsense", "\0", "é", "9" * 100, " ", "0_0", "x" * 10_000)


def read_all(backend: Backend, stream: str, after: str = "", limit: int = 1000) -> list[bytes]:
    """All items after an offset, page by page."""
    items: list[bytes] = []
    while True:
        page = backend.read(stream, after, limit)
        expect(len(page.items) <= limit, f"A page of {limit} items at most has {len(page.items)}.")
        expect(page.items or page.up_to_date, "A page is empty although more items follow.")
        items += page.items
        after = page.next
        if page.up_to_date:
            return items


def unknown_stream(stores: Stores) -> None:
    """Reading what was never appended to raises KeyError; dropping it is no error."""
    backend = stores.fresh()
    with refused(KeyError, "Reading a stream that does not exist"):
        backend.read("nothing")
    backend.drop("nothing")


def empty_stream(stores: Stores) -> None:
    """An append without items makes the stream; its end is then its start."""
    backend = stores.fresh()
    end = backend.append("s", [])
    page = backend.read("s")
    expect(page == Page((), end, closed=False, up_to_date=True), f"An empty stream reads as {page!r}.")
    expect(backend.read("s", end) == page, "The end of an empty stream is not its start.")


def items_come_back(stores: Stores) -> None:
    """Items of any bytes come back as they were, in order, to this handle and to a peer."""
    backend = stores.fresh()
    items = [b"", bytes(range(256)), b"\0", b"x" * 100_000, *(b"%d" % n for n in range(100))]
    backend.append("s", items[:3])
    backend.append("s", items[3:])
    for handle in (backend, stores.peer(backend)):
        expect(read_all(handle, "s") == items, "A stream does not read as it was appended.")


def pages(stores: Stores) -> None:
    """Reading in pages of any size gives each item once, and says when the end is reached."""
    backend = stores.fresh()
    items = [b"%d" % n for n in range(10)]
    backend.append("s", items)
    for limit in (1, 3, 5, 10, 11):
        expect(read_all(backend, "s", limit=limit) == items, f"Pages of {limit} do not add up to the stream.")
    expect(not backend.read("s", limit=9).up_to_date, "up_to_date is said before the last item.")
    expect(backend.read("s", limit=10).up_to_date, "up_to_date is not said behind the last item.")
    for limit in (0, -1):
        with refused(ValueError, f"limit={limit}"):
            backend.read("s", limit=limit)


def offsets_resume_and_sort(stores: Stores) -> None:
    """The offset an append returns leads to what follows; offsets sort like the items, "" first."""
    backend = stores.fresh()
    ends = ["", *(backend.append("s", [b"%d" % n]) for n in range(25))]
    for n, end in enumerate(ends):
        expected = [b"%d" % m for m in range(n, 25)]
        got = read_all(backend, "s", end)
        expect(got == expected, f"After item {n} follows {expected!r}, not {got!r}.")
    expect(all(a < b for a, b in pairwise(ends)), f"Offsets do not sort like the items: {ends!r}.")
    nexts = [backend.read("s", end, 1).next for end in ends[:-1]]
    expect(nexts == ends[1:], "A page's next is not the offset that the append returned.")


def growing(stores: Stores) -> None:
    """Who waits at the end sees the next items from there, whoever appended them."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    end = backend.append("s", [b"0"])
    for n in range(1, 10):
        page = backend.read("s", end)
        expect(page.next == end, "The end moved although nothing was appended.")
        (peer if n % 2 else backend).append("s", [b"%d" % n])
        page = backend.read("s", end)
        expect(list(page.items) == [b"%d" % n], f"After an append of {n} came {page.items!r}.")
        end = page.next


def closing(stores: Stores) -> None:
    """A closed stream keeps its items, says so at its end only, and takes no more."""
    backend = stores.fresh()
    backend.append("s", [b"0", b"1"])
    end = backend.append("s", [b"2"], close=True)
    with refused(Conflict, "Appending to a closed stream"):
        backend.append("s", [b"3"])
    with refused(Conflict, "Closing a closed stream"):
        backend.append("s", [], close=True)
    expect(not backend.read("s", limit=2).closed, "closed is said before the last item.")
    page = backend.read("s")
    expect(list(page.items) == [b"0", b"1", b"2"], f"A closed stream reads as {page.items!r}.")
    expect(page.closed and page.next == end, "closed is not said at the end of a closed stream.")
    expect(backend.read("s", end).closed, "closed is not said to who resumes at the end.")
    kept = backend.append("kept", [b"0"])
    moved = backend.append("kept", [], close=True)
    expect(moved == kept == backend.read("kept").next, "Closing without an item moves the end.")
    backend.append("empty", [], close=True)
    expect(backend.read("empty").closed, "A stream that was closed without an item is not closed.")


def foreign_offsets(stores: Stores) -> None:
    """An offset of another stream, from the future or no offset at all raises ValueError."""
    backend = stores.fresh()
    backend.append("s", [b"0", b"1"])
    other = backend.append("other", [b"0"])
    for offset in (other, *NONSENSE):
        with refused(ValueError, f"Reading after {offset[:20]!r}"):
            backend.read("s", offset)


def dropped_and_made_again(stores: Stores) -> None:
    """A dropped stream is gone; one made again under its name refuses the offsets of the first."""
    backend = stores.fresh()
    old = [backend.append("s", [b"old"]) for _ in range(3)]
    backend.append("kept", [b"kept"])
    backend.drop("s")
    with refused(KeyError, "Reading a dropped stream"):
        backend.read("s")
    for _ in range(5):
        backend.append("s", [b"new"])
    expect(read_all(backend, "s") == [b"new"] * 5, "A stream made again holds items of the dropped one.")
    for offset in old:
        with refused(ValueError, "Reading after an offset of the dropped stream"):
            backend.read("s", offset)
    expect(read_all(backend, "kept") == [b"kept"], "Dropping one stream harmed another.")


def all_or_nothing(stores: Stores) -> None:
    """An append that is refused leaves nothing behind; one item of 1 MiB is taken."""
    backend = stores.fresh()
    with refused(ValueError, "An item of more than 1 MiB"):
        backend.append("s", [b"small", bytes(MAX_VALUE + 1)])
    with refused(KeyError, "Reading a stream whose only append was refused"):
        backend.read("s")
    backend.append("s", [bytes(MAX_VALUE)])
    expect(read_all(backend, "s") == [bytes(MAX_VALUE)], "An item of 1 MiB did not come back.")


def large_pages(stores: Stores) -> None:
    """A page of large items is cut short, and the rest follows."""
    backend = stores.fresh()
    items = [bytes([n]) * MAX_VALUE for n in range(7)]
    for item in items:
        backend.append("s", [item])
    expect(sum(map(len, backend.read("s").items)) <= 4 * MAX_VALUE, "A page holds more than 4 MiB.")
    expect(read_all(backend, "s") == items, "Large items do not all come back.")


def appends_at_once(stores: Stores) -> None:
    """Appends from several threads and handles: each whole, none lost, each one's order kept."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    ends: list[str] = []

    def append(number: int, handle: Backend) -> None:
        for n in range(20):
            end = handle.append("s", [b"%d:%02d:a" % (number, n), b"%d:%02d:b" % (number, n)])
            ends.append(end)

    at_once(*(partial(append, number, handle) for number, handle in enumerate(handles)))
    items = read_all(backend, "s")
    pairs = [(a[:-2], b[:-2]) for a, b in zip(items[::2], items[1::2], strict=True)]
    expect(all(a == b for a, b in pairs), "The items of one append were torn apart by another.")
    for number in range(len(handles)):
        own = [a for a, _ in pairs if a.startswith(b"%d:" % number)]
        expect(own == [b"%d:%02d" % (number, n) for n in range(20)], f"Of thread {number} came {own!r}.")
    expect(len(set(ends)) == len(ends), "Two appends returned the same offset.")


CHECKS: tuple[Check, ...] = (
    unknown_stream,
    empty_stream,
    items_come_back,
    pages,
    offsets_resume_and_sort,
    growing,
    closing,
    foreign_offsets,
    dropped_and_made_again,
    all_or_nothing,
    large_pages,
    appends_at_once,
)
