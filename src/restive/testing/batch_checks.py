"""What the port promises of batches, as checks that any backend can be put through.

Whether the steps before a Conflict stay done is the engine's own affair; that none after it is done is not.
"""

from __future__ import annotations

import random
from functools import partial

from restive.backends.limits import MAX_NAME, MAX_VALUE
from restive.backends.port import Announce, Append, Backend, Delete, Drop, Record, Save, Step
from restive.errors import Conflict

from .stores import Check, Ear, Stores, at_once, expect, refused

__all__ = ["CHECKS"]

END = b"the end"


def in_order(stores: Stores) -> None:
    """Steps are done in order, on what the ones before them left; each returns what its method would."""
    backend = stores.fresh()
    expect(backend.apply([]) == [], "A batch without a step returns something.")
    old = backend.save("gone", b"old", version=0)
    backend.append("dropped", [b"old"])
    steps: list[Step] = [
        Save("a", b"1"),
        Append("s", [b"0", b"1"]),
        Delete("gone", old),
        Save("gone", b"new"),
        Drop("dropped"),
        Append("dropped", [b"new"]),
        Append("s", [b"2"], close=True),
        Save("brief", b""),
        Delete("brief"),
    ]
    done = backend.apply(steps)
    expect(len(done) == len(steps), f"{len(steps)} steps returned {done!r}.")
    first, _, deleted, again, dropped, made, end, *_ = done
    expect(deleted is None and dropped is None, f"Delete and Drop returned {deleted!r} and {dropped!r}.")
    for handle in (backend, stores.peer(backend)):
        expect(handle.load("a") == Record("a", b"1", _version(first)), "A Save returned no version to go by.")
        expect(handle.load("gone") == Record("gone", b"new", _version(again)), "Delete and Save are swapped.")
        expect(handle.load("brief") is None, "A record is there that was deleted after it was made.")
        page = handle.read("s")
        expect((list(page.items), page.next, page.closed) == ([b"0", b"1", b"2"], end, True), f"{page!r}")
        page = handle.read("dropped")
        expect((list(page.items), page.next) == ([b"new"], made), f"Drop and Append left {page!r}.")


def _version(result: object) -> int:
    expect(isinstance(result, int) and result, f"A Save returned {result!r}, which is no version.")
    assert isinstance(result, int)
    return result


def whatever_is_there(stores: Stores) -> None:
    """Without a version a Save stores and a Delete deletes whatever is there, also nothing."""
    backend = stores.fresh()
    (first,) = backend.apply([Save("r", b"1", None)])
    (second,) = backend.apply([Save("r", b"2", None)])
    expect(_version(second) > _version(first), f"Versions do not grow: {first!r}, {second!r}.")
    expect(backend.load("r") == Record("r", b"2", _version(second)), "A Save without a version is lost.")
    versions = backend.apply([Save("r", b"3", None), Save("s", b"", None), Save("r", b"4", None)])
    expect(backend.load("r") == Record("r", b"4", _version(versions[2])), "Of two Saves the first is left.")
    expect(_version(second) < _version(versions[0]) < _version(versions[2]), f"Versions: {versions!r}.")
    backend.apply([Delete("r"), Delete("r"), Delete("never"), Delete("never", 0), Drop("never")])
    expect(backend.load("r") is None, "A record deleted without a version is still there.")


def nothing_after_a_conflict(stores: Stores) -> None:
    """A step that finds a Conflict raises it, whichever it is, and no later one is done."""
    backend = stores.fresh()
    version = backend.save("r", b"old", version=0)
    backend.append("closed", [b"0"], close=True)
    conflicts: dict[str, Step] = {
        "a Save of a new record that is there": Save("r", b"x"),
        "a Save against another version": Save("r", b"x", version + 1),
        "a Save against a version of no record": Save("none", b"x", version),
        "a Delete against another version": Delete("r", version + 1),
        "a Delete against a version of no record": Delete("none", version),
        "a Delete of no record that is there": Delete("r", 0),
        "an Append to a closed stream": Append("closed", [b"1"]),
        "closing a closed stream": Append("closed", close=True),
    }
    later: list[Step] = [Save("later", b""), Append("later", [b"x"]), Delete("r"), Drop("closed")]
    for what, step in conflicts.items():
        with refused(Conflict, f"A batch with {what}"):
            backend.apply([step, *later])
        expect(backend.load("r") == Record("r", b"old", version), f"After {what} r is {backend.load('r')!r}.")
        expect(list(backend.read("closed").items) == [b"0"], f"After {what} a stream was changed.")
        expect(backend.load("later") is None, f"A Save after {what} was done.")
        with refused(KeyError, f"Reading a stream that is only made after {what}"):
            backend.read("later")


def usable_after_a_conflict(stores: Stores) -> None:
    """What a batch began before its Conflict is whole or undone, and what it names can be used further."""
    backend = stores.fresh()
    backend.save("r", b"", version=0)
    backend.append("kept", [b"0"])
    kept = backend.save("kept", b"0", version=0)
    steps: list[Step] = [
        Save("made", b"1", None),
        Append("made", [b"1"]),
        Save("kept", b"1", kept),
        Append("kept", [b"1"], close=True),
        Save("r", b"again"),
    ]
    with refused(Conflict, "A batch whose last step meets a record that is there"):
        backend.apply(steps)
    record = backend.load("kept")
    expect(record is not None and record.value in {b"0", b"1"}, f"A record became {record!r}.")
    page = backend.read("kept")
    expect(
        (list(page.items), page.closed) in [([b"0"], False), ([b"0", b"1"], True)],
        f"A stream of a batch with a Conflict is torn: {page!r}.",
    )
    scanned = [found.name for found in backend.scan("", limit=10)]
    expect(scanned in [["r", "kept"], ["r", "made", "kept"]], f"Left are {scanned!r}.")
    backend.apply([Save("made", b"2", None), Drop("made"), Append("made", [b"2"]), Drop("kept")])
    made = backend.load("made")
    expect(made is not None and made.value == b"2", f"After it a record cannot be saved: {made!r}.")
    expect(list(backend.read("made").items) == [b"2"], "After it a stream cannot be made.")


def out_of_bounds(stores: Stores) -> None:
    """A batch of which one step is out of bounds is refused before anything is done."""
    backend = stores.fresh()
    wrong: list[Step] = [
        Save("", b""),
        Save("r", bytes(MAX_VALUE + 1)),
        Delete("a" * (MAX_NAME + 1)),
        Append("\ud800"),
        Append("s", [b"", bytes(MAX_VALUE + 1)]),
        Append("s", [], keep=-1),
        Drop(""),
        Announce(bytes(MAX_VALUE + 1)),
    ]
    ear = Ear()
    backend.listen(ear)
    for step in wrong:
        with refused(ValueError, f"A batch with {str(step)[:60]}"):
            backend.apply([Save("before", b""), Append("before"), Announce(b"before"), step])
        expect(backend.scan("") == [], "A batch that was refused left a record.")
        with refused(KeyError, "Reading a stream of a batch that was refused"):
            backend.read("before")
    backend.announce(END)
    expect(ear.until(END) == [END], f"Batches that were refused announced {ear.heard!r}.")


def not_durable(stores: Stores) -> None:
    """What need not be durable is done all the same: seen by all, decided by compare-and-set."""
    backend = stores.fresh()
    (version,) = backend.apply([Save("r", b"1"), Append("s", [b"1"])], durable=False)[:1]
    for handle in (backend, stores.peer(backend)):
        expect(handle.load("r") == Record("r", b"1", _version(version)), "A batch that may be lost was lost.")
        expect(list(handle.read("s").items) == [b"1"], "An append that may be lost was lost.")
    with refused(Conflict, "A batch that may be lost, against another version"):
        backend.apply([Save("r", b"2"), Save("later", b"")], durable=False)
    expect(backend.load("later") is None, "A Save after a Conflict was done.")


def large(stores: Stores) -> None:
    """A batch of 500 steps is done, as is one with several values, items and an announcement of 1 MiB."""
    backend, ear = stores.fresh(), Ear()
    backend.listen(ear)
    backend.apply([Save(f"{n:03d}", b"%d" % n) for n in range(500)])
    expect(len(backend.scan("", limit=1000)) == 500, "Of a batch of 500 some are missing.")
    backend.apply([*(Delete(f"{n:03d}") for n in range(500)), *(Save(c, bytes(MAX_VALUE)) for c in "abcd")])
    names = [found.name for found in backend.scan("", limit=1000)]
    expect(names == ["d", "c", "b", "a"], f"After a large batch there are {names!r}.")
    value = random.Random(0).randbytes(MAX_VALUE)  # noqa: S311 - bytes of all kinds, which nothing packs
    backend.apply([Save("e", value), Append("s", [value, b"", value[::-1]]), Announce(value)])
    for handle in (backend, stores.peer(backend)):
        found = handle.load("e")
        expect(found is not None and found.value == value, "A value of 1 MiB did not come back.")
        expect(list(handle.read("s").items) == [value, b"", value[::-1]], "Items of 1 MiB did not come back.")
    ear.until(value)


def decided_by_compare_and_set(stores: Stores) -> None:
    """Of batches at once against one version one is done, with all that follows its compare-and-set."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    backend.save("turn", b"0", version=0)
    won: list[int] = []

    def take(handle: Backend) -> None:
        for _ in range(20):
            found = handle.load("turn")
            expect(found is not None, "The record vanished.")
            if found is None:
                return
            turn = int(found.value) + 1
            step = Save("turn", b"%d" % turn, found.version)
            try:
                handle.apply([step, Append("log", [b"%d" % turn]), Append("rest")])
            except Conflict:
                continue
            won.append(turn)

    at_once(*(lambda handle=handle: take(handle) for handle in handles))
    turns = list(range(1, len(won) + 1))
    expect(sorted(won) == turns, f"The turns taken are {sorted(won)!r}.")
    log = sorted(int(item) for item in backend.read("log", limit=1000).items)
    expect(log == turns, f"Turns {turns!r} were taken, the log has {log!r}.")
    last = backend.load("turn")
    expect(
        last is not None and int(last.value) == len(won), f"After {len(won)} turns the record is {last!r}."
    )


def crossing(stores: Stores) -> None:
    """Batches at once over the same names, in opposite orders, are all done: none waits for ever."""
    backend = stores.fresh()
    handles = [backend, stores.peer(backend), backend, stores.peer(backend)]
    names = ["a", "b", "c", "d"]

    def write(number: int, handle: Backend) -> None:
        order = names if number % 2 else names[::-1]
        for n in range(15):
            value = b"%d:%d" % (number, n)
            saves: list[Step] = [Save(name, value, None) for name in order]
            handle.apply([*saves, *(Append(name, [value]) for name in order), Announce(value)])

    at_once(*(partial(write, number, handle) for number, handle in enumerate(handles)))
    expected = sorted(b"%d:%d" % (number, n) for number in range(len(handles)) for n in range(15))
    for name in names:
        items = sorted(backend.read(name).items)
        expect(items == expected, f"Of batches at once the stream {name} has {items!r}.")
        found = backend.load(name)
        expect(found is not None and found.value.endswith(b":14"), f"The record {name} is {found!r}.")


def announced(stores: Stores) -> None:
    """What a batch announces is heard by all, in the order of its announcer, and returns None."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    ears = Ear(), Ear()
    backend.listen(ears[0])
    peer.listen(ears[1])
    backend.announce(b"1")
    done = backend.apply([Announce(b"2"), Save("r", b""), Announce(b"3"), Append("s", [b"0"])])
    expect(done[0] is None and done[2] is None, f"An Announce returned something: {done!r}.")
    expect(backend.apply([Announce(b"4")], durable=False) == [None], "A batch of one Announce returned more.")
    backend.announce(b"5")
    backend.apply([Announce(END)])
    for ear in ears:
        heard = ear.until(END)
        expect(
            heard == [b"1", b"2", b"3", b"4", b"5", END], f"Announced in batches was 1 to 5, heard {heard!r}."
        )


def heard_when_it_can_be_read(stores: Stores) -> None:
    """Who hears what a batch announces can read the steps before it, in another handle too."""
    backend = stores.fresh()
    rounds = 40
    ears = [(handle, Ear()) for handle in (backend, stores.peer(backend))]
    for handle, ear in ears:
        handle.listen(ear)

    def write() -> None:
        for n in range(rounds):
            backend.apply([Save("r", b"%d" % n, None), Append("s", [b"%d" % n]), Announce(b"%d" % n)])

    def follow(handle: Backend, ear: Ear) -> None:
        for n in range(rounds):
            ear.until(b"%d" % n)
            found = handle.load("r")
            expect(found is not None and int(found.value) >= n, f"Heard is {n}, the record is {found!r}.")
            items = list(handle.read("s").items)
            expect(b"%d" % n in items, f"Heard is {n}, the stream has {items!r}.")

    at_once(write, *(partial(follow, handle, ear) for handle, ear in ears))


def not_announced_after_a_conflict(stores: Stores) -> None:
    """What stands behind a Conflict in its batch is not announced, to nobody; the batches around it are."""
    backend = stores.fresh()
    peer = stores.peer(backend)
    ears = Ear(), Ear()
    backend.listen(ears[0])
    peer.listen(ears[1])
    version = backend.save("r", b"", version=0)
    end = backend.append("s", [b"0"])
    conflicts: list[Step] = [
        Save("r", b"x"),
        Save("r", b"x", version + 1),
        Delete("r", version + 1),
        Append("s", [b"x"], after=""),
        Append("t", [b"x"], after=end),
    ]
    for n, step in enumerate(conflicts):
        with refused(Conflict, f"A batch with {step!r}"):
            backend.apply([Save(f"before{n}", b""), step, Announce(b"never"), Save("later", b"")])
        backend.apply([Announce(b"%d" % n)])
    peer.announce(END)
    for ear in ears:
        heard = ear.until(END)
        expected = [*(b"%d" % n for n in range(len(conflicts))), END]
        expect(sorted(heard) == sorted(expected), f"Between batches with a Conflict {heard!r} was heard.")


CHECKS: tuple[Check, ...] = (
    in_order,
    whatever_is_there,
    nothing_after_a_conflict,
    usable_after_a_conflict,
    out_of_bounds,
    not_durable,
    large,
    decided_by_compare_and_set,
    crossing,
    announced,
    heard_when_it_can_be_read,
    not_announced_after_a_conflict,
)
