"""What the port promises of appends that only go after the end they name, as checks for any backend."""

from __future__ import annotations

from functools import partial

from restive.backends.port import Append, Backend, Save, Step
from restive.errors import Conflict

from .stores import Check, Stores, at_once, expect, refused
from .stream_checks import NONSENSE, read_all

__all__ = ["CHECKS"]


def after_the_end(stores: Stores) -> None:
    """An append after the end of its stream is done, whether an append or a page gave the offset."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    end = backend.append("s", [b"0"], after="")
    end = peer.append("s", [b"1", b"2"], after=end)
    expect(backend.read("s", limit=3).next == end, "An append does not return the end that is read.")
    end = backend.append("s", [b"3"], after=peer.read("s", end).next)
    end = peer.append("s", [], after=end)
    end = backend.append("s", [b"4"], after=end, close=True)
    page = peer.read("s")
    expect(list(page.items) == [b"0", b"1", b"2", b"3", b"4"], f"Appends after the end made {page!r}.")
    expect(page.closed and page.next == end, f"An append after the end did not close the stream: {page!r}.")


def after_an_empty_stream(stores: Stores) -> None:
    """The end of a stream without items is an end; the stream is there, so that "" is none."""
    backend = stores.fresh()
    end = backend.append("s", [], after="")
    with refused(Conflict, 'Appending after "" to a stream that is there, without items'):
        backend.append("s", [b"x"], after="")
    backend.append("s", [b"0"], after=end)
    expect(read_all(backend, "s") == [b"0"], "An append after the end of an empty stream is not there.")


def after_anything_else(stores: Stores) -> None:
    """After anything but the end an append is a Conflict and changes nothing, as to a closed stream."""
    backend = stores.fresh()
    old = backend.append("s", [b"old"])
    backend.drop("s")
    first = backend.append("s", [b"0"])
    middle = backend.append("s", [b"1", b"2"])
    end = backend.append("s", [b"3"])
    other = backend.append("other", [b"0", b"1", b"2", b"3"])
    inside = backend.read("s", first, 1).next
    backend.append("closed", [b"0"])
    closed = backend.append("closed", [], close=True)
    for what, after in {
        "the first of two ends": first,
        "the inside of an append": inside,
        "an end that was": middle,
        "the end of another stream": other,
        "an end of a stream that was dropped": old,
        '""': "",
        **{repr(offset[:20]): offset for offset in NONSENSE},
    }.items():
        for items in ([b"x"], []):
            with refused(Conflict, f"Appending {items!r} after {what}"):
                backend.append("s", items, after=after)
        with refused(Conflict, f"Appending after {what} where there is no stream"):
            backend.append("none", [b"x"], after=after or end)
        with refused(Conflict, f"Appending to a closed stream after {what}"):
            backend.append("closed", [b"x"], after=after)
    for close in (False, True):
        with refused(Conflict, "Appending to a closed stream after its end"):
            backend.append("closed", [], after=closed, close=close)
    page = backend.read("s")
    expect(
        (list(page.items), page.next) == ([b"0", b"1", b"2", b"3"], end), f"Refused appends left {page!r}."
    )
    expect(not page.closed, "A refused append closed the stream.")
    expect(list(backend.read("closed").items) == [b"0"], "Refused appends changed a closed stream.")
    with refused(KeyError, "Reading a stream to which every append was refused"):
        backend.read("none")


def after_in_a_batch(stores: Stores) -> None:
    """In a batch an append after an end is judged by what the steps before it left, and decides the rest."""
    backend = stores.fresh()
    end = backend.append("s", [b"0"])
    conflicts: list[list[Step]] = [
        [Append("s", [b"x"], after="")],
        [Append("new", [b"x"], after=end)],
    ]
    for steps in conflicts:
        with refused(Conflict, f"A batch with {steps[-1]!r}"):
            backend.apply([*steps, Save("later", b""), Append("later", [b"x"])])
        expect(backend.load("later") is None, "A Save was done after an append that was refused.")
        expect(read_all(backend, "s") == [b"0"], "A batch that was refused changed its stream.")
    with refused(Conflict, "A batch whose second append goes after what the first has moved"):
        backend.apply(
            [Append("twice", [b"1"]), Append("s", [b"1"], after=end), Append("s", [b"2"], after=end)]
        )
    expect(
        read_all(backend, "s") in ([b"0"], [b"0", b"1"]), "Of a batch with a Conflict a later step was done."
    )
    end = backend.read("s").next
    done = backend.apply(
        [Append("s", [b"next"], after=end), Append("made", [b"0"], after=""), Save("r", b"", None)]
    )
    expect(backend.read("s", end).next == done[0], f"A batch returned {done!r}, the stream ends elsewhere.")
    expect(backend.read("made").next == done[1], f"A batch returned {done!r}, its stream ends elsewhere.")


def one_of_many(stores: Stores) -> None:
    """Of appends at once after one end exactly one is done, the first of all too, which makes the stream."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    after = ""
    expected: list[bytes] = []
    for round_ in range(10):
        done: dict[bytes, str] = {}

        def append(number: int, handle: Backend, after: str = after, done: dict[bytes, str] = done) -> None:
            item = b"%d/%d" % (len(expected), number)
            try:
                done[item] = handle.append("s", [item], after=after)
            except Conflict:
                pass

        at_once(*(partial(append, number, handle) for number, handle in enumerate(handles)))
        expect(
            len(done) == 1, f"In round {round_} of appends at once after one end these were done: {done!r}."
        )
        ((item, after),) = done.items()
        expected.append(item)
    expect(read_all(backend, "s") == expected, f"Done were {expected!r}, read is {read_all(backend, 's')!r}.")


def folds(stores: Stores) -> None:
    """Writers that read to the end, count on and append after it, again where they lose: none is lost."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    turns = 12
    backend.append("s", [])

    def count_on(handle: Backend) -> None:
        seen, after = 0, ""
        for _ in range(turns):
            for _ in range(100 * turns):
                page = handle.read("s", after)
                seen, after = seen + len(page.items), page.next
                try:
                    handle.append("s", [b"%d" % seen], after=after)
                    break
                except Conflict:
                    continue

    at_once(*(partial(count_on, handle) for handle in handles))
    expected = [b"%d" % n for n in range(turns * len(handles))]
    found = read_all(backend, "s")
    expect(found == expected, f"Writers that count on made {found!r}.")


CHECKS: tuple[Check, ...] = (
    after_the_end,
    after_an_empty_stream,
    after_anything_else,
    after_in_a_batch,
    one_of_many,
    folds,
)
